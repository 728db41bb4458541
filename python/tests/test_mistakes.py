"""What a newcomer does first, and what the library says then."""

from __future__ import annotations

import copy
import json
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest

from signal_ingest import (
    AsyncSignalClient,
    BatchProcessor,
    BatchRejectedError,
    BufferFull,
    ClosedError,
    DeadlineError,
    InvalidSignalError,
    RateLimitedError,
    RequestError,
    SignalClient,
    SignalError,
    SpoolError,
    UnauthorizedError,
    UnavailableError,
    UndeliveredError,
    ValidationError,
)
from signal_ingest.base.errors import AnswerContext

from .setup.hop import Answer, Hop
from .setup.programs import run
from .setup.twins import Twin
from .test_processor import body_of, echo, signal

SIGNAL = {"context_window_id": "c"}
CONTEXT = AnswerContext(503, "request", "in_doubt", "transaction", 2.0)  # type: ignore[arg-type]
ERRORS: list[SignalError] = [
    InvalidSignalError("m", "not_json", "payload"),  # type: ignore[arg-type]
    ValidationError([{"type": "missing", "loc": ["body", "signals"], "msg": "Field required"}], CONTEXT),
    BatchRejectedError("m", [{"index": 3, "error": "e", "code": "out_of_range", "retryable": True}], CONTEXT),
    UnauthorizedError("m", CONTEXT),
    RequestError("m", CONTEXT),
    RateLimitedError("m", CONTEXT),
    UnavailableError("m", CONTEXT),
    DeadlineError("m", UnavailableError("last", CONTEXT)),
    ClosedError("m"),
    BufferFull("m"),
    SpoolError("m"),
    UndeliveredError("m", [b"{}"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_can_be_copied_to_another_process(error: SignalError) -> None:
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(made) is type(error)
        assert (str(made), vars(made)) == (str(error), vars(error))


def test_an_error_in_a_pool_of_processes_reaches_its_caller() -> None:
    """Each error of a worker is pickled. One that cannot be read again lets the pool wait for ever."""
    code = """
    import multiprocessing
    from signal_ingest import *
    def work(value): SignalClient("http://127.0.0.1:9").create_batch([{"payload": value}])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try: pool.map(work, [{1}])
        except InvalidSignalError as error: print(error.field, error)
    """
    ended = run(code)
    assert ended.stdout.startswith("payload signals[0].payload is"), ended.stderr


def test_a_client_and_a_processor_are_not_pickled(twin: Twin) -> None:
    client = twin.client("http://127.0.0.1:9")
    for made in (client, twin.processor(client)):
        with pytest.raises(TypeError, match=r"SignalClient|BatchProcessor.* cannot be pickled: make one in"):
            pickle.dumps(getattr(made, "inner", made))


def test_a_call_without_await_is_told_by_python() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        AsyncSignalClient("http://127.0.0.1:9").create_batch([SIGNAL])  # type: ignore[unused-coroutine]
    assert "create_batch' was never awaited" in str(told[0].message)


def test_a_closed_client(twin: Twin, stub: Hop) -> None:
    client = twin.client(stub.url)
    client.close()
    client.close()
    calls = (
        client.stats,
        lambda: client.create(SIGNAL),
        lambda: next(client.list()),
        client.subscriptions.list,
    )
    for call in calls:
        with pytest.raises(ClosedError, match="closed"):
            call()
    assert stub.seen == []


def test_a_client_that_is_closed_before_its_processor_loses_nothing_silently(twin: Twin, stub: Hop) -> None:
    stub.always = echo
    client = twin.client(stub.url)
    told: list[Any] = []
    processor = twin.processor(client, on_undelivered=told.append, max_wait_seconds=3600)
    processor.add(SIGNAL)
    client.close()
    assert not processor.close(timeout=0.3)
    assert [one.count for one in told] == [1]


def test_signals_from_a_generator(twin: Twin, stub: Hop) -> None:
    stub.always = echo
    client = twin.client(stub.url, compress=False)
    client.create_batch(signal("c", str(at)) for at in range(3))
    assert [one["raw_content"] for one in json.loads(body_of(stub.seen[0]))["signals"]] == ["0", "1", "2"]


@pytest.mark.parametrize("signals", [SIGNAL, "text", [[SIGNAL]], [None], b"{}"])
def test_what_is_no_list_of_signals(twin: Twin, stub: Hop, signals: Any) -> None:
    with pytest.raises(InvalidSignalError, match=r"signals\[0\] must be an object .*: a dict"):
        twin.client(stub.url).create_batch(signals)
    assert stub.seen == []


@pytest.mark.parametrize(
    "value", [b"{}", bytearray(b"{}"), memoryview(b"{}"), (at for at in range(3)), object()]
)
def test_a_payload_that_json_cannot_hold(twin: Twin, stub: Hop, value: Any) -> None:
    client = twin.client(stub.url)
    with pytest.raises(InvalidSignalError, match=r"^payload\.body is .*, which JSON cannot hold"):
        client.create({**SIGNAL, "payload": {"body": value}})
    assert stub.seen == []


def test_a_time_as_a_filter(twin: Twin, stub: Hop) -> None:
    stub.always = Answer(200, '{"signals": [], "next_cursor": null}')
    client = twin.client(stub.url)
    list(client.list(since=datetime(2025, 1, 15, 9, tzinfo=timezone.utc), until="2025-01-16T00:00:00Z"))
    assert "since=2025-01-15T09%3A00%3A00%2B00%3A00&until=2025-01-16T00%3A00%3A00Z" in stub.seen[0].path


def test_an_empty_variable_of_the_environment_is_no_key(
    twin: Twin, stub: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.always = echo
    monkeypatch.setenv("SIGNAL_INGEST_KEY", "")
    twin.client(stub.url, os.environ.get("SIGNAL_INGEST_KEY")).create_batch([SIGNAL])
    assert "authorization" not in stub.seen[0].headers


def test_a_client_in_a_pool_of_threads(stub: Hop) -> None:
    stub.always = echo
    with SignalClient(stub.url, compress=False) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda at: client.create_batch([signal("c", str(at))]), range(60)))
    assert all(answer["successful_count"] == 1 for answer in answers)
    texts = sorted(json.loads(seen.body)["signals"][0]["raw_content"] for seen in stub.seen)
    assert texts == sorted(map(str, range(60)))


@pytest.mark.parametrize("value", [None, "U1", ["user_id", "U1"]])
def test_what_is_no_object(twin: Twin, stub: Hop, value: Any) -> None:
    client = twin.client(stub.url)
    for call in (client.erase, client.keys.add, client.subscriptions.add):
        with pytest.raises(TypeError, match="must be a dict; it is"):
            call(value)
    assert stub.seen == []


def test_a_client_of_threads_in_a_block_of_asyncio() -> None:
    import asyncio

    async def main() -> None:
        async with SignalClient("http://127.0.0.1:9"):  # type: ignore[attr-defined]
            pass

    with pytest.raises((TypeError, AttributeError), match=r"SignalClient|__aenter__|__aexit__"):
        asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [{"timeout": "30"}, {"timeout": 0}, {"timeout": None}, {"compress": 1, "max_answer_bytes": "1"}],
)
def test_options_of_a_client(twin: Twin, options: Any) -> None:
    with pytest.raises(ValueError, match="must be a"):
        twin.client("http://127.0.0.1:9", **options)


def test_a_misspelt_option_is_an_error(twin: Twin) -> None:
    client = twin.client("http://127.0.0.1:9")
    with pytest.raises(TypeError, match="max_size"):
        twin.processor(client, max_size=10)
    with pytest.raises(TypeError, match="limit"):
        next(client.list(limit=10))


def test_a_processor_in_the_place_of_a_client() -> None:
    processor = BatchProcessor(SignalClient("http://127.0.0.1:9"))
    with pytest.raises(TypeError, match="client must be of the type SignalClient; it is of BatchProcessor"):
        BatchProcessor(processor)  # type: ignore[arg-type]
