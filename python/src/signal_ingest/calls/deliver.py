"""Delivers a batch: every signal that can be stored is stored, and the others are named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional, cast

from ..base.errors import RequestError, SignalError, ValidationError
from ..base.types import BatchAnswer, Failure
from .call import Steps
from .operations import Operations

FAILURE_FIELDS = ("index", "error", "code", "field", "retryable")


@dataclass
class Delivery:
    """How a batch is delivered, and what came of it."""

    timeout: Optional[float] = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_damaged: bool = False
    """A signal of the batch is lost. If the service then refuses the key, it stored all of it before."""
    on_answer: Optional[Callable[[BatchAnswer], None]] = None
    failures: list[Failure] = field(default_factory=list)
    duplicates: int = 0


def deliver_each(operations: Operations, texts: Sequence[bytes], key: str, delivery: Delivery) -> Steps[None]:
    """Stores every signal of a batch that can be stored; ``delivery.failures`` has the others by their index.

    A signal of the wrong shape fails alone. A batch over a limit of the service is sent in halves, under keys
    derived from ``key``, so that the whole batch can be sent again.

    Raises SignalError: an error that is not about single signals; a part of the batch may be stored.
    """
    delivery.failures.clear()
    delivery.duplicates = 0
    yield from _send(operations, texts, 0, key, delivery)
    delivery.failures.sort(key=lambda failure: failure["index"])


def _send(
    operations: Operations, texts: Sequence[bytes], offset: int, key: str, delivery: Delivery
) -> Steps[None]:
    if not texts:
        return
    try:
        answer = yield from operations.create_batch(
            texts,
            key,
            # Only the whole answer says which signals are duplicates; without dedupe keys none is.
            minimal=not any(b'"dedupe_key":"' in text for text in texts),
            lenient=True,
            timeout=delivery.timeout,
            headers=delivery.headers,
        )
    except ValidationError as error:
        if delivery.is_damaged and _is_key_reused(error):
            return
        if _names_signal(error):
            raise _too_old(error) from error
        raise
    except RequestError as error:
        if error.status != 413:
            raise
        yield from _in_halves(operations, texts, offset, key, delivery, error)
        return
    _note(answer, offset, delivery)


def _in_halves(
    operations: Operations,
    texts: Sequence[bytes],
    offset: int,
    key: str,
    delivery: Delivery,
    error: SignalError,
) -> Steps[None]:
    if len(texts) == 1:
        delivery.failures.append(
            {"index": offset, "error": error.message, "code": "too_large", "retryable": False}
        )
        return
    middle = (len(texts) + 1) // 2
    yield from _send(operations, texts[:middle], offset, derived_key(key, "first half"), delivery)
    yield from _send(operations, texts[middle:], offset + middle, derived_key(key, "second half"), delivery)


def _note(answer: BatchAnswer, offset: int, delivery: Delivery) -> None:
    if delivery.on_answer is not None:
        delivery.on_answer(answer)
    for result in answer["results"]:
        if result["success"]:
            delivery.duplicates += bool(result.get("duplicate"))
            continue
        failure = cast(Failure, {name: value for name, value in result.items() if name in FAILURE_FIELDS})
        failure["index"] += offset
        delivery.failures.append(failure)


def derived_key(key: str, part: str) -> str:
    """The key of a half of a batch: as long at every depth, and the same in every run and language."""
    return hashlib.sha256(f"{key}\n{part}".encode()).hexdigest()


def _is_key_reused(error: ValidationError) -> bool:
    return any(one.get("type") == "idempotency_key_reused" for one in error.errors)


def _names_signal(error: ValidationError) -> bool:
    """Whether the service refused the batch for single signals, as versions do that lack handling=lenient."""
    return any(
        len(one["loc"]) > 2 and one["loc"][1] == "signals" and isinstance(one["loc"][2], int)
        for one in error.errors
    )


def _too_old(error: ValidationError) -> RequestError:
    return RequestError(
        f'{error.message}. This service does not know "Prefer: handling=lenient", so it stores none of the '
        "batch. Deploy its newest version, then send the batch again.",
        error.answer,
    )
