"""The errors of the library: one tree below SignalError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .codes import FailureCode, ProblemCode
from .types import Failure, ShapeError


@dataclass(frozen=True)
class AnswerContext:
    """The answer that an error comes from."""

    status: Optional[int] = None
    request_id: Optional[str] = None
    code: Optional[ProblemCode] = None
    transaction_id: Optional[str] = None
    retry_after_seconds: Optional[float] = None


NO_ANSWER = AnswerContext()


class SignalError(Exception):
    """The base of every error of this library.

    ``status``, ``request_id`` and ``code`` are those of the answer; None when there was none. ``retryable``
    says whether the same call may succeed later.
    """

    retryable = False

    def __init__(self, message: str, answer: AnswerContext = NO_ANSWER) -> None:
        super().__init__(message)
        self.message = message
        self.answer = answer
        self.status = answer.status
        self.request_id = answer.request_id
        self.code = answer.code
        self.transaction_id = answer.transaction_id

    def __reduce__(self) -> tuple[Any, ...]:
        # By default a copy is made by __init__ with the message alone. A pool of processes that cannot make
        # a copy of a worker's error waits for ever.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[SignalError], arguments: tuple[Any, ...], state: dict[str, Any]) -> SignalError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class InvalidSignalError(SignalError, ValueError):
    """A value cannot be written as JSON without changing it, such as NaN or a cycle. Nothing was sent.

    ``failure_code`` is what the service would give; ``field`` has the value, None where it is the signal.
    """

    def __init__(self, message: str, failure_code: FailureCode, field: Optional[str] = None) -> None:
        super().__init__(message)
        self.failure_code = failure_code
        self.field = field


class ValidationError(SignalError):
    """The shape of the request is wrong (422). Nothing was stored. ``errors`` has the first 100."""

    def __init__(self, errors: Sequence[ShapeError], answer: AnswerContext = NO_ANSWER) -> None:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        text = "The request has the wrong shape."
        if errors:
            text = f"{'.'.join(str(step) for step in errors[0]['loc'])}: {errors[0]['msg']}{more}"
        super().__init__(text, answer)
        self.errors = list(errors)
        self.field = _field_of(errors[0]) if errors else None


def _field_of(error: ShapeError) -> Optional[str]:
    """A single signal is the body itself. The fields of a body with many signals are not a signal's."""
    place, field = ([*error["loc"], None, None])[:2]
    return field if place == "body" and isinstance(field, str) and field != "signals" else None


class BatchRejectedError(SignalError):
    """``all_or_nothing`` was set, and a signal broke a rule (400). Nothing was stored.

    ``index``, ``failure_code``, ``field`` and ``retryable`` are those of the first such signal; ``errors``
    has all.
    """

    def __init__(self, message: str, errors: Sequence[Failure], answer: AnswerContext = NO_ANSWER) -> None:
        super().__init__(message, answer)
        first: Any = errors[0] if errors else {}
        self.index: int = first.get("index", 0)
        self.failure_code: Optional[FailureCode] = first.get("code")
        self.field: Optional[str] = first.get("field")
        self.retryable = bool(first.get("retryable", False))
        self.errors = list(errors)


class UnauthorizedError(SignalError):
    """The key is missing, unknown or lacks the scope (401, 403). Nothing was stored."""


class RequestError(SignalError):
    """The service refused the request for another reason, such as a limit. Nothing was stored."""


class TransientError(SignalError):
    """A retry may help. Calls retry by themselves, so this is the ``__cause__`` of a DeadlineError."""

    retryable = True

    @property
    def retry_after_seconds(self) -> Optional[float]:
        """How long the service asked to wait."""
        return self.answer.retry_after_seconds


class RateLimitedError(TransientError):
    """The caller exceeded its rate (429). Nothing was stored by that attempt."""


class UnavailableError(TransientError):
    """No connection, a 5xx, or an answer that is not the service's. The request may have been stored."""


class DeadlineError(SignalError):
    """No good answer arrived in time. Sending the request again under the same key is safe.

    The request may have been stored. ``__cause__``, ``status``, ``request_id`` are of the last answer.
    """

    retryable = True

    def __init__(self, message: str, last: Optional[SignalError] = None) -> None:
        context = last.answer if last is not None else NO_ANSWER
        super().__init__(f"{message}; the last answer: {last.message}" if last else message, context)
        self.__cause__ = last


class ClosedError(SignalError):
    """The processor or client is closed. The signal was not accepted."""


class BufferFull(SignalError):
    """The buffer or the spool stayed full for the whole timeout. The signal was not accepted."""

    retryable = True


class SpoolError(SignalError):
    """The spool cannot be used. The signal was not accepted; ``__cause__`` is the disk's error."""

    retryable = True


class UndeliveredError(SignalError):
    """Accepted signals were given up, and there is no ``on_undelivered``. ``signals`` has their JSON."""

    def __init__(self, message: str, signals: Sequence[bytes]) -> None:
        super().__init__(message)
        self.signals = list(signals)
