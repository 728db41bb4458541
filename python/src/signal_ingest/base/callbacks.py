"""Callbacks of the user."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Optional

log = logging.getLogger("signal_ingest")
"""The library's own logger. LogHandler never sends its records."""


def call_safely(callback: Optional[Callable[..., object]], *arguments: Any) -> None:
    """Calls a callback. Its error is logged and does not stop the library."""
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:
        log.exception("A callback of signal_ingest raised an error.")
