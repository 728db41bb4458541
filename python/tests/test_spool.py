"""What the spool has accepted survives its process, its disk and its files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_ingest import (
    BatchProcessor,
    BufferFull,
    ClosedError,
    DamagedLine,
    SignalClient,
    Spool,
    SpoolError,
    Undelivered,
)
from signal_ingest.base.clock import Clock
from signal_ingest.spool.lines import CutLine, DoneLine, SignalLine, decode_line, encode_line, read_lines

from .setup.hop import Answer, Hop, Seen
from .setup.twins import Blocking, Twin
from .test_processor import body_of, echo, signal, until


def texts(hop: Hop) -> list[str]:
    """The texts of all signals that arrived, with those that arrived again."""
    return [one["raw_content"] for seen in hop.seen for one in json.loads(body_of(seen))["signals"]]


class Store:
    """Stores each key once, as the service does, and holds that a key has the same body for ever."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    def __call__(self, seen: Seen) -> Answer:
        key, body = seen.headers["idempotency-key"], body_of(seen)
        assert self.bodies.setdefault(key, body) == body
        return echo(seen)

    @property
    def texts(self) -> list[str]:
        bodies = (json.loads(body)["signals"] for body in self.bodies.values())
        return sorted(one["raw_content"] for signals in bodies for one in signals)


def fill(processor: Any) -> None:
    """Adds signals of 4 KiB until add refuses one."""
    count = 0
    while True:
        processor.add(signal("c", f"{count:06d}" + "y" * 4000))
        count += 1


def abandon(processor: Any) -> None:
    """Leaves a processor as kill -9 would: nothing is sent or written any more, and the locks are free."""
    inner = getattr(processor, "inner", processor)
    inner._is_closed = True
    if isinstance(processor, Blocking):
        processor.cancel(inner._tasks)
    else:
        inner._stop.set()
        with inner._lock:
            workers = list(inner._workers)
            inner._work.notify_all()
        for worker in workers:
            worker.join()
    inner._options.spool.abandon()


def test_a_signal_is_on_disk_when_add_returns(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = "refuse"
    processor = twin.processor(twin.client(stub.url), spool=tmp_path, max_wait_seconds=3600)
    processor.add(signal("c", "kept"))
    (file,) = tmp_path.glob("*/*.spool")
    (line,) = file.read_bytes().splitlines()
    entry = decode_line(line)
    assert isinstance(entry, SignalLine)
    assert entry.text == b'{"context_window_id":"c","raw_content":"kept"}'


def test_the_next_run_sends_the_rest_under_the_same_keys(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = Answer(503, "{}")
    client = twin.client(stub.url)
    processor = twin.processor(client, spool=tmp_path, max_count=10, max_wait_seconds=3600)
    for at in range(25):
        processor.add(signal("c", f"{at:02d}"))
    until(lambda: len({seen.headers["idempotency-key"] for seen in stub.seen}) == 2)
    abandon(processor)
    first = {seen.headers["idempotency-key"]: body_of(seen) for seen in stub.seen}
    stub.seen.clear()
    stub.always = echo
    again = twin.processor(client, spool=tmp_path)
    assert again.flush()
    assert again.stats().recovered == 25
    assert sorted(set(texts(stub))) == [f"{at:02d}" for at in range(25)]
    second = {seen.headers["idempotency-key"]: body_of(seen) for seen in stub.seen}
    assert first.items() <= second.items()
    assert again.close()
    assert list(tmp_path.iterdir()) == []


def test_the_spool_takes_an_outage_that_the_memory_does_not(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = "refuse"
    client = twin.client(stub.url, clock=Clock(100))
    processor = twin.processor(client, spool=tmp_path, max_buffered=20, max_count=10, add_timeout_seconds=0)
    for at in range(300):
        processor.add(signal("c", f"{at:03d}"))
    inner = getattr(processor, "inner", processor)
    held = [batch for batch in inner._core.outstanding if batch.texts is not None]
    assert sum(batch.count for batch in held) <= 20 + 4 * 10  # and what is in flight
    stub.always = store = Store()
    assert processor.flush(timeout=None)
    assert store.texts == [f"{at:03d}" for at in range(300)]
    assert processor.stats().stored == 300


def test_a_full_spool_makes_add_wait_until_the_service_is_back(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = "refuse"
    client = twin.client(stub.url, clock=Clock(100))
    spool = Spool(tmp_path, max_bytes=1024**2)
    processor = twin.processor(client, spool=spool, add_timeout_seconds=0)
    with pytest.raises(BufferFull, match=re.escape(str(tmp_path))):
        fill(processor)
    accepted = processor.stats().accepted
    assert 200 < accepted < 260
    stub.always = store = Store()
    assert processor.add(signal("c", "later"), timeout=None)
    assert processor.flush(timeout=None)
    assert len(set(store.texts)) == len(store.texts) == accepted + 1


def test_each_process_has_a_folder_and_the_next_takes_over(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = "refuse"
    client = twin.client(stub.url)
    processors = [twin.processor(client, spool=tmp_path, max_wait_seconds=3600) for _ in range(3)]
    for at, processor in enumerate(processors):
        processor.add(signal("c", at))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["0001", "0002", "0003"]
    for processor in processors[1:]:
        abandon(processor)
    stub.always = echo
    heir = twin.processor(client, spool=tmp_path)
    assert heir.flush()
    assert sorted(texts(stub)) == ["1", "2"]
    assert heir.close()
    assert [one.name for one in tmp_path.iterdir()] == ["0001"]


def test_another_key_does_not_store_again_what_was_in_doubt(
    twin: Twin, stub: Hop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stub.always = "lose"
    processor = twin.processor(twin.client(stub.url, "key-a"), spool=tmp_path, max_count=1)
    processor.add(signal("c", "in doubt"))
    until(lambda: len(stub.seen) > 0)
    abandon(processor)
    stub.seen.clear()
    stub.always = echo
    other = twin.processor(twin.client(stub.url, "key-b"), spool=tmp_path)
    assert other.flush()
    assert stub.seen == []
    assert "keeps 1 signals that were sent with another API key or address" in caplog.text
    other.close()
    own = twin.processor(twin.client(stub.url, "key-a"), spool=tmp_path)
    assert own.flush()
    assert texts(stub) == ["in doubt"]
    own.close()


def test_another_key_sends_what_it_is_asked_to_and_what_has_dedupe_keys(
    twin: Twin, stub: Hop, tmp_path: Path
) -> None:
    stub.always = "lose"
    processor = twin.processor(twin.client(stub.url, "key-a"), spool=tmp_path, max_count=1)
    processor.add(signal("c", "with", dedupe_key="d"))
    processor.add(signal("c", "without"))
    until(lambda: len(set(texts(stub))) == 2)
    abandon(processor)
    stub.always = echo
    kept: list[Undelivered] = []
    for other_callers, sent in (("keep", ["with"]), ("send", ["without"])):
        stub.seen.clear()
        client = twin.client(stub.url, "key-b")
        other = twin.processor(
            client, spool=tmp_path, other_callers=other_callers, on_undelivered=kept.append
        )
        assert other.flush()
        assert texts(stub) == sent
        other.close()
    assert [(one.count, one.texts, one.kept) for one in kept] == [(1, [], True)]


def test_close_leaves_the_rest_in_the_spool_and_says_so(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = "refuse"
    told: list[Undelivered] = []
    processor = twin.processor(twin.client(stub.url), spool=tmp_path, on_undelivered=told.append)
    for at in range(3):
        processor.add(signal("c", at))
    assert not processor.close(timeout=0.05)
    assert [(one.count, one.texts, one.kept) for one in told] == [(3, [], True)]
    stub.always = store = Store()
    again = twin.processor(twin.client(stub.url), spool=tmp_path)
    assert again.close()
    assert store.texts == ["0", "1", "2"]


def test_a_floor_of_free_space(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = echo
    spool = Spool(tmp_path, min_free_bytes=1024**4)
    processor = twin.processor(twin.client(stub.url), spool=spool)
    with pytest.raises(SpoolError, match=r"less than 1099511627776 bytes free \(min_free_bytes\)"):
        processor.add(signal("c"))
    assert processor.stats().accepted == 0


def test_a_damaged_line_costs_its_signal_alone(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    stub.always = "refuse"
    client = twin.client(stub.url)
    processor = twin.processor(client, spool=tmp_path, max_wait_seconds=3600)
    for at in range(5):
        processor.add(signal("c", f"text-{at}"))
    abandon(processor)
    (file,) = tmp_path.glob("*/*.spool")
    data = bytearray(file.read_bytes())
    data[data.index(b"text-1")] ^= 1
    data[data.index(b"\n", data.index(b"text-2"))] = ord("x")  # joins two lines
    file.write_bytes(bytes(data) + b"torn line without an end")
    seen: list[DamagedLine] = []
    stub.always = echo
    again = twin.processor(client, spool=Spool(tmp_path, on_damage=seen.append))
    assert again.flush()
    assert texts(stub) == ["text-0", "text-2", "text-3", "text-4"]
    assert [one.line for one in seen] == [2]
    again.close()


def test_a_spool_that_is_closed_or_cannot_be_opened_says_so(twin: Twin, stub: Hop, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SpoolError, match="cannot be opened"):
        twin.processor(twin.client(stub.url), spool=file)
    spool = Spool(tmp_path / "spool")
    with pytest.raises(ClosedError):
        spool.append(b"{}")


def test_threads_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (syncs.append(1), sync(descriptor)))
    spool = Spool(tmp_path)
    spool.open()
    threads = [
        threading.Thread(target=lambda: [spool.append(b'{"a":1}') for _ in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.close()
    assert len(syncs) < 401
    again = Spool(tmp_path).open()
    assert sum(len(places) for _, places in again.loose) == 400


ranges = st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1).map(
    lambda pairs: tuple(pairs)
)
entries = st.one_of(
    st.builds(SignalLine, st.integers(1, 10**12), st.sampled_from([b"{}", '{"é":"\\n\u2028"}'.encode()])),
    st.builds(CutLine, st.text(), ranges, st.integers(0, 9), st.text()),
    st.builds(DoneLine, st.text(), ranges),
)


@given(st.lists(entries), st.integers(0, 2000), st.integers(0, 255))
def test_one_damaged_byte_costs_at_most_one_line(lines: list[Any], at: int, byte: int) -> None:
    written = [encode_line(line) for line in lines]
    data = bytearray(b"".join(written))
    assert [entry for _, _, entry, _, _ in read_lines(bytes(data))] == lines
    if data:
        data[at % len(data)] = byte
        read = [entry for _, _, entry, _, _ in read_lines(bytes(data)) if entry is not None]
        assert len(read) >= len(lines) - 2  # the last line is one without an end, when its break is damaged
        assert all(entry in lines for entry in read)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a disk of its own needs the right to mount")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=False)


@pytest.mark.parametrize("min_free_bytes", [0, 1024**2])
def test_a_disk_that_the_spool_fills_itself(
    twin: Twin, stub: Hop, small_disk: Path, min_free_bytes: int
) -> None:
    stub.always = "refuse"
    spool = Spool(small_disk, min_free_bytes=min_free_bytes)
    processor = twin.processor(twin.client(stub.url, clock=Clock(100)), spool=spool)
    with pytest.raises(SpoolError, match=r"No space left on device|bytes free"):
        fill(processor)
    accepted = processor.stats().accepted
    assert accepted > (400 if min_free_bytes == 0 else 150)
    stub.always = store = Store()
    assert processor.flush(timeout=None)
    assert len(set(store.texts)) == len(store.texts) == accepted
    assert processor.add(signal("c", "there is room again"))
    assert processor.close()
    assert "there is room again" in store.texts


def test_a_restart_on_a_full_disk(twin: Twin, stub: Hop, small_disk: Path) -> None:
    stub.always = "refuse"
    client = twin.client(stub.url, clock=Clock(100))
    # Nothing is sent before the kill, which would use the reserve.
    options = {"max_count": 10_000, "max_bytes": 1024**3, "max_wait_seconds": 3600}
    processor = twin.processor(client, spool=Spool(small_disk, min_free_bytes=0), **options)
    with pytest.raises(SpoolError):
        fill(processor)
    accepted = processor.stats().accepted
    abandon(processor)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "other").write_bytes(b"x" * 2 * 1024**2)  # somebody else takes what the reserve leaves
    stub.always = store = Store()
    again = twin.processor(client, spool=small_disk)
    assert again.flush(timeout=None)
    assert len(set(store.texts)) == len(store.texts) == accepted
    assert again.close()


KILLED = """
import sys
from signal_ingest import BatchProcessor, SignalClient
url, folder, room, run = sys.argv[1:]
processor = BatchProcessor(SignalClient(url), spool=folder, max_count=20, max_wait_seconds=0.02)
at = 0
while True:
    text = f"{run}-{at:05d}"
    processor.add({"context_window_id": room, "raw_content": text})
    print(text, flush=True)
    at += 1
"""


def test_kill_9_costs_nothing(hop: Hop, room: str, tmp_path: Path, texts_of: Any) -> None:
    """Six processes are killed while answers are lost and cut: what add accepted is stored once."""
    accepted: list[str] = []
    for run in range(6):
        hop.mishaps.extend(["pass", "lose", "refuse", "cut", "pass", Answer(503, "{}")])
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, hop.url, str(tmp_path), room, str(run)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(50 + 60 * run):
            accepted.append(process.stdout.readline().strip())
        process.kill()
        accepted += process.stdout.read().split()
        process.wait()
    # At the same address: another one would be another caller, whose batches in doubt are kept.
    processor = BatchProcessor(SignalClient(hop.url), spool=tmp_path)
    assert processor.close(timeout=None)
    stored = texts_of(room)
    assert len(set(stored)) == len(stored)
    # A signal whose add had not returned may be stored.
    assert set(accepted) <= set(stored)
    assert len(stored) - len(accepted) <= 6
