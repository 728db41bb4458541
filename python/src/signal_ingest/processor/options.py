"""The options of both processors, and what their callbacks receive."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, TypedDict, Union

from ..base.codes import FailureCode
from ..base.errors import SignalError
from ..base.options import check_count, check_seconds
from ..base.types import BatchAnswer
from ..calls.call import check_headers
from ..spool.spool import Spool

SpoolOption = Union[Spool, str, "os.PathLike[str]", None]

DAY_SECONDS = 86_400.0
LONGEST_GIVE_UP_SECONDS = 6 * DAY_SECONDS
"""The service keeps an idempotency key for seven days: later, what is in doubt would be stored twice."""


@dataclass(frozen=True)
class Unstored:
    """A signal that the service refused; the others of its batch are stored."""

    text: bytes
    error: str
    code: FailureCode
    field: Optional[str]
    retryable: bool

    @property
    def signal(self) -> dict[str, Any]:
        """The signal as it was sent."""
        signal: dict[str, Any] = json.loads(self.text)
        return signal


@dataclass(frozen=True)
class Undelivered:
    """Accepted signals that this processor does not send any more. A part of them may be stored.

    ``kept``: the spool has them, and the next run sends them; ``texts`` is empty then, and ``count`` says how
    many they are.
    """

    count: int
    texts: list[bytes]
    error: SignalError
    kept: bool = False

    @property
    def signals(self) -> list[dict[str, Any]]:
        """The signals as they were sent."""
        return [json.loads(text) for text in self.texts]


@dataclass(frozen=True)
class BatchRetry:
    """A batch that will be sent again. ``attempt`` is how often it was sent, from 1."""

    count: int
    attempt: int
    wait_seconds: float
    reason: SignalError


@dataclass(frozen=True)
class Delivered:
    """A batch that the service has answered."""

    count: int
    successful_count: int
    failed_count: int
    seconds: float
    answers: list[BatchAnswer] = field(default_factory=list)


class Options(TypedDict, total=False):
    """The options of BatchProcessor and AsyncBatchProcessor; the bounds are in docs/python.md."""

    max_count: int
    """Signals after which a batch is sent. Default: 100."""
    max_bytes: int
    """Bytes of JSON after which a batch is sent. Default: 1 MiB."""
    max_wait_seconds: float
    """How long a signal waits for others. Default: 1."""
    max_in_flight: int
    """Batches that are sent at once. Default: 4."""
    max_buffered: int
    """Signals in memory that are not settled; beyond it ``add`` waits, or with a spool, batches leave the
    memory. Default: 10,000."""
    max_buffered_bytes: int
    """The same in bytes of JSON. Default: 64 MiB."""
    when_full: Literal["block", "drop"]
    """Whether ``add`` waits for room, or drops the signal and counts it. Default: "block"."""
    add_timeout_seconds: Optional[float]
    """How long ``add`` waits before it raises BufferFull. None: without an end. Default: 30."""
    attempt_timeout_seconds: Optional[float]
    """How long one attempt at a batch may take. The batch is sent again after it. Default: the client's."""
    give_up_seconds: float
    """Without a spool, when a batch goes to ``on_undelivered``. Default: a day; at most six, because the
    service keeps an idempotency key for seven."""
    exit_timeout_seconds: float
    """How long the exit of the process waits for what is not sent. Default: 5."""
    headers: Optional[Mapping[str, str]]
    """More headers of each request, such as ``traceparent``. The library's own win."""
    on_failure: Optional[Callable[[Unstored], object]]
    """Receives each signal that the service refuses. Default: a warning of the logger signal_ingest."""
    on_undelivered: Optional[Callable[[Undelivered], object]]
    """Receives what is not sent any more. Without it, ``flush`` and ``close`` raise UndeliveredError."""
    on_delivered: Optional[Callable[[Delivered], object]]
    """Receives each batch that the service has answered."""
    on_retry: Optional[Callable[[BatchRetry], object]]
    """Is called when a batch will be sent again."""
    other_callers: Literal["keep", "send"]
    """What happens to batches of the spool that were sent with another API key or address: they are kept, or
    sent again; those that are stored already are then stored twice. Default: "keep"."""
    spool: SpoolOption
    """A folder or a Spool: a signal is on disk when ``add`` returns."""


@dataclass(frozen=True)
class SettledOptions:
    """The options with their defaults, checked."""

    max_count: int = 100
    max_bytes: int = 1024**2
    max_wait_seconds: float = 1.0
    max_in_flight: int = 4
    max_buffered: int = 10_000
    max_buffered_bytes: int = 64 * 1024**2
    when_full: Literal["block", "drop"] = "block"
    add_timeout_seconds: Optional[float] = 30.0
    attempt_timeout_seconds: Optional[float] = None
    give_up_seconds: float = DAY_SECONDS
    exit_timeout_seconds: float = 5.0
    headers: Optional[Mapping[str, str]] = None
    on_failure: Optional[Callable[[Unstored], object]] = None
    on_undelivered: Optional[Callable[[Undelivered], object]] = None
    on_delivered: Optional[Callable[[Delivered], object]] = None
    on_retry: Optional[Callable[[BatchRetry], object]] = None
    other_callers: Literal["keep", "send"] = "keep"
    spool: Optional[Spool] = None

    def __post_init__(self) -> None:
        check_count("max_count", self.max_count, 1, 10_000)
        check_count("max_bytes", self.max_bytes, 1, 1024**3)
        check_seconds("max_wait_seconds", self.max_wait_seconds)
        check_count("max_in_flight", self.max_in_flight, 1, 1000)
        check_count("max_buffered", self.max_buffered, 1, 10_000_000)
        check_count("max_buffered_bytes", self.max_buffered_bytes, 1, 1024**4)
        check_seconds("exit_timeout_seconds", self.exit_timeout_seconds)
        if self.when_full not in ("block", "drop"):
            raise ValueError(f'when_full must be "block" or "drop"; it is {self.when_full!r}.')
        if self.add_timeout_seconds is not None:
            check_seconds("add_timeout_seconds", self.add_timeout_seconds)
        if self.attempt_timeout_seconds is not None:
            check_seconds("attempt_timeout_seconds", self.attempt_timeout_seconds, 0.001)
        check_seconds("give_up_seconds", self.give_up_seconds, 0.001, LONGEST_GIVE_UP_SECONDS)
        if self.other_callers not in ("keep", "send"):
            raise ValueError(f'other_callers must be "keep" or "send"; it is {self.other_callers!r}.')
        check_headers(self.headers or {})


def settle(options: Options) -> SettledOptions:
    """Checks options. Raises ValueError: one is out of its range. Raises TypeError: one is unknown."""
    spool = options.get("spool")
    if spool is not None and not isinstance(spool, Spool):
        spool = Spool(spool)
    return SettledOptions(**{**options, "spool": spool})  # type: ignore[arg-type]
