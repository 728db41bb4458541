"""The reader of answers against every cut of their bytes, and connections that are used again."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_ingest import DeadlineError, Retry
from signal_ingest.http.message import AnswerParser, BadAnswer

from .conftest import batch_answer
from .setup.hop import Answer, Hop
from .setup.twins import Twin

SIGNAL = {"context_window_id": "c"}


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Last: 1\r\n\r\n"


def read(data: bytes, cuts: list[int], max_bytes: int = 10_000) -> AnswerParser:
    parser = AnswerParser(max_bytes)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if start < end and parser.feed(data[start:end]):
            return parser
    parser.feed(b"")
    return parser


@given(
    st.binary(max_size=300),
    st.sampled_from(["length", "chunked", "end"]),
    st.booleans(),
    st.lists(st.integers(0, 900)),
)
def test_an_answer_is_the_same_wherever_it_is_cut(
    body: bytes, how: str, packed: bool, cuts: list[int]
) -> None:
    sent = gzip.compress(body) if packed else body
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\n"
    head += b"Content-Encoding: gzip\r\n" if packed else b""
    if how == "length":
        data = head + b"Content-Length: %d\r\n\r\n" % len(sent) + sent
    elif how == "chunked":
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(sent, 7)
    else:
        data = head + b"\r\n" + sent
    response = read(data, cuts).response()
    assert (response.status, response.body, response.headers["a"]) == (200, body, "1, 2")


@given(st.binary(min_size=1, max_size=300), st.sampled_from([5, 7]), st.integers(0, 500))
def test_an_answer_that_ends_early_is_no_answer(body: bytes, size: int, end: int) -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, size)
    with pytest.raises(BadAnswer):
        read(data[: min(end, len(data) - 1)], [])


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_an_error(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        try:
            read(prefix + data, []).response()
        except BadAnswer:
            pass


def test_no_more_than_the_bound_is_held() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    assert read(head + bomb, [], max_bytes=100_000).response().body is None
    assert read(b"HTTP/1.1 200 OK\r\n\r\n" + b"1" * 200, [], max_bytes=100).response().body is None


def test_a_connection_is_used_again(twin: Twin, stub: Hop) -> None:
    ports: set[Any] = set()
    stub.always = lambda seen: Answer(200, batch_answer(1))
    accept = stub._server.process_request

    def note(request: Any, address: Any) -> None:
        ports.add(address)
        accept(request, address)

    stub._server.process_request = note  # type: ignore[method-assign]
    client = twin.client(stub.url)
    for _ in range(20):
        client.create_batch([SIGNAL])
    assert len(ports) == 1


class Raw:
    """A server that says bytes, as slowly as it likes, on every connection."""

    def __init__(self, data: bytes, pause: float = 0.0, step: int = 1000) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.count = 0

        def serve(connection: socket.socket) -> None:
            with connection:
                connection.recv(65536)
                for at in range(0, len(data), step):
                    try:
                        connection.sendall(data[at : at + step])
                    except OSError:
                        return
                    if pause:
                        time.sleep(pause)

        def run() -> None:
            while True:
                try:
                    connection, _ = self._socket.accept()
                except OSError:
                    return
                self.count += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()

    def stop(self) -> None:
        self._socket.close()


def test_an_answer_that_drips_ends_at_the_deadline(twin: Twin) -> None:
    server = Raw(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 100_000, pause=0.05, step=1)
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        twin.client(server.url, timeout=0.5).create_batch([SIGNAL])
    assert time.monotonic() - started < 20  # the answer would take more than an hour
    server.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nab",
        b"\x00" * 100,
    ],
)
def test_what_is_not_http_is_retried(twin: Twin, data: bytes) -> None:
    server = Raw(data)
    reasons: list[str] = []

    def note(retry: Retry) -> None:
        reasons.append(str(retry.reason))
        if len(reasons) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        twin.client(server.url, on_retry=note).create_batch([SIGNAL])
    assert server.count == 2
    assert all(
        reason.startswith(("The answer cannot be read", "The connection was lost")) for reason in reasons
    )
    server.stop()
