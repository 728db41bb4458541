"""A child has locks, threads, sockets and a spool of its own, and sends nothing that its parent accepted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .setup.hop import Hop
from .setup.programs import run, script
from .test_processor import echo
from .test_spool import Store

pytestmark = pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")

BEGIN = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads
from signal_ingest import *
url, folder = sys.argv[1:]
client = SignalClient(url)
options = {"max_wait_seconds": 3600}
if folder: options["spool"] = folder
processor = BatchProcessor(client, **options)
def add(text): processor.add({"context_window_id": "c", "raw_content": text})
def fork(work):
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)
def wait(*pids): assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)
"""


@pytest.mark.parametrize("kept", [False, True])
def test_parent_and_children_send_their_own(stub: Hop, tmp_path: Path, kept: bool) -> None:
    stub.always = store = Store()
    code = """
add("parent before")
def child(at):
    add(f"child {at}")
    assert processor.stats().accepted == 1
    assert processor.close()
pids = [fork(lambda at=at: child(at)) for at in range(4)]
add("parent after")
wait(*pids)
assert processor.close()
"""
    ended = run(BEGIN + code, stub.url, str(tmp_path) if kept else "")
    assert ended.returncode == 0, ended.stderr
    assert store.texts == [*(f"child {at}" for at in range(4)), "parent after", "parent before"]
    assert list(tmp_path.iterdir()) == []


def test_a_fork_while_other_threads_hold_the_locks(stub: Hop, tmp_path: Path) -> None:
    stub.always = store = Store()
    code = """
count = 0
def busy():
    global count
    while not done: add(f"parent {count}"); count += 1
done = False
thread = threading.Thread(target=busy); thread.start()
pids = [fork(lambda at=at: (add(f"child {at}"), processor.close())) for at in range(20)]
done = True
thread.join()
wait(*pids)
assert processor.close()
print(count)
"""
    ended = run(BEGIN + code, stub.url, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    expected = [*(f"child {at}" for at in range(20)), *(f"parent {at}" for at in range(int(ended.stdout)))]
    assert store.texts == sorted(expected)


def test_without_hooks_the_child_sees_its_own_process_id(stub: Hop) -> None:
    """As under uWSGI, which calls no hooks unless it is asked to."""
    stub.always = store = Store()
    code = (
        "import asyncio, concurrent.futures.thread, logging, os, random; del os.register_at_fork\n"
        + BEGIN
        + """
add("parent")
wait(fork(lambda: (add("child"), processor.close())))
assert processor.close()
"""
    )
    ended = run(code, stub.url, "")
    assert ended.returncode == 0, ended.stderr
    assert store.texts == ["child", "parent"]


def test_a_child_does_not_hold_its_parents_spool(stub: Hop, tmp_path: Path) -> None:
    """The child lives on after its parent was killed; the next process takes the parent's folder over."""
    code = """
add("kept")
pid = fork(lambda: time.sleep(99))
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""
    stub.always = "refuse"
    path = script(tmp_path, "parent.py", BEGIN + code)
    import os
    import signal
    import subprocess

    ended = subprocess.Popen(
        [sys.executable, str(path), stub.url, str(tmp_path / "spool")], stdout=subprocess.PIPE, text=True
    )
    assert ended.stdout is not None
    child = int(ended.stdout.readline())
    ended.wait()
    try:
        stub.always = store = Store()
        run(BEGIN + "processor.flush()", stub.url, str(tmp_path / "spool"))
        assert store.texts == ["kept"]
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(stub: Hop, tmp_path: Path, method: str) -> None:
    """A child of multiprocessing calls no atexit hook: what it accepted is sent at its end all the same."""
    stub.always = store = Store()
    path = script(
        tmp_path,
        "pool.py",
        """
        import multiprocessing, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from signal_ingest import BatchProcessor, SignalClient
        options = {"max_wait_seconds": 3600, "exit_timeout_seconds": 25}
        processor = BatchProcessor(SignalClient(sys.argv[1]), **options)
        def work(at):
            processor.add({"context_window_id": "c", "raw_content": str(at)})
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[2])
            children = [context.Process(target=work, args=(at,)) for at in range(3)]
            for child in children: child.start()
            for child in children: child.join()
            with context.Pool(2) as pool:
                pool.map(work, range(3, 9))
                pool.close()
                pool.join()
        """,
    )
    import subprocess

    subprocess.run([sys.executable, str(path), stub.url, method], check=True, timeout=500)
    assert store.texts == [str(at) for at in range(9)]


def test_a_cell_that_runs_again(stub: Hop) -> None:
    """As in Jupyter: the module is loaded again, and the name is bound to a new processor."""
    stub.always = store = Store()
    code = """
import importlib, sys
import signal_ingest
for at in range(5):
    for name in [name for name in sys.modules if name.startswith("signal_ingest")]: del sys.modules[name]
    signal_ingest = importlib.import_module("signal_ingest")
    client = signal_ingest.SignalClient(sys.argv[1])
    processor = signal_ingest.BatchProcessor(client, exit_timeout_seconds=25)
    processor.add({"context_window_id": "c", "raw_content": str(at)})
"""
    ended = run(code, stub.url)
    assert store.texts == [str(at) for at in range(5)], ended.stderr


def test_a_send_loads_no_module(stub: Hop) -> None:
    """A child that was forked while a thread of its parent loaded a module can never load it."""
    stub.always = echo
    code = """
    import asyncio, sys
    from signal_ingest import *
    url = sys.argv[1].replace("127.0.0.1", "localhost")
    signal = {"context_window_id": "c", "raw_content": "x" * 9000}
    async def main():
        async with AsyncSignalClient(url) as client: await client.create_batch([signal])
    processor = BatchProcessor(SignalClient(url))
    before = set(sys.modules)
    processor.add(signal)
    processor.close()
    print(sorted(set(sys.modules) - before))
    before = set(sys.modules)
    asyncio.run(main())
    print(sorted(name for name in set(sys.modules) - before if not name.startswith("asyncio")))
    """
    ended = run(code, stub.url)
    assert ended.stdout == "[]\n[]\n", ended.stderr
    assert len(stub.seen) == 2


def test_a_child_whose_exit_hooks_were_cleared(stub: Hop) -> None:
    """As a task of Airflow 3: its process clears the hooks of its parent, and calls those that were added."""
    stub.always = store = Store()
    code = """
    import atexit, os, sys
    from signal_ingest import *
    options = {"max_wait_seconds": 3600, "exit_timeout_seconds": 25}
    processor = BatchProcessor(SignalClient(sys.argv[1]), **options)
    def add(text): processor.add({"context_window_id": "c", "raw_content": text})
    child = os.fork()
    if not child:
        atexit._clear()
        add("task")
        BatchProcessor(SignalClient(sys.argv[1]), **options)
        atexit._run_exitfuncs()
        os._exit(0)
    os.waitpid(child, 0)
    add("parent")
    """
    ended = run(code, stub.url)
    assert store.texts == ["parent", "task"], ended.stderr
