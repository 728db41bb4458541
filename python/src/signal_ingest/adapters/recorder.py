"""What the adapters have in common: a record becomes a signal, and never stops the agent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Optional, Protocol

from ..base.plain import plain
from ..base.types import Signal
from ..log_handler import conversation

log = logging.getLogger("signal_ingest")

NAMES = ("conversation_id", "thread_id", "session_id")
"""Fields of ``metadata`` that name the conversation."""


def conversation_in(metadata: Optional[Mapping[str, Any]]) -> Optional[str]:
    """Returns the conversation that ``metadata`` names."""
    return next((str(metadata[name]) for name in NAMES if metadata and metadata.get(name)), None)


class Accepting(Protocol):
    """A BatchProcessor."""

    def add_or_drop(self, signal: Signal) -> bool:
        """Accepts a signal, or drops and counts it."""
        ...


class Recorder:
    """Gives records to a processor. A full buffer drops a record and counts it; an error is logged."""

    def __init__(self, processor: Accepting, source: str, default_conversation: str) -> None:
        self._processor = processor
        self._source = source
        self._default = default_conversation

    def record(self, room: Optional[str], text: Any, payload: Mapping[str, Any], **fields: Any) -> None:
        """Sends a record of a conversation; without ``room``, the context variable's or the default."""
        try:
            signal: dict[str, Any] = {
                "context_window_id": str(room or conversation.get(None) or self._default)[:255],
                "raw_content": None if text is None else str(text),
                "signal_source": self._source,
                "payload": {name: value for name, value in payload.items() if value is not None},
                **fields,
            }
            self._processor.add_or_drop(plain(signal))
        except Exception:
            log.exception("A record of %s was not accepted.", self._source)
