"""Every way out of a process: with the service, and with the service dead, within its bound."""

from __future__ import annotations

import os
import signal as signals
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from signal_ingest import BatchProcessor, SignalClient

from .setup.hop import Hop
from .setup.programs import run
from .setup.service import Service, free_port
from .test_spool import Store

BEGIN = """
import atexit, os, signal, sys, threading, time
from signal_ingest import *
url, folder = sys.argv[1:]
options = {"exit_timeout_seconds": 0.5, "max_wait_seconds": 3600}
if folder: options["spool"] = folder
processor = BatchProcessor(SignalClient(url), **options)
def add(text): processor.add({"context_window_id": "c", "raw_content": text})
"""

EXITS = {
    "the end of the program": "add('a')",
    "sys.exit": "add('a'); sys.exit(3)",
    "an exception": "add('a'); raise SystemExit(3)",
    "a thread that still runs": """
add('a')
threading.Thread(target=time.sleep, args=(999,), daemon=True).start()
""",
    "a thread that adds": "threading.Thread(target=add, args=('a',)).start()",
    "add in an atexit hook": "atexit.register(add, 'a')",
    "Ctrl-C": """
add('a')
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(99)
except KeyboardInterrupt:
    pass
""",
    "close": "add('a'); processor.close(timeout=0.5)",
    "with": """
with processor:
    add('a')
    processor.close(timeout=0.5)
""",
    "flush and the end": "add('a'); processor.flush(timeout=0.5)",
    "SIGTERM with a handler": """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
add('a')
os.kill(os.getpid(), 15)
time.sleep(9)
""",
    "many processors": """
more = [BatchProcessor(SignalClient(url), exit_timeout_seconds=0.5) for _ in range(5)]
add('a')
""",
}


@pytest.mark.parametrize("name", EXITS)
def test_an_exit_sends_what_is_accepted(stub: Hop, name: str) -> None:
    stub.always = store = Store()
    # The bound is no part of this test: a busy machine may take longer than usual.
    ended = run((BEGIN + EXITS[name]).replace("0.5", "30"), stub.url, "")
    assert store.texts == ["a"], ended.stderr
    assert "not sent" not in ended.stderr


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", EXITS)
@pytest.mark.parametrize("kind", ["nobody listens", "nobody answers"])
def test_an_exit_with_the_service_dead_ends(name: str, kept: bool, kind: str, tmp_path: Path) -> None:
    with dead_port(kind) as port:
        url = f"http://127.0.0.1:{port}"
        ended = run(BEGIN + EXITS[name], url, str(tmp_path / "spool") if kept else "")
    if kept:
        assert "They are lost" not in ended.stderr
        store = Store()
        # The service is back, at the same address: another one would be another caller.
        hop = Hop(port=port)
        hop.always = store
        with BatchProcessor(SignalClient(url), spool=tmp_path / "spool") as heir:
            assert heir.flush(timeout=None)
        hop.stop()
        assert store.texts == ["a"]
    elif "close" not in EXITS[name]:
        assert (
            "signal_ingest: 1 accepted signals were not sent before the exit. They are lost." in ended.stderr
        )
    else:
        assert "1 signals are given up" in ended.stderr


@contextmanager
def dead_port(kind: str) -> Iterator[int]:
    """A port on which nobody listens; or one that takes connections and never says a word."""
    if kind == "nobody listens":
        yield free_port()
        return
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def test_a_process_that_is_killed_by_sigterm_keeps_its_spool(stub: Hop, tmp_path: Path) -> None:
    stub.always = "refuse"
    ended = run(BEGIN + "add('a'); os.kill(os.getpid(), 15); time.sleep(9)", stub.url, str(tmp_path))
    assert ended.returncode == -signals.SIGTERM
    stub.always = store = Store()
    run(BEGIN + "processor.flush()", stub.url, str(tmp_path))
    assert store.texts == ["a"]


def test_an_exit_tells_on_undelivered(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code = """
    import sys
    from signal_ingest import *
    def tell(one): print("undelivered", one.signals, flush=True)
    processor = BatchProcessor(SignalClient(sys.argv[1]), exit_timeout_seconds=0.1, on_undelivered=tell)
    processor.add({"context_window_id": "c"})
    """
    assert "undelivered [{'context_window_id': 'c'}]" in run(code, url).stdout


def test_asyncio_run_without_close_tells_what_is_lost(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code = """
    import asyncio, sys
    from signal_ingest import *
    async def main():
        processor = AsyncBatchProcessor(AsyncSignalClient(sys.argv[1]))
        keep.append(processor)
        await processor.add({"context_window_id": "c"})
    keep = []
    asyncio.run(main())
    """
    assert "1 accepted signals were not sent before the exit. They are lost" in run(code, url).stderr


def test_asyncio_takes_up_its_work_in_the_next_loop(stub: Hop) -> None:
    stub.always = store = Store()
    code = """
    import asyncio, sys
    from signal_ingest import *
    client = AsyncSignalClient(sys.argv[1])
    processor = AsyncBatchProcessor(client, max_wait_seconds=3600)
    async def add(text): await processor.add({"context_window_id": "c", "raw_content": text})
    asyncio.run(add("one"))
    asyncio.run(add("two"))
    asyncio.run(processor.aclose())
    """
    ended = run(code, stub.url)
    assert store.texts == ["one", "two"], ended.stderr


def test_close_in_a_running_loop_is_refused() -> None:
    import asyncio

    from signal_ingest import AsyncBatchProcessor, AsyncSignalClient

    async def main() -> None:
        client = AsyncSignalClient("http://127.0.0.1:9")
        processor = AsyncBatchProcessor(client)
        for closed in (client, processor):
            with pytest.raises(RuntimeError, match="await"):
                closed.close()
        assert await processor.aclose()
        await client.aclose()

    asyncio.run(main())


def test_lambda_sends_before_it_returns(stub: Hop) -> None:
    stub.always = store = Store()
    code = """
    import sys, threading
    from signal_ingest import *
    processor = BatchProcessor(SignalClient(sys.argv[1]), max_count=2)
    @processor.settled(timeout=10)
    def handler(event):
        for text in event: processor.add({"context_window_id": "c", "raw_content": text})
    handler(["a", "b", "c"])
    print(processor.stats().stored, threading.active_count())
    """
    ended = run(code, stub.url, environment={"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"})
    assert ended.stdout == "3 1\n", ended.stderr
    assert store.texts == ["a", "b", "c"]
    dead = run(
        code.replace("10", "0.2"),
        f"http://127.0.0.1:{free_port()}",
        environment={"AWS_LAMBDA_RUNTIME_API": "x"},
    )
    assert "DeadlineError: 3 accepted signals are not settled within 0.2 s" in dead.stderr


def test_a_thread_that_cannot_start_is_no_loss(stub: Hop) -> None:
    stub.always = store = Store()
    code = """
    import sys, threading
    from signal_ingest import *
    processor = BatchProcessor(SignalClient(sys.argv[1]), max_count=2)
    def refuse(self): raise RuntimeError("can't start new thread")
    threading.Thread.start = refuse
    for text in "abc": processor.add({"context_window_id": "c", "raw_content": text})
    """
    ended = run(code.replace("max_count=2", "max_count=2, exit_timeout_seconds=30"), stub.url)
    assert store.texts == ["a", "b", "c"], ended.stderr


def test_many_exits_do_not_hang_while_the_service_is_killed(tmp_path: Path) -> None:
    """The service ends in the middle of answers; each sender still ends within its bound."""
    hop = Hop()
    hop.always = "cut"
    code = BEGIN.replace("3600", "0.01") + "for at in range(200): add(str(at))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, hop.url, str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    time.sleep(0.5)
    hop.stop()
    for process in started:
        _, said = process.communicate(timeout=300)
        assert "They are lost" not in said
    assert os.listdir(tmp_path)


def test_the_real_service_has_what_an_exit_sent(service: Service, room: str, texts_of: Any) -> None:
    code = """
    import sys
    from signal_ingest import *
    processor = BatchProcessor(SignalClient(sys.argv[1]), exit_timeout_seconds=30)
    for at in range(250): processor.add({"context_window_id": sys.argv[2], "raw_content": f"{at:03d}"})
    """
    ended = run(code, service.url, room)
    assert texts_of(room) == [f"{at:03d}" for at in range(250)], ended.stderr
