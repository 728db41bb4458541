"""Under the servers that people run: each is the real one, and is ended as its operator ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .setup.hop import Hop
from .setup.programs import script
from .setup.service import free_port
from .test_spool import Store

WSGI = """
import os, sys
from signal_ingest import BatchProcessor, SignalClient
processor = BatchProcessor(SignalClient(os.environ["URL"]), max_wait_seconds=3600, exit_timeout_seconds=25)
def app(environ, start):
    text = environ["PATH_INFO"].strip("/")
    processor.add({"context_window_id": "c", "raw_content": text, "payload": {"pid": os.getpid()}})
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

ASGI = """
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI
from signal_ingest import AsyncBatchProcessor, AsyncSignalClient

@asynccontextmanager
async def lifespan(app):
    async with AsyncSignalClient(os.environ["URL"]) as client:
        async with AsyncBatchProcessor(client, max_wait_seconds=3600) as app.state.processor:
            yield

app = FastAPI(lifespan=lifespan)

@app.get("/{text}")
async def take(text: str):
    await app.state.processor.add({"context_window_id": "c", "raw_content": text})
    return "ok"
"""


@contextmanager
def serving(command: list[str], folder: Path, url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the end of the block; then SIGTERM, and it has to end."""
    import os

    environment = {**os.environ, "URL": url, "PYTHONWARNINGS": "ignore"}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        while not reachable(port):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(300)
    finally:
        if process.poll() is None:
            process.kill()


def reachable(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def ask(port: int, count: int) -> list[str]:
    for at in range(count):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{at:03d}", timeout=300) as answer:
            answer.read()
    return [f"{at:03d}" for at in range(count)]


def program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_gunicorn(stub: Hop, tmp_path: Path, worker: str, preload: bool) -> None:
    pytest.importorskip("gunicorn")
    if worker == "gevent":
        pytest.importorskip("gevent")
    stub.always = store = Store()
    script(tmp_path, "site_app.py", WSGI)
    port = free_port()
    command = [program("gunicorn"), "site_app:app", "-w", "2", "-k", worker, "-b", f"127.0.0.1:{port}"]
    with serving(command + ["--preload"] * preload, tmp_path, stub.url, port):
        expected = ask(port, 30)
    assert store.texts == expected, (tmp_path / "log").read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_uvicorn(stub: Hop, tmp_path: Path, workers: int) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    stub.always = store = Store()
    script(tmp_path, "site_app.py", ASGI)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "site_app:app",
        "--port",
        str(port),
        "--workers",
        str(workers),
    ]
    with serving(command, tmp_path, stub.url, port):
        expected = ask(port, 30)
    assert store.texts == expected, (tmp_path / "log").read_text()


@pytest.mark.parametrize("hooks", [False, True])
def test_uwsgi(stub: Hop, tmp_path: Path, hooks: bool) -> None:
    pytest.importorskip("pyuwsgi")
    stub.always = store = Store()
    script(tmp_path, "site_app.py", WSGI)
    port = free_port()
    command = [program("uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--module", "site_app:app", "--master"]
    command += ["--processes", "2", "--enable-threads", "--die-on-term", "--pythonpath", str(tmp_path)]
    command += ["--py-call-uwsgi-fork-hooks", "--py-call-osafterfork"] * hooks
    with serving(command, tmp_path, stub.url, port):
        expected = ask(port, 30)
    assert store.texts == expected, (tmp_path / "log").read_text()


def test_celery_prefork(stub: Hop, tmp_path: Path) -> None:
    pytest.importorskip("celery")
    import os

    stub.always = store = Store()
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    script(
        tmp_path,
        "tasks.py",
        """
        import os
        from celery import Celery
        from signal_ingest import BatchProcessor, SignalClient
        here = os.path.dirname(os.path.abspath(__file__))
        folders = {"data_folder_in": f"{here}/queue", "data_folder_out": f"{here}/queue",
                   "control_folder": f"{here}/control"}
        app = Celery("tasks", broker="filesystem://")
        app.conf.broker_transport_options = folders
        app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
        options = {"max_wait_seconds": 3600, "exit_timeout_seconds": 25}
        processor = BatchProcessor(SignalClient(os.environ["URL"]), **options)
        @app.task
        def take(text):
            processor.add({"context_window_id": "c", "raw_content": text})
            with open(f"{here}/done", "a") as done: done.write(f"{text}\\n")
        """,
    )
    environment = {**os.environ, "URL": stub.url}
    ask_all = "import tasks\nfor at in range(20): tasks.take.delay(f'{at:03d}')"
    subprocess.run([sys.executable, "-c", ask_all], cwd=tmp_path, env=environment, check=True, timeout=500)
    log = (tmp_path / "log").open("wb")
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2"]
    worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        done = tmp_path / "done"
        while not done.exists() or len(done.read_text().split()) < 20:
            assert worker.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    finally:
        if worker.poll() is None:
            worker.kill()
    assert store.texts == [f"{at:03d}" for at in range(20)], (tmp_path / "log").read_text()


@pytest.mark.long
def test_a_program_that_is_frozen_by_pyinstaller(stub: Hop, tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    stub.always = store = Store()
    code = """
    import sys
    from signal_ingest import BatchProcessor, SignalClient
    processor = BatchProcessor(SignalClient(sys.argv[1]), exit_timeout_seconds=25)
    processor.add({"context_window_id": "c", "raw_content": "frozen"})
    """
    path = script(tmp_path, "frozen.py", code)
    command = [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", str(path)]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)
    if "shared library" in made.stderr or "libpython" in made.stderr:
        pytest.skip("PyInstaller needs a Python with a shared library")
    assert made.returncode == 0, made.stderr
    subprocess.run([str(tmp_path / "dist/frozen/frozen"), stub.url], check=True, timeout=500)
    assert store.texts == ["frozen"]


def test_gevent_patches_after_the_import(stub: Hop, tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    stub.always = store = Store()
    code: Any = """
    import signal_ingest, sys
    from gevent import monkey
    monkey.patch_all()
    import gevent
    processor = signal_ingest.BatchProcessor(signal_ingest.SignalClient(sys.argv[1]), max_count=3)
    def work(worker):
        for at in range(10): processor.add({"context_window_id": "c", "raw_content": f"{worker}-{at}"})
    gevent.joinall([gevent.spawn(work, worker) for worker in range(5)])
    assert processor.flush(timeout=30)
    """
    path = script(tmp_path, "green.py", code)
    subprocess.run([sys.executable, "-W", "ignore", str(path), stub.url], check=True, timeout=500)
    assert store.texts == sorted(f"{worker}-{at}" for worker in range(5) for at in range(10))


def test_a_notebook(stub: Hop) -> None:
    """Cells of Jupyter run in a loop that already runs."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    stub.always = store = Store()
    cells = [
        f"from signal_ingest import *; url = {stub.url!r}",
        "processor = AsyncBatchProcessor(AsyncSignalClient(url))",
        "await processor.add({'context_window_id': 'c', 'raw_content': 'a task'}); await processor.flush()",
        # The cell runs again: the former processor sends the rest.
        "processor = BatchProcessor(SignalClient(url), exit_timeout_seconds=30)",
        "processor.add({'context_window_id': 'c', 'raw_content': 'b thread'})",
        "processor = BatchProcessor(SignalClient(url), max_wait_seconds=3600, exit_timeout_seconds=30)",
        "processor.add({'context_window_id': 'c', 'raw_content': 'c exit'})",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=None).execute()
    assert store.texts == ["a task", "b thread", "c exit"]
