"""The clock of the library: monotonic, so that a change of the wall clock does not move a deadline."""

from __future__ import annotations

import asyncio
import threading
import time


class Clock:
    """Tells the time and waits. ``speed`` makes it run faster, for tests: 60 hours in a minute at 3,600."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() * self._speed

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits for an event; returns whether it is set."""
        return event.wait(seconds / self._speed)

    def wait_for(self, condition: threading.Condition, seconds: float | None) -> None:
        """Waits until a condition is notified, or the time is over."""
        condition.wait(None if seconds is None else max(0.0, seconds) / self._speed)

    async def sleep(self, seconds: float) -> None:
        """Waits in the event loop."""
        await asyncio.sleep(seconds / self._speed)

    async def wait_async(self, event: asyncio.Event, seconds: float | None) -> None:
        """Waits in the event loop until an event is set, or the time is over."""
        # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait(
                (waiter,), timeout=None if seconds is None else max(0.0, seconds) / self._speed
            )
        finally:
            waiter.cancel()


SYSTEM_CLOCK = Clock()
