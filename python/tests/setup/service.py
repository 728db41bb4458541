"""Starts the real service, as `npm start` does, on a free port with its own data."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
_NODE = REPOSITORY / "node_modules/.bin/node"
_READY = "Press Ctrl-C to stop."
START_SECONDS = 600
TRIES = 3

can_start = _NODE.exists()

ROOT_KEY = "the-root-key-of-the-tests"
OPEN = {
    "OPEN_ACCESS": "true",
    "API_KEYS": json.dumps(
        [
            {
                "name": "root",
                "sha256": hashlib.sha256(ROOT_KEY.encode()).hexdigest(),
                "scopes": ["ingest", "read", "bridge", "admin"],
            }
        ]
    ),
    "SUBSCRIPTION_LOCAL_RECEIVERS": "true",
}
"""Settings of a service that is open to every local call, has a root key, and calls local receivers."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """The service. ``stop`` and ``start`` keep its data."""

    def __init__(self, **settings: str) -> None:
        self.database_url = ""
        self._settings = settings
        self._folder = tempfile.mkdtemp(prefix="signal-ingest-python-")
        # Started as root, Postgres runs as another user, who has to pass through.
        os.chmod(self._folder, 0o755)
        self._process: subprocess.Popen[str] | None = None
        for left in reversed(range(TRIES)):
            self.port = free_port()
            self.url = f"http://localhost:{self.port}"
            try:
                self.start()
                break
            except RuntimeError:
                # Another program may have taken the port in the meantime.
                if left == 0:
                    raise

    def start(self) -> None:
        known = re.findall(r'"([A-Z_]+)"', (REPOSITORY / "src/local/environment.ts").read_text())
        environment = {**os.environ, **dict.fromkeys(known, ""), **self._settings}
        self._process = subprocess.Popen(
            [_NODE, "src/local/launch.mjs", "--port", str(self.port), "--data", self._folder],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said: list[str] = []
        is_ready = threading.Event()

        def read(process: subprocess.Popen[str]) -> None:
            assert process.stdout is not None
            for line in process.stdout:
                if len(said) < 200:
                    said.append(line)
                if _READY in line:
                    is_ready.set()
            is_ready.set()

        threading.Thread(target=read, args=(self._process,), daemon=True).start()
        is_ready.wait(START_SECONDS)
        text = "".join(said)
        if _READY not in text:
            raise RuntimeError(f"The service did not start: {text}")
        found = re.search(r"psql (\S+)", text)
        self.database_url = found[1] if found else ""

    def kill(self) -> None:
        """Ends all processes of the service at once, by SIGKILL."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
