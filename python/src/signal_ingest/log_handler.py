"""Sends log records as signals."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Literal, Optional

from .base.encode import encode_signal
from .base.errors import InvalidSignalError
from .base.plain import plain
from .processor.threads import BatchProcessor

conversation: contextvars.ContextVar[Optional[str]] = contextvars.ContextVar("signal_ingest.conversation")
"""The ``context_window_id`` of records that name none: set it for a request or a task."""

OWN_LOGGERS = ("signal_ingest", "urllib3", "asyncio")
"""Loggers whose records are never sent: a record about sending would cause another."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "context_window_id"}
_is_sending = threading.local()


class NotOwn(logging.Filter):
    """Leaves out the library's own records, and those that a thread makes while it hands a record over.

    A filter, not a check in ``emit``: it runs before the handler's lock is taken.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is sent."""
        if getattr(_is_sending, "now", False) or threading.current_thread().name == "signal-ingest":
            return False
        return not any(record.name == own or record.name.startswith(f"{own}.") for own in OWN_LOGGERS)


class LogHandler(logging.Handler):
    """A logging.Handler that gives each record to a BatchProcessor.

    The conversation is ``extra={"context_window_id": ...}``, or the context variable ``conversation``, or
    ``default_conversation``. Level, logger, place, exception and other ``extra`` fields are in the payload;
    an ``extra`` value that JSON cannot hold is sent as its ``repr``. score: the ``signal_score`` of a level;
    default: 1.0 for ERROR and above, 0.7 for WARNING, 0.5 for the others. escalate_at: the level from which
    ``escalate_flag`` is 1. when_full: "drop" drops a record when the buffer is full, and counts it, so that a
    log call never waits for the service; "block" waits as ``add`` does.

    ``flush`` sends nothing, because logging calls it while it holds its locks: use the processor's.
    """

    def __init__(
        self,
        processor: BatchProcessor,
        level: int = logging.NOTSET,
        *,
        default_conversation: str = "logs",
        source: Optional[str] = None,
        score: Optional[Callable[[int], float]] = None,
        escalate_at: int = logging.CRITICAL,
        when_full: Literal["drop", "block"] = "drop",
        static: Optional[Mapping[str, Any]] = None,
    ) -> None:
        super().__init__(level)
        self._processor = processor
        self._default = default_conversation
        self._source = source
        self._score = score or _score_of
        self._escalate_at = escalate_at
        self._when_full = when_full
        self._static = dict(static or {})
        self.addFilter(NotOwn())

    def handle(self, record: logging.LogRecord) -> bool:
        """Filters the record and hands it over, without the handler's lock: ``add`` has one of its own."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a record over. An error goes to ``handleError``, as logging has it."""
        _is_sending.now = True
        try:
            signal = self.signal_of(record)
            try:
                encode_signal(signal)
            except InvalidSignalError:
                signal = plain(signal)
            if self._when_full == "drop":
                self._processor.add_or_drop(signal)
            else:
                self._processor.add(signal)
        except Exception:
            self.handleError(record)
        finally:
            _is_sending.now = False

    def flush(self) -> None:
        """Does nothing: logging calls it under its locks, where a wait would stop the process."""

    def signal_of(self, record: logging.LogRecord) -> dict[str, Any]:
        """Returns the signal of a record. Override it for another mapping."""
        room = getattr(record, "context_window_id", None) or conversation.get(None) or self._default
        payload: dict[str, Any] = {
            **self._static,
            "level": record.levelname,
            "logger": record.name,
            "file": record.pathname,
            "line": record.lineno,
            "function": record.funcName,
            "process": os.getpid(),
            "thread": record.threadName,
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info and record.exc_info[0] is not None:
            formatter = self.formatter or logging.Formatter()
            payload["exception"] = formatter.formatException(record.exc_info)
        return {
            "context_window_id": str(room),
            "timestamp": datetime.fromtimestamp(record.created, timezone.utc),
            "raw_content": self.format(record) if self.formatter else record.getMessage(),
            "signal_source": self._source or record.name[:255] or "logging",
            "signal_score": self._score(record.levelno),
            "escalate_flag": int(record.levelno >= self._escalate_at),
            "payload": payload,
        }


def _score_of(level: int) -> float:
    return 1.0 if level >= logging.ERROR else 0.7 if level >= logging.WARNING else 0.5
