"""The cases that both libraries read: see test/golden/README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from signal_ingest import (
    AsyncSignalClient,
    BatchRejectedError,
    DeadlineError,
    InvalidSignalError,
    RequestError,
    SignalClient,
    SignalError,
    TransientError,
    UnauthorizedError,
    UnavailableError,
    ValidationError,
)
from signal_ingest.base.encode import encode_signal
from signal_ingest.base.errors import AnswerContext
from signal_ingest.calls.answer import parse_json, read_retry_after
from signal_ingest.calls.call import Retry, follow_redirect, wait_after
from signal_ingest.calls.deliver import Delivery, deliver_each, derived_key
from signal_ingest.http.address import parse_address
from signal_ingest.processor.attempt import is_refusal
from signal_ingest.processor.core import pause_after

from .setup.hop import Answer, Hop, Seen
from .setup.twins import Twin

FOLDER = Path(__file__).parents[2] / "test/golden"


def cases(file: str, *lists: str) -> Any:
    """The cases of lists of a file, with their names."""
    found = parse_json((FOLDER / f"{file}.json").read_text())
    parameters = [pytest.param(one, id=f"{name}: {one['name']}") for name in lists for one in found[name]]
    _read.update((file, name) for name in lists)
    return pytest.mark.parametrize("case", parameters)


_read: set[tuple[str, str]] = set()


def test_every_list_is_read() -> None:
    lists = {(file.stem, name) for file in FOLDER.glob("*.json") for name in json.loads(file.read_text())}
    assert lists == _read


@cases("encoding", "signals")
def test_signals(case: Any) -> None:
    assert encode_signal(case["signal"]).decode() == case["text"]


@cases("encoding", "batches")
def test_batches(twin: Twin, stub: Hop, case: Any) -> None:
    stub.always = Answer(404)
    with pytest.raises(RequestError):
        twin.client(stub.url, compress=False).create_batch(
            case["signals"], all_or_nothing=case["all_or_nothing"]
        )
    assert [seen.body.decode() for seen in stub.seen] == [case["text"]]


@cases("encoding", "scores")
def test_scores(twin: Twin, stub: Hop, case: Any) -> None:
    stub.always = Answer(404)
    with pytest.raises(RequestError):
        twin.client(stub.url, compress=False).create_scores(
            case["scores"], all_or_nothing=case["all_or_nothing"]
        )
    assert [(seen.path, seen.body.decode()) for seen in stub.seen] == [("/api/scores", case["text"])]


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


UNSENDABLE: dict[str, Callable[[Any], Any]] = {
    "nan": lambda holder: float("nan"),
    "infinity": lambda holder: float("inf"),
    "-infinity": lambda holder: float("-inf"),
    "cycle": lambda holder: holder,
    "lone surrogate": lambda holder: "\ud800",
    "deep": lambda holder: nested(101),
    "set": lambda holder: {1},
    "function": lambda holder: lambda: 1,
}


@cases("encoding", "refused")
def test_refused_signals(twin: Twin, stub: Hop, case: Any) -> None:
    signal = json.loads(json.dumps(case["signal"]))
    if "path" in case:
        *way, last = case["path"]
        holder = signal
        for step in way:
            holder = holder[step]
        holder[last] = UNSENDABLE[case["value"]](holder)
    client = twin.client(stub.url)
    processor = twin.processor(client)
    for call in (client.create, lambda one: client.create_batch([one]), processor.add):
        with pytest.raises(InvalidSignalError) as caught:
            call(signal)
        assert caught.value.failure_code == case["failure_code"]
        assert caught.value.field == case.get("field")
        assert case["place"] in str(caught.value)
    assert stub.seen == []


@cases("keys", "halves")
def test_halves(case: Any) -> None:
    assert derived_key(case["key"], case["half"]) == case["derived"]


@cases("keys", "batches")
def test_keys_of_batches(twin: Twin, stub: Hop, case: Any) -> None:
    requests: list[Any] = []

    def respond(seen: Seen) -> Answer:
        places = [signal["raw_content"] for signal in json.loads(seen.body)["signals"]]
        requests.append({"key": seen.headers["idempotency-key"], "from": places[0], "to": places[-1] + 1})
        if len(places) > case["limit"]:
            return Answer(413, "too large")
        counts = {"total_count": len(places), "successful_count": len(places), "failed_count": 0}
        return Answer(200, json.dumps({**counts, "results": []}))

    stub.always = respond
    client = twin.client(stub.url)
    texts = [encode_signal({"raw_content": place}) for place in range(case["count"])]
    delivery = Delivery()
    client.run(deliver_each(client.operations, texts, case["key"], delivery))
    assert requests == case["requests"]
    assert [failure["index"] for failure in delivery.failures] == case["too_large"]
    assert all(failure["code"] == "too_large" for failure in delivery.failures)


@cases("keys", "callers")
def test_callers(case: Any) -> None:
    assert SignalClient(case["url"], case["key"]).operations.caller == case["id"]


@cases("keys", "idempotency_keys")
def test_idempotency_keys(twin: Twin, stub: Hop, case: Any) -> None:
    stub.always = Answer(404)
    with pytest.raises(RequestError if case["accepted"] else ValueError):
        twin.client(stub.url).create_batch([], idempotency_key=case["key"])
    assert [seen.headers["idempotency-key"] for seen in stub.seen] == (
        [case["key"]] if case["accepted"] else []
    )


class Retried(Exception):
    """Ends a call before its first retry."""


def first_retry() -> tuple[list[TransientError], Callable[[Retry], None]]:
    reasons: list[TransientError] = []

    def end(retry: Retry) -> None:
        reasons.append(retry.reason)
        raise Retried

    return reasons, end


def answer_of(case: Any) -> Answer:
    text = json.dumps(case["json"]) if "json" in case else case.get("text", "")
    return Answer(case.get("status", 200), text, case.get("headers", {}))


@cases("answers", "decisions")
def test_decisions(twin: Twin, stub: Hop, case: Any) -> None:
    stub.always = answer_of(case)
    reasons, end = first_retry()
    client = twin.client(stub.url, on_retry=end, timeout=100_000)
    outcome: dict[str, Any] = {}
    try:
        answer = client.create_batch([{"context_window_id": "c"}] * case["count"])
        keys = ("index", "error", "code", "field", "retryable")
        failures = [one for one in answer["results"] if one["error"] is not None]
        outcome = {"decision": "done", "failures": [{key: one[key] for key in keys} for one in failures]}
    except (SignalError, Retried) as thrown:
        error = reasons[0] if reasons else thrown
        assert isinstance(error, SignalError)
        seconds = error.answer.retry_after_seconds
        outcome = {
            "decision": "retry" if reasons else "fail",
            "error": type(error).__name__,
            "stored": "in doubt" if isinstance(error, UnavailableError) else "nothing",
            "code": error.code,
            "retry_after_ms": None if seconds is None else seconds * 1000,
            "transaction_id": error.transaction_id,
        }
        assert case.get("message", "") in error.message
    assert outcome == {**outcome, **{name: case[name] for name in outcome if name in case}}


NAMED = {
    *("list", "listPages", "feed", "stats", "listDeadLetters", "replayDeadLetters", "audit"),
    "subscriptions.replaceSecret",
}
"""Calls whose last argument in TypeScript is an object of options, which are arguments by name here."""


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def call_of(client: Any, name: str, arguments: list[Any]) -> None:
    """Makes a call with the arguments of a case; of an iterator, the first step."""
    method = client
    for part in name.split("."):
        method = getattr(method, snake(part))
    named = {snake(key): value for key, value in arguments[-1].items()} if name in NAMED else {}
    result = method(*arguments[: len(arguments) - (name in NAMED)], **named)
    if isinstance(result, Iterator):
        next(result, None)


@cases("calls", "requests")
def test_requests(twin: Twin, stub: Hop, case: Any) -> None:
    stub.always = Answer(404)
    with pytest.raises(RequestError):
        call_of(twin.client(stub.url, compress=False), case["call"], case["arguments"])
    (seen,) = stub.seen
    address = urlsplit(seen.path)
    assert case["request"] == {
        "method": seen.method,
        "path": address.path,
        "query": urlencode(sorted(parse_qsl(address.query))),
        "body": seen.body.decode() or None,
    }


ONLY_HERE = {"run", "close", "aclose", "pages"}


@pytest.mark.parametrize("client", [SignalClient, AsyncSignalClient])
def test_every_call_has_a_case(client: Any) -> None:
    made = client("http://golden.test")
    parts = {"": made, "keys.": made.keys, "subscriptions.": made.subscriptions}
    names = {
        prefix + name
        for prefix, part in parts.items()
        for name, value in vars(type(part)).items()
        if not name.startswith("_") and callable(value) and name not in ONLY_HERE
    }
    assert names == {snake(case["call"]) for case in CALLS}


CALLS = json.loads((FOLDER / "calls.json").read_text())["requests"]
ARGUMENTS = {case["call"]: case["arguments"] for case in reversed(CALLS)}


@cases("answers", "foreign")
def test_foreign_answers(stub: Hop, case: Any) -> None:
    stub.always = Answer(200, json.dumps(case["json"]))
    reasons, end = first_retry()
    client = SignalClient(stub.url, on_retry=end)
    arguments = ARGUMENTS[case["call"]]
    if case["accepted"]:
        call_of(client, case["call"], arguments)
    else:
        with pytest.raises(Retried):
            call_of(client, case["call"], arguments)
    assert [(type(reason), reason.status) for reason in reasons] == [(UnavailableError, 200)] * (
        not case["accepted"]
    )


@cases("answers", "not_found")
def test_not_found(twin: Twin, stub: Hop, case: Any) -> None:
    stub.always = answer_of({**case, "status": 404})
    client = twin.client(stub.url)
    if case["result"] == "undefined":
        assert client.batch("t") is None
    else:
        with pytest.raises(RequestError):
            client.batch("t")


@cases("waits", "retry_after")
def test_retry_after(case: Any) -> None:
    now = datetime.fromisoformat(case["now"].replace("Z", "+00:00")).timestamp()
    with mock.patch("time.time", return_value=now):
        seconds = read_retry_after(case["header"])
    assert (None if seconds is None else seconds * 1000) == case["retry_after_ms"]


def bounds(wait: Callable[[float], float]) -> list[float]:
    """Jitter is the only part that is left to chance."""
    return [wait(chance) * 1000 for chance in (0, 1)]


@cases("waits", "attempts")
def test_waits_between_attempts(case: Any) -> None:
    asked = None if case["retry_after_ms"] is None else case["retry_after_ms"] / 1000
    assert bounds(lambda chance: wait_after(case["attempt"], asked, chance)) == [case["min"], case["max"]]


@cases("waits", "batches")
def test_pauses_of_batches(case: Any) -> None:
    asked = (case["retry_after_ms"] or 0) / 1000
    assert bounds(lambda chance: pause_after(case["attempt"], asked, chance)) == [case["min"], case["max"]]


@cases("addresses", "paths")
def test_paths(case: Any) -> None:
    address = parse_address(case["url"])
    query = urlencode({name: value for name, value in case["query"].items() if value is not None})
    assert address.origin + address.prefix + case["path"] + (f"?{query}" if query else "") == case["address"]


@cases("addresses", "filters")
def test_filters(twin: Twin, stub: Hop, case: Any) -> None:
    stub.always = Answer(200, json.dumps({"signals": [], "next_cursor": None}))
    client = twin.client(stub.url)
    if "refused" in case:
        with pytest.raises(TypeError, match=case["refused"]):
            list(client.list(**case["filter"]))
        assert stub.seen == []
        return
    assert list(client.list(**case["filter"])) == []
    queries = [urlencode(sorted(parse_qsl(urlsplit(seen.path).query))) for seen in stub.seen]
    assert queries == [case["query"]]


@cases("addresses", "refused")
def test_refused_addresses(case: Any) -> None:
    with pytest.raises(ValueError, match=case["message"]) as caught:
        SignalClient(case.get("url", "http://golden.test"), case.get("key"))
    assert case.get("secret", "no secret") not in str(caught.value)


@cases("addresses", "redirects")
def test_redirects(case: Any) -> None:
    called = urlsplit(case["url"])
    address = parse_address(f"{called.scheme}://{called.netloc}")
    if case["follow"] is not None:
        path = follow_redirect(address, called.path, case["status"], case["location"])
        assert address.origin + path == case["follow"]
    else:
        with pytest.raises(RequestError) as caught:
            follow_redirect(address, called.path, case["status"], case["location"])
        assert case["message"] in str(caught.value)
        assert "secret" not in str(caught.value)


@cases("processor", "outcomes")
def test_outcomes(case: Any) -> None:
    answer = AnswerContext(case["status"], None, case["code"])
    errors: dict[str, Callable[[], SignalError]] = {
        "DeadlineError": lambda: DeadlineError("", UnavailableError("")),
        "UnauthorizedError": lambda: UnauthorizedError("", answer),
        "RequestError": lambda: RequestError("", answer),
        "ValidationError": lambda: ValidationError([], answer),
        "BatchRejectedError": lambda: BatchRejectedError("", [], answer),
    }
    assert ("refused" if is_refusal(errors[case["error"]]()) else "again") == case["outcome"]
