"""Only the service's answer is an answer. Everything else is retried, or an error."""

from __future__ import annotations

import json
import random
import sys
import time
from email.utils import formatdate
from typing import Any

import pytest

from signal_ingest import (
    BatchRejectedError,
    DeadlineError,
    RateLimitedError,
    RequestError,
    Retry,
    SignalError,
    UnauthorizedError,
    UnavailableError,
    ValidationError,
)
from signal_ingest.calls.answer import parse_json, read_answer, read_retry_after
from signal_ingest.calls.operations import _batch_check
from signal_ingest.http.message import Response

from .conftest import batch_answer
from .setup.hop import Answer, Hop
from .setup.twins import Twin

SIGNAL = {"context_window_id": "c"}
GOOD = Answer(200, batch_answer(1))


FOREIGN = [
    "", "{}", "[]", "null", '"ok"', '{"status":"ok"}', "<html>Sign in</html>", batch_answer(2),
    batch_answer(1)[:-5], "NaN",
    '{"total_count":1,"successful_count":1,"failed_count":1,"results":[{"index":0,"success":true}]}',
    '{"total_count":1,"successful_count":1,"failed_count":0,"results":[{"index":0,"success":false}]}',
    '{"total_count":1,"successful_count":1,"failed_count":0,"results":[{"index":7,"success":true}]}',
    '{"total_count":true,"successful_count":1,"failed_count":0,"results":[{"index":0,"success":true}]}',
]  # fmt: skip


@pytest.mark.parametrize("body", FOREIGN)
def test_an_answer_of_somebody_else_is_retried_under_the_same_key(twin: Twin, stub: Hop, body: str) -> None:
    stub.mishaps.extend([Answer(200, body), GOOD])
    assert twin.client(stub.url).create_batch([SIGNAL])["successful_count"] == 1
    keys = {seen.headers["idempotency-key"] for seen in stub.seen}
    assert len(stub.seen) == 2
    assert len(keys) == 1


def test_every_call_checks_its_answer(twin: Twin, stub: Hop) -> None:
    stub.always = Answer(200, '{"status":"ok"}')
    reasons: list[SignalError] = []

    def end(retry: Retry) -> None:
        reasons.append(retry.reason)
        raise InterruptedError

    client = twin.client(stub.url, on_retry=end)
    calls: list[Any] = [
        lambda: client.create(SIGNAL),
        lambda: client.create_batch([SIGNAL]),
        lambda: list(client.list()),
        lambda: client.signal(1),
        lambda: list(client.feed(follow=False)),
        lambda: client.stats(),
        lambda: client.batch("x"),
        lambda: list(client.list_dead_letters()),
        lambda: client.dead_letter(1),
        lambda: client.replay_dead_letter(1),
        lambda: client.replay_dead_letters(),
        lambda: client.discard_dead_letter(1),
        lambda: client.erase({"user_id": "u"}),
        lambda: client.erasure("x"),
    ]
    for call in calls:
        with pytest.raises(InterruptedError):
            call()
        assert isinstance(reasons[-1], UnavailableError)
        assert "not this service's" in str(reasons[-1])


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_method_and_body_is_followed_within_the_origin(
    twin: Twin, stub: Hop, status: int
) -> None:
    stub.mishaps.extend([Answer(status, headers={"Location": "/elsewhere?a=b"}), GOOD])
    assert twin.client(f"{stub.url}/base/", key="secret").create_batch([SIGNAL])["successful_count"] == 1
    assert [seen.path for seen in stub.seen] == ["/base/api/signals/batch", "/elsewhere?a=b"]
    assert stub.seen[0].body == stub.seen[1].body
    assert stub.seen[1].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_any_other_redirect_is_an_error_that_names_the_location(twin: Twin, stub: Hop, status: int) -> None:
    other = Hop()
    stub.always = Answer(status, headers={"Location": f"{other.url}/api"})
    with pytest.raises(RequestError, match=f"redirects to the Location {other.url}/api,") as caught:
        twin.client(stub.url, key="secret").create(SIGNAL)
    assert caught.value.status == status
    assert "secret" not in str(caught.value)
    assert other.seen == []
    other.stop()


def test_redirects_in_a_circle_end(twin: Twin, stub: Hop) -> None:
    stub.always = Answer(308, headers={"Location": "/again"})
    with pytest.raises(RequestError, match="redirects"):
        twin.client(stub.url).create(SIGNAL)
    assert len(stub.seen) < 10


ERRORS: list[tuple[int, Any, type[SignalError]]] = [
    (400, {"detail": "d", "errors": [{"index": 3, "code": "blank", "error": "e"}]}, BatchRejectedError),
    (400, {"detail": "d"}, RequestError),
    (401, {"detail": "d", "code": "unauthorized"}, UnauthorizedError),
    (403, {"detail": "d"}, UnauthorizedError),
    (404, "<html>", RequestError),
    (405, [], RequestError),
    (413, {"detail": "d"}, RequestError),
    (422, {"detail": [{"type": "t", "loc": ["body", "signals", 0], "msg": "m"}]}, ValidationError),
    (422, {"detail": "a proxy's"}, RequestError),
    (501, {}, RequestError),
]


@pytest.mark.parametrize(("status", "body", "kind"), ERRORS)
def test_a_refusal_is_not_retried(
    twin: Twin, stub: Hop, status: int, body: Any, kind: type[SignalError]
) -> None:
    stub.always = Answer(status, json.dumps(body), {"X-Request-Id": "r-1"})
    with pytest.raises(kind) as caught:
        twin.client(stub.url).create_batch([SIGNAL])
    assert (caught.value.status, caught.value.request_id) == (status, "r-1")
    assert len(stub.seen) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_transient_error_is_retried(twin: Twin, stub: Hop, status: int) -> None:
    stub.mishaps.extend([Answer(status, "<html>"), Answer(status, '{"detail":"d"}'), GOOD])
    assert twin.client(stub.url).create_batch([SIGNAL])["successful_count"] == 1
    assert len({seen.headers["idempotency-key"] for seen in stub.seen}) == 1


def test_retry_after_is_a_minimum(twin: Twin, stub: Hop) -> None:
    waits: list[float] = []
    stub.mishaps.extend([Answer(503, "{}", {"Retry-After": "0.3"}), GOOD])
    client = twin.client(stub.url, on_retry=lambda retry: waits.append(retry.wait_seconds))
    client.create_batch([SIGNAL])
    assert len(waits) == 1
    assert waits[0] >= 0.3


def test_a_wait_beyond_the_deadline_ends_the_call_at_once(twin: Twin, stub: Hop) -> None:
    stub.always = Answer(
        503, '{"detail":"later","transaction_id":"t-1","code":"in_doubt"}', {"Retry-After": "900"}
    )
    with pytest.raises(DeadlineError, match="the last answer: later") as caught:
        twin.client(stub.url).create_batch([SIGNAL])
    assert (caught.value.transaction_id, caught.value.code) == ("t-1", "in_doubt")
    assert len(stub.seen) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("soon", None), ("-1", None), ("1e9", None), ("", None), ("٣", None)],
)
def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    read = read_retry_after(formatdate(time.time() + 100, usegmt=True))
    assert read is not None
    assert 90 < read <= 100
    assert read_retry_after(formatdate(time.time() - 100, usegmt=True)) == 0.0


def test_an_encoding_that_the_service_refuses_is_sent_in_another(twin: Twin, stub: Hop) -> None:
    body = [{"context_window_id": "c", "raw_content": "x" * 10_000}]
    stub.mishaps.extend([Answer(415, "{}", {"Accept-Encoding": "identity"}), GOOD])
    twin.client(stub.url).create_batch(body)
    assert [seen.headers.get("content-encoding") for seen in stub.seen] == ["gzip", None]
    stub.mishaps.extend([Answer(415, "{}"), GOOD])
    twin.client(stub.url).create_batch(body)
    assert stub.seen[-1].headers.get("content-encoding") is None


def test_the_first_common_format_is_chosen(twin: Twin, hop: Hop, room: str) -> None:
    """zstd where Python has it, gzip elsewhere; the real service reads what was sent."""
    client = twin.client(hop.url)
    for text in ("first", "second"):
        client.create_batch(
            [{"context_window_id": room, "raw_content": text, "diagnostic_notes": text * 900}]
        )
    used = [seen.headers["content-encoding"] for seen in hop.seen]
    assert used == ["gzip", "zstd" if sys.version_info >= (3, 14) else "gzip"]
    stored = {
        signal["raw_content"]: signal["diagnostic_notes"] for signal in client.list(context_window_id=room)
    }
    assert stored == {"first": "first" * 900, "second": "second" * 900}


def test_a_key_that_cannot_be_sent_is_refused_without_saying_it(twin: Twin) -> None:
    for key in ("secret\nkey", "secret key", "sécret"):
        with pytest.raises(ValueError, match="key must be visible") as caught:
            twin.client("http://localhost", key)
        assert key not in str(caught.value)
    for url in ("localhost:8260", "ftp://a", "http://u:p@host", "http://", "http://a?b=c", "http://a b"):
        with pytest.raises(ValueError, match=r"^url "):
            twin.client(url)
    with pytest.raises(ValueError, match="line break") as caught:
        twin.client("http://localhost", headers={"x-a": "secret\r\nb: c"})
    assert "secret" not in str(caught.value)


def test_a_hundred_thousand_answers_that_somebody_changed() -> None:
    """Each becomes an error of the library, or is the answer of this batch, whose counts add up."""
    chance = random.Random(7)
    good = batch_answer(3, {1: "blank"})
    statuses = [200, 200, 200, 200, 201, 204, 301, 400, 408, 422, 429, 500, 503]
    count = 100_000
    for _ in range(count):
        text = bytearray(good.encode())
        for _ in range(chance.randint(0, 3)):
            at = chance.randrange(len(text))
            kind = chance.random()
            if kind < 0.5:
                text[at] = chance.randrange(256)
            elif kind < 0.8:
                del text[at : at + chance.randint(1, 30)]
            else:
                text[at:at] = text[: chance.randint(1, 30)]
        check = _batch_check(3)
        try:
            answer = read_answer(Response(chance.choice(statuses), {}, bytes(text)), check, parse_json, 10**6)
        except (UnavailableError, RateLimitedError, RequestError, BatchRejectedError, ValidationError):
            continue
        failed = sum(not result["success"] for result in answer["results"])
        assert failed == answer["failed_count"] == 3 - answer["successful_count"]


@pytest.mark.parametrize("url", [None, b"http://127.0.0.1:9", 8002, ""])
def test_an_address_that_is_no_text_is_refused(twin: Twin, url: Any) -> None:
    with pytest.raises(ValueError, match="url is not an address"):
        twin.client(url)
