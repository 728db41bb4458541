"""Keys, subscriptions and audits against the real service, for both kinds of client."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from signal_ingest import RequestError, SignalClient, UnauthorizedError, ValidationError

from .setup.hop import Answer, Hop
from .setup.service import ROOT_KEY, Service
from .setup.twins import Twin

UNKNOWN = "0197a2b4-0000-7000-8000-000000000000"


def test_the_life_of_a_key(twin: Twin, service: Service, room: str) -> None:
    keys = twin.client(service.url, ROOT_KEY).keys
    ends = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    made = keys.add({"name": room, "scopes": ["ingest", "read"], "expires_at": ends, "signals_per_day": 10})
    assert datetime.fromisoformat(made["expires_at"].replace("Z", "+00:00")) == ends
    client = twin.client(service.url, made["key"])
    assert client.create_batch([{"context_window_id": room}] * 3)["successful_count"] == 3
    assert keys.limit(made["id"], {"signals_per_day": 5})["limits"] == {
        "signals_per_day": 5,
        "bytes_per_day": None,
    }
    assert [(day["batches"], day["signals"]) for day in keys.usage(made["id"], 1)] == [(1, 3)]
    rotated = keys.rotate(made["id"], {"former_expires_at": ends})
    assert (rotated["name"], rotated["rotated_from"]) == (room, made["id"])
    assert keys.revoke(made["id"])["state"] == "revoked"
    assert [one["state"] for one in keys.list() if one["name"] == room] == ["active", "revoked"]
    assert keys.get(made["id"])["revoked_by"] == "root"
    assert "key" not in keys.get(rotated["id"])
    assert keys.rotate(rotated["id"])["rotated_from"] == rotated["id"]


def test_mistakes_with_keys(twin: Twin, service: Service, room: str) -> None:
    keys = twin.client(service.url, ROOT_KEY).keys
    made = keys.add({"name": room, "scopes": ["read"]})
    with pytest.raises(RequestError) as taken:
        keys.add({"name": room, "scopes": ["read"]})
    assert taken.value.code == "key_conflict"
    with pytest.raises(ValidationError):
        keys.add({"name": "two words", "scopes": []})
    assert keys.get(UNKNOWN) is None
    for call in (keys.rotate, keys.revoke, lambda one: keys.limit(one, {}), keys.usage):
        with pytest.raises(RequestError) as unknown:
            call(UNKNOWN)
        assert unknown.value.status == 404
    with pytest.raises(UnauthorizedError):
        twin.client(service.url, made["key"]).keys.revoke(made["id"])
    for wrong in (None, 7, ""):
        with pytest.raises(ValueError, match="An id must be a text"):
            keys.get(wrong)


def test_the_life_of_a_subscription(twin: Twin, service: Service, stub: Hop, room: str) -> None:
    stub.always = Answer(204)
    subscriptions = twin.client(service.url).subscriptions
    made = subscriptions.add({"name": room, "url": f"{stub.url}/hook", "filter": {"context_window_id": room}})
    assert made["secret"].startswith("whsec_")
    attempt = subscriptions.test(made["id"])
    assert (attempt["status"], attempt["error"]) == (204, None)
    assert [json.loads(seen.body)["type"] for seen in stub.seen] == ["test"]
    paused = subscriptions.change(made["id"], {"state": "paused", "filter": {"escalate_flag": 1}})
    assert (paused["state"], paused["filter"]) == ("paused", {"escalate_flag": 1})
    assert [one["state"] for one in subscriptions.list() if one["name"] == room] == ["paused"]
    assert subscriptions.change(made["id"], {"state": "active"})["state"] == "active"
    moved = subscriptions.resend(made["id"], datetime.now(timezone.utc) - timedelta(hours=1))
    assert moved["id"] == made["id"]
    renewed = subscriptions.replace_secret(made["id"], overlap_seconds=60)
    assert renewed["secret"] != made["secret"]
    assert renewed["previous_secret_until"] is not None
    assert "secret" not in subscriptions.get(made["id"])
    assert subscriptions.remove(made["id"])["name"] == room
    assert subscriptions.get(made["id"]) is None


def test_mistakes_with_subscriptions(twin: Twin, service: Service, room: str) -> None:
    subscriptions = twin.client(service.url).subscriptions
    with pytest.raises(ValidationError):
        subscriptions.add({"name": room, "url": "http://10.0.0.1/"})
    for call in (
        lambda: subscriptions.change(UNKNOWN, {"state": "paused"}),
        lambda: subscriptions.test(UNKNOWN),
        lambda: subscriptions.resend(UNKNOWN, "2025-01-15T09:00:00Z"),
        lambda: subscriptions.replace_secret(UNKNOWN),
        lambda: subscriptions.remove(UNKNOWN),
    ):
        with pytest.raises(RequestError) as unknown:
            call()
        assert unknown.value.status == 404


def test_an_audit_reads_every_part(twin: Twin, service: Service, room: str) -> None:
    with SignalClient(service.url) as client:
        client.create_batch([{"context_window_id": room, "dedupe_key": f"{room}-{at}"} for at in range(5)])
    pages = list(twin.client(service.url).audit(limit=1000))
    assert {page["part"] for page in pages} == {"signals", "batches", "keys"}
    assert sum(page["mismatch_count"] for page in pages) == 0
    assert sum(page["checked"] for page in pages if page["part"] == "signals") >= 5
