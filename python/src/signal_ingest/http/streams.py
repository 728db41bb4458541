"""Sends requests over asyncio's streams, without a thread."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from typing import Optional

from .address import Address, proxy_of
from .message import AnswerParser, BadAnswer, ConnectionFailed, Request, Response, encode_request
from .sockets import IDLE_SECONDS, MAX_IDLE

_RECEIVE_BYTES = 64 * 1024


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.idle_since = 0.0

    def is_usable(self) -> bool:
        is_fresh = time.monotonic() - self.idle_since <= IDLE_SECONDS
        return is_fresh and not self.writer.is_closing() and not self.reader.at_eof()

    def close(self) -> None:
        self.writer.close()


class StreamTransport:
    """Sends requests to one service from one event loop at a time."""

    def __init__(
        self, address: Address, max_answer_bytes: int, context: Optional[ssl.SSLContext] = None
    ) -> None:
        self._address = address
        self._proxy = proxy_of(address)
        self._max_answer_bytes = max_answer_bytes
        self._context = context
        self._idle: list[_Connection] = []
        self._owner: tuple[int, Optional[asyncio.AbstractEventLoop]] = (0, None)

    async def send(self, request: Request, seconds: float) -> Response:
        """Sends a request and returns the whole answer.

        Raises ConnectionFailed: no whole answer came within ``seconds``.
        """
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._owner != owner:
            # Connections belong to their loop and process: those of a former one cannot be used or closed.
            self._owner, self._idle = owner, []
        try:
            return await asyncio.wait_for(self._send(request), seconds)
        except asyncio.TimeoutError:
            raise ConnectionFailed("No answer in time", timed_out=True) from None

    async def _send(self, request: Request) -> Response:
        connection = self._reuse()
        if connection is not None:
            try:
                return await self._exchange(connection, request)
            except ConnectionFailed:
                pass  # the service may have closed the idle connection: a new one is tried at once
        return await self._exchange(await self._open(), request)

    async def aclose(self) -> None:
        """Closes the idle connections."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        for connection in idle:
            try:
                await asyncio.wait_for(connection.writer.wait_closed(), 1)
            except (OSError, asyncio.TimeoutError):
                pass

    def _reuse(self) -> Optional[_Connection]:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def _open(self) -> _Connection:
        is_tls = self._address.scheme == "https"
        context = (self._context or ssl.create_default_context()) if is_tls else None
        host = self._address.host if is_tls else None
        try:
            if self._proxy is not None and is_tls:
                sock = await self._through_proxy(self._proxy)
                streams = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host)
            else:
                first = self._proxy or self._address
                streams = await asyncio.open_connection(first.host, first.port, ssl=context)
        except OSError as error:
            raise ConnectionFailed(f"The service cannot be reached: {error}") from error
        return _Connection(*streams)

    async def _through_proxy(self, proxy: Address) -> object:
        import socket

        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
        sock = socket.socket(found[0][0], found[0][1])
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, found[0][4])
            target = f"{self._address.host}:{self._address.port}"
            await loop.sock_sendall(sock, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            received = b""
            while b"\r\n\r\n" not in received:
                data = await loop.sock_recv(sock, 1)  # what follows the head belongs to TLS
                if not data or len(received) > 8192:
                    raise ConnectionFailed("The proxy does not answer")
                received += data
            if received.split(b" ")[1:2] != [b"200"]:
                raise ConnectionFailed(f"The proxy refuses: {received[:100]!r}")
        except BaseException:
            sock.close()
            raise
        return sock

    async def _exchange(self, connection: _Connection, request: Request) -> Response:
        parser = AnswerParser(self._max_answer_bytes)
        if self._proxy is not None and self._address.scheme == "http":
            request = Request(
                request.method, self._address.origin + request.target, request.headers, request.body
            )
        is_kept = False
        try:
            connection.writer.write(encode_request(request, self._address.authority))
            await connection.writer.drain()
            while not parser.feed(await connection.reader.read(_RECEIVE_BYTES)):
                pass
            response = parser.response()
            is_kept = parser.is_complete and parser.keeps_alive and len(self._idle) < MAX_IDLE
            return response
        except BadAnswer as error:
            raise ConnectionFailed(f"The answer cannot be read: {error}") from error
        except OSError as error:
            raise ConnectionFailed(f"The connection was lost: {error}") from error
        finally:
            if is_kept:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            else:
                connection.close()
