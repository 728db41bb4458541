"""What follows from an attempt to deliver a batch. The callers lock the core."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Optional

from ..callbacks import call_safely, log
from ..calls import Steps
from ..deliver import Delivery, deliver_each
from ..errors import ClosedError, DeadlineError, SignalError, SpoolError, TransientError, ValidationError
from ..operations import Operations
from ..types import BatchAnswer
from .core import LONGEST_PAUSE_SECONDS, Batch, Core
from .options import Delivered, ProcessorOptions, Undelivered, Unstored

MAX_FAILED_CUTS = 3
"""Attempts to write a batch's key to a broken disk. Then the batch is sent with the key in memory."""


@dataclass
class Attempt:
    """One attempt, with what it has learned."""

    batch: Batch
    texts: list[bytes]
    delivery: Delivery
    answers: list[BatchAnswer] = field(default_factory=list)

    def steps(self, operations: Operations) -> Steps[None]:
        """The steps of the attempt."""
        return deliver_each(operations, self.texts, self.batch.key, self.delivery)


def begin(batch: Batch, texts: list[bytes], options: ProcessorOptions, timeout: Optional[float]) -> Attempt:
    """Prepares an attempt."""
    limits = [one for one in (options.attempt_timeout_seconds, timeout) if one is not None]
    attempt = Attempt(batch, texts, Delivery())
    attempt.delivery = Delivery(
        timeout=max(0.001, min(limits)) if limits else None,
        headers=options.headers or {},
        is_damaged=batch.kept is not None and batch.kept.is_damaged,
        on_answer=attempt.answers.append,
    )
    return attempt


def load(batch: Batch, caller: str) -> list[bytes]:
    """Writes the batch and its key to the spool before the first attempt, and returns its signals.

    Raises SpoolError: the disk does not take or give them.
    """
    kept = batch.kept
    if kept is None:
        return batch.texts or []
    if kept.line is None and not (batch.texts is not None and batch.failed_cuts >= MAX_FAILED_CUTS):
        try:
            kept.cut(batch.key, caller)
        except SpoolError:
            batch.failed_cuts += 1
            raise
    return batch.texts if batch.texts is not None else kept.read()


def succeed(core: Core, attempt: Attempt, seconds: float) -> None:
    """Settles a batch that the service has answered."""
    failures = attempt.delivery.failures
    failed = Counter(failure["code"] for failure in failures)
    core.counts.note_batch(len(attempt.texts), failed, attempt.delivery.duplicates, seconds)
    core.settle(attempt.batch)


def tell_success(attempt: Attempt, options: ProcessorOptions, seconds: float) -> None:
    """Calls the callbacks of a batch that the service has answered. Not locked."""
    failures = attempt.delivery.failures
    for failure in failures:
        unstored = Unstored(
            attempt.texts[failure["index"]],
            failure["error"],
            failure["code"],
            failure.get("field"),
            failure["retryable"],
        )
        if options.on_failure is None:
            log.warning("A signal was not stored: %s: %s", unstored.code, unstored.error)
        call_safely(options.on_failure, unstored)
    count = len(attempt.texts)
    delivered = Delivered(count, count - len(failures), len(failures), seconds, attempt.answers)
    call_safely(options.on_delivered, delivered)


def fail(core: Core, batch: Batch, error: BaseException, now: float) -> Optional[Undelivered]:
    """Puts a batch back, or gives it up. Returns what ``on_undelivered`` receives."""
    if isinstance(error, ClosedError):
        core.later(batch, now)
        return None
    if not isinstance(error, SignalError):
        log.error("A batch of signal_ingest met an unexpected error and is sent again.", exc_info=error)
        core.later(batch, now)
        return None
    if isinstance(error, (DeadlineError, TransientError, SpoolError)):
        if not core.is_given_up(batch, now):
            core.later(batch, now, error.answer.retry_after_seconds or 0.0)
            return None
        return give_up(core, batch, error)
    # The service refuses the batch as a whole: its key, its address or its idempotency key. Another key or
    # address can mend the first two, so that the spool keeps the batch.
    if batch.kept is None or isinstance(error, ValidationError):
        return give_up(core, batch, error)
    is_first = not batch.is_reported
    texts = list(batch.texts or [])
    core.later(batch, now, LONGEST_PAUSE_SECONDS)
    batch.is_reported = True
    return Undelivered(texts, error, True) if is_first else None


def give_up(core: Core, batch: Batch, error: SignalError) -> Undelivered:
    """Settles a batch that is not sent any more."""
    core.counts.undelivered += batch.count
    texts = list(batch.texts or [])
    core.settle(batch)
    return Undelivered(texts, error, False)


def caller_of(authorization: str) -> str:
    """Names whose idempotency keys are in a spool, without the API key."""
    return hashlib.sha256(f"signal-ingest caller\n{authorization}".encode()).hexdigest()[:16]
