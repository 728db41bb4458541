"""A real HTTP hop in front of a service, on which things go wrong; and one that answers by itself."""

from __future__ import annotations

import http.client
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What somebody on the way answers."""

    status: int = 200
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict)


Mishap = str | Answer | Callable[[Seen], Answer]
"""``refuse``: the request never gets there. ``lose``: the answer is lost. ``cut``: half of it comes through.
``pass``: nothing goes wrong. An Answer, or a function that makes one."""


class Hop:
    """``mishaps`` happen to the next requests, one each; then all go through, or meet ``always``."""

    def __init__(self, target: str | None = None, port: int = 0) -> None:
        self.mishaps: deque[Mishap] = deque()
        self.always: Mishap | None = None
        self.seen: list[Seen] = []
        hop = self
        to = urlsplit(target or "http://127.0.0.1:9")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, body)
                hop.seen.append(seen)
                mishap: Mishap = hop.mishaps.popleft() if hop.mishaps else hop.always or "pass"
                if mishap == "refuse":
                    return self._hang_up()
                if callable(mishap):
                    mishap = mishap(seen)
                if isinstance(mishap, Answer):
                    answer = mishap.body.encode() if isinstance(mishap.body, str) else mishap.body
                    return self._answer(mishap.status, mishap.headers, answer)
                inner = http.client.HTTPConnection(to.hostname or "", to.port, timeout=60)
                try:
                    inner.request(self.command, self.path, body or None, {**headers, "host": to.netloc})
                    response = inner.getresponse()
                    answer = response.read()
                except OSError:
                    return self._hang_up()
                finally:
                    inner.close()
                if mishap == "lose":
                    return self._hang_up()
                kept = {name: value for name, value in response.headers.items() if name.lower() not in _OWN}
                if mishap == "cut":
                    self._answer(response.status, kept, answer, len(answer) // 2)
                    return self._hang_up()
                return self._answer(response.status, kept, answer)

            do_GET = do_POST = do_PATCH = do_DELETE = _do

            def _answer(
                self, status: int, headers: dict[str, str], body: bytes, count: int | None = None
            ) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if not any(name.lower() == "content-length" for name in headers):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:count])

            def _hang_up(self) -> None:
                self.close_connection = True
                self.wfile.flush()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: Any) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


_OWN = ("transfer-encoding", "connection", "content-length", "date", "keep-alive")
