"""What add accepts is stored or reported; the bounds, the retries, and what is counted."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signal_ingest import (
    AsyncSignalClient,
    BatchProcessor,
    BatchRetry,
    BufferFull,
    ClosedError,
    DeadlineError,
    SignalClient,
    Undelivered,
    UndeliveredError,
    Unstored,
)
from signal_ingest.base.clock import Clock

from .conftest import batch_answer
from .setup.hop import Answer, Hop, Seen
from .setup.service import Service
from .setup.twins import Twin


def signal(room: str, text: object = "x", **more: Any) -> dict[str, Any]:
    return {"context_window_id": room, "raw_content": str(text), **more}


def body_of(seen: Seen) -> bytes:
    return gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body


def echo(seen: Seen) -> Answer:
    """Answers as the service does when it stores everything."""
    return Answer(200, batch_answer(len(json.loads(body_of(seen))["signals"])))


def until(condition: Callable[[], bool]) -> None:
    """Waits for an event; the test's own limit ends what hangs."""
    while not condition():
        time.sleep(0.01)


def test_everything_accepted_is_stored_once(twin: Twin, service: Service, room: str, texts_of: Any) -> None:
    processor = twin.processor(twin.client(service.url), max_count=30)
    for at in range(100):
        assert processor.add(signal(room, f"{at:03d}"))
    assert processor.flush()
    assert texts_of(room) == [f"{at:03d}" for at in range(100)]
    assert processor.stats().stored == 100
    assert processor.close()


def test_what_was_added_is_what_is_sent(twin: Twin, stub: Hop) -> None:
    stub.always = echo
    processor = twin.processor(twin.client(stub.url))
    reused: dict[str, Any] = signal("c", "", payload={"list": []})
    for text in ("one", "two", "three"):
        reused["raw_content"] = text
        reused["payload"]["list"].append(text)
        processor.add(reused)
    processor.close()
    (seen,) = stub.seen
    sent = json.loads(seen.body)["signals"]
    assert [one["raw_content"] for one in sent] == ["one", "two", "three"]
    assert [one["payload"]["list"] for one in sent] == [["one"], ["one", "two"], ["one", "two", "three"]]


def test_a_batch_is_sent_by_count_by_bytes_and_by_time(twin: Twin, stub: Hop) -> None:
    stub.always = echo
    processor = twin.processor(twin.client(stub.url), max_count=2, max_wait_seconds=3600)
    processor.add(signal("c"))
    processor.add(signal("c"))
    until(lambda: len(stub.seen) == 1)
    by_bytes = twin.processor(twin.client(stub.url), max_bytes=300, max_wait_seconds=3600)
    by_bytes.add(signal("c", "y" * 400))
    until(lambda: len(stub.seen) == 2)
    by_time = twin.processor(twin.client(stub.url), max_wait_seconds=0.01)
    by_time.add(signal("c"))
    until(lambda: len(stub.seen) == 3)
    counts = [len(json.loads(body_of(seen))["signals"]) for seen in stub.seen]
    assert counts == [2, 1, 1]


def test_a_full_buffer_makes_add_wait_and_then_refuse(twin: Twin, stub: Hop) -> None:
    gate = threading.Event()

    def hold(seen: Seen) -> Answer:
        gate.wait()
        return echo(seen)

    stub.always = hold
    processor = twin.processor(twin.client(stub.url), max_count=2, max_buffered=4, add_timeout_seconds=0.05)
    for at in range(4):
        assert processor.add(signal("c", at))
    with pytest.raises(BufferFull, match="not accepted"):
        processor.add(signal("c", 4))
    assert processor.stats().accepted == 4
    waiting = threading.Thread(target=lambda: processor.add(signal("c", 5), timeout=None))
    waiting.start()
    gate.set()
    waiting.join()
    assert processor.close()
    stats = processor.stats()
    assert (stats.accepted, stats.stored, stats.dropped, stats.pending) == (5, 5, 0, 0)


def test_the_buffer_is_bounded_by_bytes(twin: Twin, stub: Hop) -> None:
    stub.always = "refuse"
    processor = twin.processor(twin.client(stub.url), max_buffered_bytes=1000, add_timeout_seconds=0)
    processor.add(signal("c", "y" * 5000))  # alone, a signal of any size is accepted
    with pytest.raises(BufferFull):
        processor.add(signal("c"))


def test_drop_is_asked_for_and_counted(twin: Twin, stub: Hop) -> None:
    stub.always = "refuse"
    processor = twin.processor(twin.client(stub.url), max_buffered=3, when_full="drop")
    assert [processor.add(signal("c", at)) for at in range(5)] == [True, True, True, False, False]
    stats = processor.stats()
    assert (stats.accepted, stats.dropped, stats.pending) == (3, 2, 3)


def test_refused_signals_are_named_and_the_others_are_stored(
    twin: Twin, service: Service, room: str, texts_of: Any
) -> None:
    failed: list[Unstored] = []

    def note(unstored: Unstored) -> None:
        failed.append(unstored)
        raise RuntimeError("a callback that raises does not stop the sender")

    processor = twin.processor(twin.client(service.url), on_failure=note)
    processor.add(signal(room, "bad score", signal_score=2))
    processor.add({"raw_content": "no conversation"})
    processor.add(signal(room, "good"))
    assert processor.close()
    assert texts_of(room) == ["good"]
    assert {(one.code, one.field, one.retryable) for one in failed} == {
        ("out_of_range", "signal_score", False),
        ("missing_field", "context_window_id", False),
    }
    assert sorted(one.signal["raw_content"] for one in failed) == ["bad score", "no conversation"]
    assert processor.stats().failed == {"out_of_range": 1, "missing_field": 1}


def test_duplicates_are_counted(twin: Twin, service: Service, room: str) -> None:
    processor = twin.processor(twin.client(service.url), max_count=1)
    for _ in range(3):
        processor.add(signal(room, dedupe_key=f"dedupe-{room}"))
    assert processor.close()
    stats = processor.stats()
    assert (stats.stored, stats.duplicates) == (1, 2)


def test_one_key_and_the_same_bytes_for_every_attempt(twin: Twin, hop: Hop, room: str, texts_of: Any) -> None:
    hop.mishaps.extend(["refuse", "lose", "cut", Answer(500), Answer(503, "{}"), "lose"])
    processor = twin.processor(twin.client(hop.url))
    for at in range(3):
        processor.add(signal(room, at))
    assert processor.close()
    assert len({(seen.headers["idempotency-key"], body_of(seen)) for seen in hop.seen}) == 1
    assert len(hop.seen) >= 7
    assert texts_of(room) == ["0", "1", "2"]


def test_it_retries_for_the_life_of_the_process(twin: Twin, stub: Hop) -> None:
    """An hour without a service, at 1,000 times the speed."""
    clock = Clock(1000)
    client = twin.client(stub.url, clock=clock)
    processor = twin.processor(client, max_count=10, max_wait_seconds=10_000)
    began = clock.monotonic()
    stub.always = "refuse"
    for at in range(50):
        processor.add(signal("c", at))
    until(lambda: clock.monotonic() - began > 3600)
    assert processor.stats().pending == 50
    asked = len(stub.seen)
    assert asked < 5000  # five batches, a call at least every 10 seconds in the mean
    stub.always = echo
    assert processor.flush(timeout=None)
    stats = processor.stats()
    assert (stats.stored, stats.pending, stats.undelivered) == (50, 0, 0)
    assert stats.retried > 0
    keys = {seen.headers["idempotency-key"] for seen in stub.seen}
    assert len(keys) == 5


@pytest.mark.parametrize("is_spooled", [False, True], ids=["memory", "spool"])
@pytest.mark.parametrize("minutes", [2, 10, 60])
def test_an_outage_costs_nothing(
    twin: Twin, stub: Hop, tmp_path: Path, minutes: int, is_spooled: bool
) -> None:
    """With the options as they are by default, at 1,000 times the speed."""
    clock = Clock(1000)
    options: dict[str, Any] = {"spool": tmp_path / "spool"} if is_spooled else {}
    processor = twin.processor(twin.client(stub.url, clock=clock), **options)
    began = clock.monotonic()
    stub.always = "refuse"
    for at in range(250):
        processor.add(signal("c", f"{at:03d}"))
    until(lambda: clock.monotonic() - began > minutes * 60)
    assert processor.stats().pending == 250
    stub.always = echo
    assert processor.flush(timeout=None)
    stats = processor.stats()
    assert (stats.stored, stats.pending, stats.undelivered) == (250, 0, 0)
    assert stats.retried > 0
    # A batch has one key, and no signal is in two of them.
    bodies = {seen.headers["idempotency-key"]: body_of(seen) for seen in stub.seen}
    texts = [one["raw_content"] for body in bodies.values() for one in json.loads(body)["signals"]]
    assert sorted(texts) == [f"{at:03d}" for at in range(250)]


@pytest.mark.parametrize("status", [401, 403, 404, 302, 501])
def test_a_wrong_setting_loses_nothing(twin: Twin, stub: Hop, status: int) -> None:
    stub.always = Answer(status, "{}")
    processor = twin.processor(twin.client(stub.url, clock=Clock(100)))
    processor.add(signal("c"))
    assert not processor.flush(timeout=10)
    assert processor.stats().pending == 1
    stub.always = echo
    assert processor.flush(timeout=None)


def test_a_batch_that_the_service_refuses_is_reported(twin: Twin, stub: Hop) -> None:
    detail = [{"type": "idempotency_key_reused", "loc": ["header"], "msg": "used"}]
    stub.always = Answer(422, json.dumps({"detail": detail, "code": "idempotency_key_reused"}))
    reported: list[Undelivered] = []
    processor = twin.processor(twin.client(stub.url), on_undelivered=reported.append)
    processor.add(signal("c", "told"))
    assert processor.flush()
    assert [one.signals[0]["raw_content"] for one in reported] == ["told"]
    assert processor.stats().undelivered == 1
    silent = twin.processor(twin.client(stub.url))
    silent.add(signal("c", "raised"))
    with pytest.raises(UndeliveredError) as caught:
        silent.flush()
    assert b"raised" in caught.value.signals[0]


def test_it_gives_up_before_the_service_forgets_the_key(twin: Twin, stub: Hop) -> None:
    stub.always = "refuse"
    reported: list[Undelivered] = []
    retries: list[BatchRetry] = []
    client = twin.client(stub.url, clock=Clock(20_000))
    processor = twin.processor(client, on_undelivered=reported.append, on_retry=retries.append)
    processor.add(signal("c", "late"))
    assert processor.flush(timeout=None)
    assert isinstance(reported[0].error, DeadlineError)
    assert (reported[0].count, reported[0].kept) == (1, False)
    assert [retry.attempt for retry in retries] == list(range(1, len(retries) + 1))


def test_a_batch_over_a_limit_is_halved(twin: Twin, stub: Hop) -> None:
    def limit(seen: Seen) -> Answer:
        count = len(json.loads(seen.body)["signals"])
        return echo(seen) if count <= 3 else Answer(413, "{}")

    stub.always = limit
    processor = twin.processor(twin.client(stub.url, compress=False))
    for at in range(10):
        processor.add(signal("c", at))
    assert processor.close()
    assert processor.stats().stored == 10


def test_close_is_final(twin: Twin, stub: Hop) -> None:
    stub.always = "refuse"
    reported: list[Undelivered] = []
    processor = twin.processor(twin.client(stub.url), on_undelivered=reported.append)
    processor.add(signal("c", "left"))
    assert not processor.close(timeout=0.05)
    assert processor.close()
    assert [one.signals[0]["raw_content"] for one in reported] == ["left"]
    with pytest.raises(ClosedError):
        processor.add(signal("c"))


def test_close_wakes_those_who_wait_for_room(twin: Twin, stub: Hop) -> None:
    stub.always = "refuse"
    processor = twin.processor(twin.client(stub.url), max_buffered=1, on_undelivered=lambda _: None)
    processor.add(signal("c"))
    refused: list[Exception] = []

    def add() -> None:
        try:
            processor.add(signal("c"), timeout=None)
        except ClosedError as error:
            refused.append(error)

    waiting = threading.Thread(target=add)
    waiting.start()
    processor.close(timeout=0.05)
    waiting.join()
    assert len(refused) == 1


def test_flush_in_a_callback_returns(twin: Twin, stub: Hop) -> None:
    if twin.kind == "asyncio":
        pytest.skip("a callback of asyncio cannot wait")
    stub.always = echo
    said: list[bool] = []
    processor = twin.processor(twin.client(stub.url), on_delivered=lambda _: said.append(processor.flush()))
    processor.add(signal("c"))
    assert processor.close()
    assert said == [False]


def test_no_thread_before_the_first_signal_and_none_when_idle(
    stub: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none when there is nothing to do."""
    monkeypatch.setattr("signal_ingest.processor.threads.IDLE_SECONDS", 0.05)
    stub.always = echo

    def own() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "signal-ingest"]

    before = len(own())
    processor = BatchProcessor(SignalClient(stub.url))
    assert len(own()) == before
    processor.add(signal("c"))
    assert processor.flush()
    until(lambda: len(own()) == before)
    processor.add(signal("c"))
    assert processor.close()
    assert processor.stats().stored == 2


def test_many_threads_add_at_once(service: Service, room: str, texts_of: Any) -> None:
    processor = BatchProcessor(SignalClient(service.url), max_count=50, max_buffered=100)

    def add(worker: int) -> None:
        for at in range(100):
            processor.add(signal(room, f"{worker}-{at:03d}"))

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert processor.close()
    assert texts_of(room) == sorted(f"{worker}-{at:03d}" for worker in range(5) for at in range(100))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_count", 0), ("max_count", 10_001), ("max_count", True), ("max_bytes", 0),
        ("max_wait_seconds", -1),
        ("max_in_flight", 1001), ("max_buffered", 0), ("max_buffered_bytes", 1.5), ("when_full", "lose"),
        ("attempt_timeout_seconds", 0), ("give_up_seconds", float("nan")),
        ("give_up_seconds", 604_800), ("other_callers", "drop"),
        ("add_timeout_seconds", float("inf")), ("headers", {"a b": "c"}),
    ],
)  # fmt: skip
def test_an_option_out_of_its_range_is_refused(twin: Twin, stub: Hop, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option}|header"):
        twin.processor(twin.client(stub.url), **{option: value})


@pytest.mark.parametrize("client", [None, "http://127.0.0.1:9"])
def test_a_client_of_another_kind_is_refused(twin: Twin, stub: Hop, client: Any) -> None:
    other = AsyncSignalClient(stub.url) if twin.kind == "threads" else SignalClient(stub.url)
    for wrong in (client, other):
        with pytest.raises(TypeError, match="client must be of the type"):
            twin.processor(wrong)
