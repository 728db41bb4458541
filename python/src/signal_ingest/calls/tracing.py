"""What follows a call for a system of traces. The library itself needs none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Protocol

from ..http.address import Address


@dataclass
class Progress:
    """What a call has come to: how often it was sent, and the status of its last answer."""

    attempts: int = 0
    status: Optional[int] = None


class CallTrace(Protocol):
    """Follows one call."""

    headers: Mapping[str, str]
    """Sent with each attempt, such as ``traceparent``."""

    def end(self, progress: Progress, error: Optional[BaseException]) -> None:
        """Ends with the call. error: what the call raises."""
        ...


class Tracing(Protocol):
    """Follows the calls of a client."""

    def start(self, method: str, path: str, address: Address) -> CallTrace:
        """Begins with a call, in the context of its caller."""
        ...
