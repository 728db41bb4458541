"""What follows from an attempt to deliver a batch. The callers lock the core."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Optional, Union

from ..base.callbacks import call_safely, log
from ..base.errors import (
    BatchRejectedError,
    ClosedError,
    DeadlineError,
    SignalError,
    SpoolError,
    UndeliveredError,
    ValidationError,
)
from ..base.types import BatchAnswer
from ..calls.call import Steps
from ..calls.deliver import Delivery, deliver_each
from ..calls.operations import Operations
from ..spool.batch import KeptBatch
from ..spool.spool import Spool
from .core import Batch, Core
from .options import BatchRetry, Delivered, SettledOptions, Undelivered, Unstored

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


def begin(batch: Batch, texts: list[bytes], options: SettledOptions, timeout: Optional[float]) -> Attempt:
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


def tell_success(attempt: Attempt, options: SettledOptions, seconds: float) -> None:
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


def fail(core: Core, batch: Batch, error: Exception, now: float) -> Union[Undelivered, BatchRetry, None]:
    """Puts a batch back, or returns what ``on_undelivered`` receives before ``give_up``."""
    texts = list(batch.texts or [])
    if isinstance(error, SignalError) and is_refusal(error):
        return Undelivered(len(texts), texts, error)
    if not isinstance(error, SignalError):
        log.error("A batch of signal_ingest met an unexpected error and is sent again.", exc_info=error)
    elif not isinstance(error, (ClosedError, DeadlineError)):
        log.warning("A batch is sent again later: %s: %s", type(error).__name__, error)
    if isinstance(error, SignalError) and not isinstance(error, ClosedError) and core.is_given_up(batch, now):
        return Undelivered(len(texts), texts, error)
    retry_after = error.answer.retry_after_seconds if isinstance(error, SignalError) else None
    pause = core.later(batch, now, retry_after or 0.0)
    if not isinstance(error, SignalError) or isinstance(error, ClosedError):
        return None
    return BatchRetry(batch.count, batch.attempts, pause, error)


def is_refusal(error: SignalError) -> bool:
    """Whether the service itself refuses what a batch holds, so that sending it again does not help.

    Everything else may end while the batch waits: an outage, a wrong key, a wrong setting, a proxy's page.
    """
    return isinstance(error, (ValidationError, BatchRejectedError)) and error.code is not None


def recover(core: Core, spool: Spool, caller: str, now: float) -> Optional[Undelivered]:
    """Takes what earlier runs left in the spool. Returns what is kept because another caller sent it.

    Idempotency keys belong to a caller: under this one, the service would store such a batch again. A batch
    whose every signal has a dedupe key is stored once under any key.
    """
    options = core.options
    recovered = spool.open()
    kept = 0
    for batch in recovered.batches:
        line = batch.line
        is_own = line is None or line.caller in ("", caller)
        if is_own or options.other_callers == "send" or _has_dedupe_keys(batch):
            core.recover(batch, line.key if line else None, now)
        else:
            kept += batch.count
    for folder, places in recovered.loose:
        for batch in folder.batches_of(places, options.max_count, options.max_bytes):
            core.recover(batch, None, now)
    if not kept:
        return None
    error = SpoolError(
        f"The spool {spool.folder} keeps {kept} signals that were sent with another API key or address, and "
        'may be stored there. Use that key, or other_callers="send" to store them again.'
    )
    return Undelivered(kept, [], error, kept=True)


def _has_dedupe_keys(batch: KeptBatch) -> bool:
    return all(json.loads(text).get("dedupe_key") for text in batch.read())


def give_up(core: Core, batch: Batch) -> None:
    """Settles a batch that is not sent any more."""
    core.counts.undelivered += batch.count
    core.settle(batch)


def undelivered_error(undelivered: Undelivered) -> UndeliveredError:
    """The error of ``flush`` and ``close`` where there is no ``on_undelivered``."""
    what = "kept in the spool" if undelivered.kept else "given up"
    message = f"{undelivered.count} signals are {what}: {undelivered.error}"
    error = UndeliveredError(message, undelivered.texts)
    error.__cause__ = undelivered.error
    return error
