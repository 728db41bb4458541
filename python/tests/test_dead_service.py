"""Every place where people run the library, with the service dead: each ends and no loss is silent.

A client waits ten minutes for an answer and an exit half a second, so that an end that waits for the service
meets the hard limit of its test.
"""

from __future__ import annotations

import os
import re
import signal as signals
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from signal_ingest import BatchProcessor, SignalClient

from .setup.hop import Hop
from .setup.programs import LIMIT_SECONDS, script
from .setup.service import free_port
from .test_servers import ask, program, reachable
from .test_spool import Store

MAKE = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from signal_ingest import AsyncBatchProcessor, AsyncSignalClient, BatchProcessor, SignalClient
options = {"exit_timeout_seconds": 0.5, "max_wait_seconds": 0.01}
if os.environ["SPOOL"]: options["spool"] = os.environ["SPOOL"]
def signal(text): return {"context_window_id": "c", "raw_content": text}
def processor_of(): return BatchProcessor(SignalClient(os.environ["URL"], timeout=600), **options)
"""
MADE = f"{MAKE}processor = processor_of()\n"


class Dead:
    """A service that takes connections and says nothing, and what its senders leave behind."""

    def __init__(self, folder: Path, is_kept: bool) -> None:
        self.server = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._port: int = self.server.getsockname()[1]
        self._spool = folder / "spool" if is_kept else None
        self.folder = folder
        self.environment = {
            **os.environ,
            "URL": f"http://127.0.0.1:{self._port}",
            "SPOOL": str(self._spool or ""),
            "PYTHONWARNINGS": "ignore",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def run(self, code: str) -> None:
        """Runs a program to its end, which must come."""
        path = script(self.folder, "a_program.py", code)
        process = self.start(sys.executable, str(path))
        try:
            process.wait(LIMIT_SECONDS)
        finally:
            process.kill()

    def expect(self, texts: list[str], is_told: bool = True) -> None:
        """Each signal is in the spool, or counted in what the processes said."""
        said = (self.folder / "log").read_text() if (self.folder / "log").exists() else ""
        if self._spool is None:
            told = re.findall(r"^signal_ingest: (\d+) accepted signals were not sent", said, re.MULTILINE)
            told = told or re.findall(r"^(\d+) signals are given up", said, re.MULTILINE)
            assert not is_told or sum(map(int, told)) == len(texts), said
            return
        assert "They are lost" not in said
        self.server.close()
        hop = Hop(port=self._port)
        hop.always = store = Store()
        with BatchProcessor(SignalClient(self.environment["URL"]), spool=self._spool) as heir:
            assert heir.flush(timeout=None)
        hop.stop()
        assert store.texts == sorted(texts), said


@pytest.fixture(params=["memory", "spool"])
def dead(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dead]:
    made = Dead(tmp_path, request.param == "spool")
    yield made
    made.server.close()


PROGRAMS = {
    "fork": f"""{MADE}
processor.add(signal("0"))
children = []
for at in (1, 2):
    child = os.fork()
    if not child:
        processor.add(signal(str(at)))
        sys.exit()
    children.append(child)
for child in children: os.waitpid(child, 0)
""",
    "gevent": f"""from gevent import monkey; monkey.patch_all()
import gevent
{MADE}
gevent.joinall([gevent.spawn(processor.add, signal(str(at))) for at in range(3)])
""",
    "asyncio, closed": f"""{MAKE}
import asyncio
async def main():
    client = AsyncSignalClient(os.environ["URL"], timeout=600)
    processor = AsyncBatchProcessor(client, **options)
    for at in range(3): await processor.add(signal(str(at)))
    try: await processor.aclose(timeout=0.5)
    except Exception: pass
    await client.aclose()
asyncio.run(main())
""",
    "asyncio, not closed": f"""{MAKE}
import asyncio
async def main():
    processor = AsyncBatchProcessor(AsyncSignalClient(os.environ["URL"], timeout=600), **options)
    for at in range(3): await processor.add(signal(str(at)))
asyncio.run(main())
""",
    "not held, without a thread": f"""{MAKE}
import gc
def work():
    client = SignalClient(os.environ["URL"], timeout=600)
    processor = BatchProcessor(client, background=False, **options)
    for at in range(3): processor.add(signal(str(at)))
work()
gc.collect()
""",
    "AWS Lambda": f"""{MAKE}
os.environ["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:9001"
processor = processor_of()
@processor.settled(timeout=0.5)
def handler(): [processor.add(signal(str(at))) for at in range(3)]
try: handler()
except Exception as error: print(type(error).__name__)
""",
    **{
        f"multiprocessing, {method}": f"""{MADE}
import multiprocessing
def work(at): processor.add(signal(str(at)))
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    children = [context.Process(target=work, args=(at,)) for at in range(3)]
    for child in children: child.start()
    for child in children: child.join()
"""
        for method in ("fork", "forkserver", "spawn")
    },
    "a pool": f"""{MADE}
import multiprocessing
def work(at): processor.add(signal(str(at)))
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(3))
        pool.close()
        pool.join()
""",
    "concurrent.futures": f"""{MADE}
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as pool: list(pool.map(lambda at: processor.add(signal(str(at))), range(3)))
""",
}


@pytest.mark.parametrize("place", PROGRAMS)
def test_a_program_ends(dead: Dead, place: str) -> None:
    if place == "gevent":
        pytest.importorskip("gevent")
    dead.run(PROGRAMS[place])
    dead.expect(["0", "1", "2"])


WSGI = f"""{MADE}
def app(environ, start):
    processor.add(signal(environ["PATH_INFO"].strip("/")))
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ASGI = f"""{MAKE}
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    app.state.processor = AsyncBatchProcessor(AsyncSignalClient(os.environ["URL"], timeout=600), **options)
    yield
    await app.state.processor.aclose(timeout=0.5)

app = FastAPI(lifespan=lifespan)

@app.get("/{{text}}")
async def take(text: str):
    await app.state.processor.add(signal(text))
"""
SERVERS = {
    **{
        f"gunicorn {kind}": ["gunicorn", "site_app:app", "-w", "2", "-k", kind, "-b", "127.0.0.1:PORT"]
        for kind in ("sync", "gthread", "gevent")
    },
    "uvicorn": ["uvicorn", "site_app:app", "--port", "PORT"],
    "uwsgi": [
        *(
            "uwsgi",
            "--http-socket",
            "127.0.0.1:PORT",
            "--module",
            "site_app:app",
            "--master",
            "--processes",
            "2",
        ),
        *("--enable-threads", "--die-on-term", "--pythonpath", "."),
    ],
}


# Servers take long to start. The memory's way out of a process is that of the programs above.
ALSO_LONG = pytest.mark.parametrize(
    "dead", [pytest.param("memory", marks=pytest.mark.long), "spool"], indirect=True
)


@ALSO_LONG
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_ends_at_sigterm(dead: Dead, server: str) -> None:
    for module in {"uwsgi": "pyuwsgi", "uvicorn": "fastapi"}.get(server, "gunicorn").split():
        pytest.importorskip(module)
    if "gevent" in server:
        pytest.importorskip("gevent")
    script(dead.folder, "site_app.py", ASGI if server == "uvicorn" else WSGI)
    port = free_port()
    name, *options = SERVERS[server]
    process = dead.start(program(name), *(option.replace("PORT", str(port)) for option in options))
    try:
        while not reachable(port):
            assert process.poll() is None, (dead.folder / "log").read_text()
            time.sleep(0.05)
        expected = ask(port, 10)
        process.send_signal(signals.SIGTERM)
        process.wait(LIMIT_SECONDS)
    finally:
        process.kill()
    dead.expect(expected)


@ALSO_LONG
def test_a_celery_worker_ends_at_sigterm(dead: Dead) -> None:
    pytest.importorskip("celery")
    for name in ("queue", "control"):
        (dead.folder / name).mkdir()
    code = f"""{MADE}
from celery import Celery
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {{"data_folder_in": "queue", "data_folder_out": "queue",
                                     "control_folder": "control"}}
app.conf.worker_redirect_stdouts = False
@app.task
def take(text):
    processor.add(signal(text))
    with open("done", "a") as done: done.write(f"{{text}}\\n")
"""
    script(dead.folder, "tasks.py", code)
    texts = [str(at) for at in range(6)]
    ask_all = f"import tasks\nfor text in {texts}: tasks.take.delay(text)"
    subprocess.run(
        [sys.executable, "-c", ask_all], cwd=dead.folder, env=dead.environment, check=True, timeout=500
    )
    worker = dead.start(sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2")
    try:
        done = dead.folder / "done"
        while not done.exists() or len(done.read_text().split()) < len(texts):
            assert worker.poll() is None, (dead.folder / "log").read_text()
            time.sleep(0.1)
        worker.send_signal(signals.SIGTERM)
        worker.wait(LIMIT_SECONDS)
    finally:
        worker.kill()
    dead.expect(texts)


@ALSO_LONG
def test_a_notebook_ends(dead: Dead, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    for name in ("URL", "SPOOL"):
        monkeypatch.setenv(name, dead.environment[name])
    cells = [MADE, "processor.add(signal('0'))", "processor = processor_of()", "processor.add(signal('1'))"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=None).execute()
    # Jupyter shows nobody what a kernel says at its end.
    dead.expect(["0", "1"], is_told=False)
