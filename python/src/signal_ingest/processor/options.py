"""The options of both processors, and what their callbacks receive."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union

from ..calls import check_headers
from ..codes import FailureCode
from ..errors import SignalError
from ..options import check_count, check_seconds
from ..spool.spool import Spool
from ..types import BatchAnswer


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
    """A batch that was given up, or that the service refused as a whole. A part of it may be stored."""

    texts: list[bytes]
    error: SignalError

    @property
    def signals(self) -> list[dict[str, Any]]:
        """The signals as they were sent."""
        return [json.loads(text) for text in self.texts]


@dataclass(frozen=True)
class Delivered:
    """A batch that the service has answered."""

    count: int
    successful_count: int
    failed_count: int
    seconds: float
    answers: list[BatchAnswer] = field(default_factory=list)


@dataclass(frozen=True)
class ProcessorOptions:
    """The options of a processor, checked. BatchProcessor documents each."""

    max_count: int = 100
    max_bytes: int = 1024**2
    max_wait_seconds: float = 1.0
    max_in_flight: int = 4
    max_buffered: int = 10_000
    max_buffered_bytes: int = 64 * 1024**2
    when_full: Literal["block", "drop"] = "block"
    add_timeout_seconds: Optional[float] = 30.0
    attempt_timeout_seconds: Optional[float] = None
    give_up_seconds: Optional[float] = None
    exit_timeout_seconds: float = 5.0
    headers: Optional[Mapping[str, str]] = None
    on_failure: Optional[Callable[[Unstored], object]] = None
    on_undelivered: Optional[Callable[[Undelivered], object]] = None
    on_delivered: Optional[Callable[[Delivered], object]] = None
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
        if self.give_up_seconds is not None:
            check_seconds("give_up_seconds", self.give_up_seconds)
            if self.spool is not None:
                raise ValueError(
                    "give_up_seconds has no effect with a spool: it keeps every signal until it is sent."
                )
        check_headers(self.headers or {})


SpoolOption = Union[Spool, str, "os.PathLike[str]", None]


def spool_of(option: SpoolOption) -> Optional[Spool]:
    """The spool of an option: a folder is a spool with default options."""
    return option if option is None or isinstance(option, Spool) else Spool(option)
