"""Sends requests over sockets and keeps connections open between them."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - socket loads it when it first connects: see below
import os
import socket
import ssl
import threading
import time
from typing import Optional

# A send loads no module. Where a process forks while a thread loads one, the child can never load it: socket
# says "unknown encoding: idna" there for ever.
from .address import Address, proxy_of
from .message import AnswerParser, BadAnswer, ConnectionFailed, Request, Response, encode_request

MAX_IDLE = 16
"""Connections that are kept open. More are opened when they are needed, and closed afterwards."""
IDLE_SECONDS = 4.0
"""A connection that was idle for longer is not used again: servers close theirs after 5 seconds and more."""
_RECEIVE_BYTES = 64 * 1024


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.idle_since = 0.0

    def close(self) -> None:
        try:
            self.sock.close()
        except OSError:
            pass

    def is_usable(self) -> bool:
        """Whether the other side has neither closed the connection nor sent anything."""
        if time.monotonic() - self.idle_since > IDLE_SECONDS:
            return False
        try:
            self.sock.settimeout(0)
            return not self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False


class SocketTransport:
    """Sends requests to one service. Threads may share it; a forked child opens connections of its own."""

    def __init__(
        self, address: Address, max_answer_bytes: int, context: Optional[ssl.SSLContext] = None
    ) -> None:
        self._address = address
        self._proxy = proxy_of(address)
        self._max_answer_bytes = max_answer_bytes
        self._context = context
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def send(self, request: Request, seconds: float) -> Response:
        """Sends a request and returns the whole answer.

        Raises ConnectionFailed: no whole answer came within ``seconds``.
        """
        if self._pid != os.getpid():
            self._start()  # the sockets are the parent's
        ends_at = time.monotonic() + seconds
        connection = self._reuse()
        if connection is not None:
            try:
                return self._exchange(connection, request, ends_at)
            except ConnectionFailed as error:
                # The service may have closed the idle connection: a new one is tried at once. Every request
                # can be repeated, because those that store carry an Idempotency-Key.
                if error.timed_out:
                    raise
        return self._exchange(self._open(ends_at), request, ends_at)

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _reuse(self) -> Optional[_Connection]:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()

    def _open(self, ends_at: float) -> _Connection:
        first = self._proxy or self._address
        try:
            sock = socket.create_connection((first.host, first.port), _left(ends_at))
        except OSError as error:
            raise _failure("The service cannot be reached", error) from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._address.scheme == "https":
                if self._proxy is not None:
                    self._connect_through_proxy(sock, ends_at)
                sock.settimeout(_left(ends_at))
                context = self._context or ssl.create_default_context()
                sock = context.wrap_socket(sock, server_hostname=self._address.host)
        except OSError as error:
            sock.close()
            raise _failure("The service cannot be reached", error) from error
        except BaseException:
            sock.close()
            raise
        return _Connection(sock)

    def _connect_through_proxy(self, sock: socket.socket, ends_at: float) -> None:
        target = f"{self._address.host}:{self._address.port}"
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("latin-1"))
        received = b""
        while b"\r\n\r\n" not in received:
            sock.settimeout(_left(ends_at))
            data = sock.recv(1)  # what follows the head belongs to TLS
            if not data or len(received) > 8192:
                raise ConnectionFailed("The proxy does not answer")
            received += data
        if received.split(b" ")[1:2] != [b"200"]:
            raise ConnectionFailed(f"The proxy refuses: {received[:100]!r}")

    def _exchange(self, connection: _Connection, request: Request, ends_at: float) -> Response:
        parser = AnswerParser(self._max_answer_bytes)
        sock = connection.sock
        # A proxy for http takes the whole address.
        if self._proxy is not None and self._address.scheme == "http":
            request = Request(
                request.method, self._address.origin + request.target, request.headers, request.body
            )
        is_kept = False
        try:
            self._write(sock, encode_request(request, self._address.authority), ends_at)
            while True:
                sock.settimeout(_left(ends_at))
                if parser.feed(sock.recv(_RECEIVE_BYTES)):
                    break
            response = parser.response()
            is_kept = parser.is_complete and parser.keeps_alive
            return response
        except BadAnswer as error:
            raise ConnectionFailed(f"The answer cannot be read: {error}") from error
        except OSError as error:
            raise _failure("The connection was lost", error) from error
        finally:
            if is_kept:
                self._keep(connection)
            else:
                connection.close()

    @staticmethod
    def _write(sock: socket.socket, data: bytes, ends_at: float) -> None:
        # sendall has one timeout for the whole body, which is what is wanted here.
        sock.settimeout(_left(ends_at))
        sock.sendall(data)

    def _keep(self, connection: _Connection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise ConnectionFailed("No answer in time", timed_out=True)
    return left


def _failure(what: str, error: OSError) -> ConnectionFailed:
    if isinstance(error, TimeoutError):
        return ConnectionFailed("No answer in time", timed_out=True)
    return ConnectionFailed(f"{what}: {error}")
