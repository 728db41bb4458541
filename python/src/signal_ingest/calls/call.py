"""One call, from its first attempt to its answer: as steps, which threads and asyncio share."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional, TypeVar, Union
from urllib.parse import urljoin, urlsplit

from ..base.errors import (
    AnswerContext,
    DeadlineError,
    RequestError,
    SignalError,
    TransientError,
    UnavailableError,
)
from ..http.address import Address
from ..http.codings import Compression, compress
from ..http.message import ConnectionFailed, Request, Response
from .answer import Check, Parse, read_answer
from .tracing import Progress, Tracing

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 20.0
MAX_REDIRECTS = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """The step of a call that sends a request. Its result is the answer, or ConnectionFailed."""

    request: Request
    seconds: float


@dataclass(frozen=True)
class Wait:
    """The step of a call that waits."""

    seconds: float


Step = Union[Send, Wait]
Steps = Generator[Step, Optional[Response], T]
"""A call as a generator: it yields steps, is sent their results, and returns the call's result."""


@dataclass(frozen=True)
class Retry:
    """What ``on_retry`` receives before each wait. ``attempt`` begins with 1."""

    attempt: int
    wait_seconds: float
    reason: TransientError


@dataclass(frozen=True)
class Settings:
    """What all calls of a client have in common."""

    address: Address
    headers: Mapping[str, str]
    timeout: float
    max_answer_bytes: int
    compression: Compression
    parse: Parse
    on_retry: Optional[Callable[[Retry], None]] = None
    monotonic: Callable[[], float] = time.monotonic
    tracing: Optional[Tracing] = None


@dataclass(frozen=True)
class Call:
    """One call: a path below the address, and what its answer must have."""

    method: str
    path: str
    check: Check
    body: Optional[bytes] = None
    headers: Mapping[str, str] = ()  # type: ignore[assignment]
    timeout: Optional[float] = None


def call_until_answered(settings: Settings, call: Call) -> Steps[Any]:
    """Makes a call and returns the JSON of its answer, as _call does. A trace follows it where there is one.

    Raises SignalError.
    """
    progress = Progress()
    if settings.tracing is None:
        return (yield from _call(settings, call, progress))
    trace = settings.tracing.start(call.method, call.path.partition("?")[0], settings.address)
    caught: Optional[BaseException] = None
    try:
        return (
            yield from _call(settings, replace(call, headers={**call.headers, **trace.headers}), progress)
        )
    except BaseException as error:
        caught = error
        raise
    finally:
        trace.end(progress, caught)


def _call(settings: Settings, call: Call, progress: Progress) -> Steps[Any]:
    """Makes a call and returns the JSON of its answer.

    Retries after 408, 429, a 5xx but 501, a lost connection or an answer that is not the service's, with full
    jitter and not before ``Retry-After``, until the timeout.

    Raises SignalError. See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    timeout = settings.timeout if call.timeout is None else call.timeout
    ends_at = settings.monotonic() + timeout
    coding = _coding(settings, call)
    target = settings.address.prefix + call.path
    redirects = 0
    last: Optional[TransientError] = None
    while True:
        left = ends_at - settings.monotonic()
        if left <= 0:
            raise DeadlineError(f"no answer within {timeout:g} s", last)
        progress.attempts += 1
        progress.status = None
        try:
            response = yield Send(_request(settings, call, target, coding), left)
            assert response is not None
            progress.status = response.status
            if call.method == "POST":
                settings.compression.learn(response.status, response.headers)
            if 300 <= response.status < 400:
                location = response.headers.get("location")
                target = follow_redirect(settings.address, target, response.status, location)
                redirects += 1
                if redirects > MAX_REDIRECTS:
                    raise RequestError(f"The service redirects more than {MAX_REDIRECTS} times.")
                continue
            return read_answer(response, call.check, settings.parse, settings.max_answer_bytes)
        except ConnectionFailed as error:
            last = UnavailableError(str(error))
            last.__cause__ = error
        except TransientError as error:
            last = error
        except RequestError as error:
            # The answer named the formats that the service accepts.
            again = _coding(settings, call)
            if error.status != 415 or again == coding:
                raise
            coding = again
            continue
        wait = wait_after(progress.attempts, last.retry_after_seconds, random.random())
        if settings.monotonic() + wait >= ends_at:
            raise DeadlineError(f"no answer within {timeout:g} s", last)
        if settings.on_retry is not None:
            settings.on_retry(Retry(progress.attempts, wait, last))
        yield Wait(wait)


def wait_after(
    attempt: int,
    retry_after: Optional[float],
    chance: float,
    first: float = FIRST_WAIT_SECONDS,
    longest: float = LONGEST_WAIT_SECONDS,
) -> float:
    """Seconds before the next attempt: full jitter, and at least what the service asked for."""
    backoff = chance * min(longest, first * 2.0 ** min(attempt - 1, 60))
    return max(backoff, retry_after or 0.0)


def _coding(settings: Settings, call: Call) -> Optional[str]:
    """The format of a body; only a POST is large, and learns what the service accepts."""
    return (
        settings.compression.choose(len(call.body))
        if call.body is not None and call.method == "POST"
        else None
    )


def _request(settings: Settings, call: Call, target: str, coding: Optional[str]) -> Request:
    headers = {name.lower(): value for name, value in dict(call.headers).items()}
    headers.update({name.lower(): value for name, value in settings.headers.items()})
    if call.body is not None:
        headers["content-type"] = "application/json"
        if coding is not None:
            headers["content-encoding"] = coding
    body = compress(call.body, coding) if call.body is not None else None
    return Request(call.method, target, headers, body)


def follow_redirect(address: Address, target: str, status: int, location: Optional[str]) -> str:
    """Returns the path to call next, where method, body and origin stay the same.

    Raises RequestError: any other redirect. Another method would store nothing, and another origin would get
    the key. The message names the Location without its query, which may hold a secret.
    """
    moved = _read_location(address.origin + target, location)
    if moved is None:
        raise RequestError(f"The answer {status} is a redirect without a Location.", AnswerContext(status))
    origin, path, query = moved
    if status in (307, 308) and origin == (address.scheme, address.host, address.port):
        return path + (f"?{query}" if query else "")
    shown = Address(*origin, "").origin + path
    raise RequestError(
        f"The answer {status} redirects to the Location {shown}, which is not followed: another method or "
        "another origin. Nothing was stored. Set url to the address that answers.",
        AnswerContext(status),
    )


Origin = tuple[str, str, int]


def _read_location(base: str, location: Optional[str]) -> Optional[tuple[Origin, str, str]]:
    if not location or not re.fullmatch(r"(?!\w+:/*$)[!-~]{1,2000}", location):
        return None
    try:
        parts = urlsplit(urljoin(base, location))
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return (parts.scheme, parts.hostname, port), parts.path or "/", parts.query


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns headers that can be sent. Raises ValueError: one cannot. No message has a value."""
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{name!r} is not the name of a header.")
        if not isinstance(value, str) or not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value):
            raise ValueError(
                f"The value of the header {name} has a line break, or a character beyond Latin-1."
            )
    return dict(headers)


def is_not_found(error: SignalError) -> bool:
    """Whether the service itself says that it has no such thing. A proxy in front of it may mean the path."""
    return isinstance(error, RequestError) and error.status == 404 and error.code == "not_found"
