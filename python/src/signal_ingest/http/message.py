"""A request, an answer, and how they look on the wire (RFC 9112)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

MAX_HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Request:
    """A request to the service's origin. ``target`` is path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Optional[bytes] = None


@dataclass(frozen=True)
class Response:
    """A whole answer. Names of headers are in lower case; ``body`` is decoded, None when it is too large."""

    status: int
    headers: Mapping[str, str]
    body: Optional[bytes]


class ConnectionFailed(Exception):
    """No whole answer came: the request may have reached the service."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class BadAnswer(Exception):
    """What arrived is not HTTP."""


def encode_request(request: Request, host: str) -> bytes:
    """Returns the bytes of a request, its body included."""
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {host}"]
    lines.extend(f"{name}: {value}" for name, value in request.headers.items())
    if request.body is not None:
        lines.append(f"Content-Length: {len(request.body)}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head + (request.body or b"")


class AnswerParser:
    """Reads one answer from bytes as they arrive. Holds no more than ``max_bytes`` of its body."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._body = bytearray()
        self._step = self._read_head
        self._left = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self.is_too_large = False
        self.keeps_alive = False

    def feed(self, data: bytes) -> bool:
        """Takes bytes; ``b""`` is the end of the stream. Returns whether the answer is complete.

        Raises BadAnswer: the bytes are not an answer, or the stream ended in the middle.
        """
        if not data:
            self._end()
            return True
        self._buffer += data
        while not self.is_complete and not self.is_too_large and self._step():
            pass
        return self.is_complete or self.is_too_large

    def response(self) -> Response:
        """Returns the complete answer. Raises BadAnswer: its body cannot be decoded."""
        if self.is_too_large:
            return Response(self.status, self.headers, None)
        return Response(self.status, self.headers, self._decoded())

    def _decoded(self) -> Optional[bytes]:
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("identity", "") or not self._body:
            return bytes(self._body)
        if coding not in ("gzip", "x-gzip"):
            raise BadAnswer(f"the answer has the unknown encoding {coding[:40]!r}")
        decoder = zlib.decompressobj(wbits=31)
        try:
            body = decoder.decompress(bytes(self._body), self._max_bytes + 1)
        except zlib.error as error:
            raise BadAnswer(f"the answer cannot be decompressed: {error}") from None
        if len(body) > self._max_bytes:
            return None
        if not decoder.eof:
            raise BadAnswer("the compressed answer ends early")
        return body

    def _end(self) -> None:
        if self._step == self._read_until_end:
            self.is_complete = True
        elif not self.is_complete:
            raise BadAnswer("the connection ended before the answer did")

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadAnswer("the head of the answer is too long")
            return False
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        self._parse_head(head)
        if 100 <= self.status < 200:
            if self.status == 101:
                raise BadAnswer("the answer changes the protocol")
            self._step = self._read_head
        elif self.status in (204, 304):
            self.is_complete = True
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._step = self._read_chunk_size
        elif "content-length" in self.headers:
            self._left = self._length(self.headers["content-length"])
            self._step = self._read_length
            if self._left == 0:
                self.is_complete = True
        else:
            self.keeps_alive = False
            self._step = self._read_until_end
        return True

    def _parse_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        status = rest[:3]
        if not version.startswith("HTTP/1.") or not (
            status.isascii() and status.isdigit() and len(status) == 3
        ):
            raise BadAnswer("the answer is not HTTP/1.1")
        self.status = int(status)
        self.headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise BadAnswer("a header of the answer has no name")
            name = name.strip().lower()
            value = value.strip()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        connection = self.headers.get("connection", "").lower()
        self.keeps_alive = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)

    @staticmethod
    def _length(text: str) -> int:
        # Two equal lengths are allowed (RFC 9110, section 8.6).
        values = {part.strip() for part in text.split(",")}
        value = values.pop()
        if values or not (value.isascii() and value.isdigit() and len(value) < 16):
            raise BadAnswer("the answer has no valid length")
        return int(value)

    def _take(self, count: int) -> None:
        self._body += self._buffer[:count]
        del self._buffer[:count]
        self.is_too_large = len(self._body) > self._max_bytes

    def _read_length(self) -> bool:
        count = min(self._left, len(self._buffer))
        self._take(count)
        self._left -= count
        self.is_complete = self._left == 0
        return False

    def _read_until_end(self) -> bool:
        self._take(len(self._buffer))
        return False

    def _line(self) -> Optional[bytes]:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise BadAnswer("a line of the answer is too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        digits = line.split(b";")[0].strip()
        if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadAnswer("a chunk of the answer has no size")
        self._left = int(digits, 16)
        self._step = self._read_chunk if self._left else self._read_trailers
        return True

    def _read_chunk(self) -> bool:
        count = min(self._left, len(self._buffer))
        self._take(count)
        self._left -= count
        if self._left == 0:
            self._step = self._read_chunk_end
            return True
        return False

    def _read_chunk_end(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if bytes(self._buffer[:2]) != b"\r\n":
            raise BadAnswer("a chunk of the answer has the wrong size")
        del self._buffer[:2]
        self._step = self._read_chunk_size
        return True

    def _read_trailers(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self.is_complete = line == b""
        return True
