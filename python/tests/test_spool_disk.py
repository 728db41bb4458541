"""A disk that fails under the spool: what add accepted is stored once, what it refused is not."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signal_ingest import DamagedLine, Spool, SpoolError
from signal_ingest.base.clock import Clock

from .setup.hop import Answer, Hop, Seen
from .setup.programs import run
from .setup.twins import Twin
from .test_processor import body_of, echo, signal
from .test_spool import Store, abandon, fill, small_disk

__all__ = ["small_disk"]  # a fixture


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Makes the next call of a function of the system fail, as a broken disk does."""
    real: Callable[..., Any] = getattr(os, name)

    def fail(*_: Any) -> None:
        monkeypatch.setattr(os, name, real)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


def in_order(store: Store) -> list[str]:
    return [one["raw_content"] for body in store.bodies.values() for one in json.loads(body)["signals"]]


def test_a_line_whose_sync_failed_is_removed(
    twin: Twin, stub: Hop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.always = store = Store()
    processor = twin.processor(twin.client(stub.url), spool=tmp_path, max_wait_seconds=3600)
    processor.add(signal("c", "before"))
    failing(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(SpoolError, match="Input/output error"):
        processor.add(signal("c", "failed"))
    processor.add(signal("c", "after"))
    assert len(list(tmp_path.glob("*/*.spool"))) == 2
    abandon(processor)
    again = twin.processor(twin.client(stub.url), spool=tmp_path)
    assert again.close(timeout=None)
    assert in_order(store) == ["before", "after"]


@pytest.mark.parametrize("before", [[], ["before"]], ids=["an empty file", "a file with a signal"])
def test_a_line_that_could_not_be_removed_takes_no_other_signals_place(
    twin: Twin, stub: Hop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: list[str]
) -> None:
    """The disk keeps the line of a signal that add refused, through two crashes."""
    stub.always = "refuse"
    processor = twin.processor(twin.client(stub.url), spool=tmp_path, max_wait_seconds=3600)
    for text in before:
        processor.add(signal("c", text))
    for name, number in (("fdatasync", errno.EIO), ("ftruncate", errno.EROFS), ("unlink", errno.EROFS)):
        failing(monkeypatch, name, number)
    with pytest.raises(SpoolError):
        processor.add(signal("c", "failed"))
    processor.add(signal("c", "after"))
    abandon(processor)
    monkeypatch.undo()
    # The service takes one batch before the second crash.
    options: dict[str, Any] = {"spool": tmp_path, "max_count": 1, "max_wait_seconds": 3600}
    store = Store()
    answers = iter([store])

    def take_one(seen: Seen) -> Answer:
        return next(answers, lambda _: Answer(503, "{}"))(seen)

    stub.always = take_one
    second = twin.processor(twin.client(stub.url, timeout=0.2), **options)
    second.flush(timeout=0.5)
    abandon(second)
    stub.always = store
    third = twin.processor(twin.client(stub.url), **options)
    assert third.close(timeout=None)
    assert sorted(in_order(store)) == ["after", *before]


def test_a_write_that_ends_in_the_middle_costs_its_signal_alone(stub: Hop, tmp_path: Path) -> None:
    """The system takes a line and a half of a file: a real write that is cut."""
    pytest.importorskip("resource")
    code = """
    import resource, signal, sys
    from signal_ingest import *
    processor = BatchProcessor(SignalClient("http://127.0.0.1:9"), spool=sys.argv[1], max_wait_seconds=3600)
    def add(text):
        try:
            processor.add({"context_window_id": "c", "raw_content": text})
            print(text, "accepted", flush=True)
        except SpoolError as error:
            print(text, error, flush=True)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120, resource.RLIM_INFINITY))
    for text in ("one", "two", "three"): add(text)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    add("four")
    import os; os._exit(0)
    """
    ended = run(code, str(tmp_path))
    said = [line.split(" ", 1) for line in ended.stdout.splitlines()]
    assert "File too large" in ended.stdout, ended.stderr
    accepted = [text for text, outcome in said if outcome == "accepted"]
    assert accepted[-1] == "four"
    damaged: list[DamagedLine] = []
    recovered = Spool(tmp_path, on_damage=damaged.append).open()
    ((folder, places),) = recovered.loose
    (batch,) = folder.batches_of(places, 100, 10**6)
    assert [json.loads(text)["raw_content"] for text in batch.read()] == accepted
    assert damaged == []


def test_the_files_stay_few_while_an_old_batch_waits(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    """Nothing that is done is sent again, although the oldest batch keeps its file."""

    def answer(seen: Seen) -> Answer:
        return Answer(503, "{}") if b"stays" in body_of(seen) else store(seen)

    store = Store()
    stub.always = answer
    spool = Spool(tmp_path / "spool", max_bytes=1024**2)
    client = twin.client(stub.url, timeout=20, clock=Clock(20))
    processor = twin.processor(client, spool=spool, max_count=4, max_in_flight=2, max_wait_seconds=3600)
    for at in range(4):
        processor.add(signal("c", f"stays {at}"))
    for at in range(160):
        processor.add(signal("c", f"{at:03d} " + "x" * 10_000), timeout=None)
    while processor.stats().stored < 160:
        processor.flush(timeout=0.5)
    # A file ends after 64 KiB: these took more than 20.
    assert len(list(tmp_path.glob("spool/*/*.spool"))) < 5
    # As after a crash: nothing is closed.
    shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    copied = Spool(tmp_path / "copy").open()
    assert sum(batch.count for batch in copied.batches) == 4
    assert copied.loose == []
    stub.always = store
    assert processor.close(timeout=None)
    assert len(in_order(store)) == 164


def test_one_batch_that_never_goes_through_does_not_stop_the_others(
    twin: Twin, stub: Hop, tmp_path: Path
) -> None:
    def answer(seen: Seen) -> Answer:
        return Answer(500, "{}") if b'"poison"' in body_of(seen) else store(seen)

    store = Store()
    stub.always = answer
    client = twin.client(stub.url, timeout=20, clock=Clock(20))
    processor = twin.processor(client, spool=tmp_path, max_count=2, max_in_flight=1, max_wait_seconds=3600)
    for text in ["poison", "poison", *(f"{at:02d}" for at in range(40))]:
        processor.add(signal("c", text))
    while processor.stats().stored < 40:
        processor.flush(timeout=0.5)
    assert store.texts == [f"{at:02d}" for at in range(40)]
    assert processor.stats().pending == 2


def test_no_byte_can_be_written_not_even_in_the_reserve(twin: Twin, stub: Hop, small_disk: Path) -> None:
    stub.always = "refuse"
    client = twin.client(stub.url, clock=Clock(100))
    spool_folder = small_disk / "spool"
    processor = twin.processor(client, spool=Spool(spool_folder, min_free_bytes=0), max_wait_seconds=3600)
    with pytest.raises(SpoolError):
        fill(processor)
    accepted = processor.stats().accepted
    for reserve in spool_folder.glob("*/reserve"):
        reserve.unlink()
    take_all(small_disk / "other")
    stub.always = store = Store()
    assert processor.flush(timeout=None)
    assert len(set(store.texts)) == len(store.texts) == accepted
    (small_disk / "other").unlink()
    assert processor.add(signal("c", "there is room again"))
    assert processor.close(timeout=None)
    # Nothing is sent again by the next run.
    stub.seen.clear()
    assert twin.processor(client, spool=spool_folder).close(timeout=None)
    assert stub.seen == []
    assert len(store.texts) == accepted + 1


def take_all(path: Path) -> None:
    """Another program takes every byte of a disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_the_reserve_is_taken_again_when_there_is_room(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = echo
    processor = twin.processor(twin.client(stub.url), spool=tmp_path, max_wait_seconds=3600)
    processor.add(signal("c", "one"))
    (reserve,) = tmp_path.glob("*/reserve")
    assert reserve.stat().st_size == 64 * 1024
    abandon(processor)
    reserve.unlink()
    again = twin.processor(twin.client(stub.url), spool=tmp_path, max_wait_seconds=3600)
    assert reserve.stat().st_size == 64 * 1024
    assert again.close()
