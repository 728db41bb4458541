"""What follows from an attempt to deliver a batch. The callers lock the core."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Optional

from ..callbacks import call_safely, log
from ..calls import Steps
from ..deliver import Delivery, deliver_each
from ..errors import (
    BatchRejectedError,
    ClosedError,
    DeadlineError,
    SignalError,
    SpoolError,
    ValidationError,
)
from ..operations import Operations
from ..types import BatchAnswer
from .core import Batch, Core
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
    """Puts a batch back, or returns what ``on_undelivered`` receives before ``give_up``."""
    if isinstance(error, SignalError) and is_refusal(error):
        return Undelivered(list(batch.texts or []), error)
    if not isinstance(error, SignalError):
        log.error("A batch of signal_ingest met an unexpected error and is sent again.", exc_info=error)
    elif not isinstance(error, (ClosedError, DeadlineError)):
        log.warning("A batch is sent again later: %s: %s", type(error).__name__, error)
    if isinstance(error, SignalError) and not isinstance(error, ClosedError) and core.is_given_up(batch, now):
        return Undelivered(list(batch.texts or []), error)
    retry_after = error.answer.retry_after_seconds if isinstance(error, SignalError) else None
    core.later(batch, now, retry_after or 0.0)
    return None


def is_refusal(error: SignalError) -> bool:
    """Whether the service itself refuses what a batch holds, so that sending it again does not help.

    Everything else may end while the batch waits: an outage, a wrong key, a wrong setting, a proxy's page.
    """
    return isinstance(error, (ValidationError, BatchRejectedError)) and error.code is not None


def give_up(core: Core, batch: Batch) -> None:
    """Settles a batch that is not sent any more."""
    core.counts.undelivered += batch.count
    core.settle(batch)
