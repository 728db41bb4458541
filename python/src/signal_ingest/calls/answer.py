"""Turns an answer into its JSON or into an error. Only the service's answer is an answer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Optional, Union, cast

from ..base.errors import (
    AnswerContext,
    BatchRejectedError,
    RateLimitedError,
    RequestError,
    SignalError,
    UnauthorizedError,
    UnavailableError,
    ValidationError,
)
from ..base.types import Failure, ShapeError
from ..http.message import Response

Parse = Callable[[str], Any]
Check = Callable[[Any], bool]

MAX_DETAIL_CHARACTERS = 2000
"""What an error quotes of an answer."""


def read_answer(response: Response, check: Check, parse: Parse, max_bytes: int) -> Any:
    """Returns the JSON of a success.

    Raises RateLimitedError, UnavailableError: a retry may help, because the service says so, or because the
    answer is not this service's. Raises another SignalError: the service refused the request for good.
    """
    context = _context_of(response)
    if response.body is None:
        raise UnavailableError(f"the answer is larger than {max_bytes} bytes (max_answer_bytes)", context)
    is_json, value = _json_of(response.body, parse)
    if not 200 <= response.status < 300:
        raise _error_of(response, value if isinstance(value, dict) else {}, context)
    # A proxy's page, an answer that was cut off, or another program's: the request may be stored.
    if not is_json:
        raise UnavailableError("the answer is not JSON, so it is not this service's", context)
    if not check(value):
        raise UnavailableError("the answer is not this service's: it lacks the fields of this call", context)
    return value


def _context_of(response: Response) -> AnswerContext:
    return AnswerContext(
        status=response.status,
        request_id=response.headers.get("x-request-id"),
        retry_after_seconds=read_retry_after(response.headers.get("retry-after")),
    )


def _json_of(body: bytes, parse: Parse) -> tuple[bool, Any]:
    try:
        return True, parse(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return False, None


def parse_json(text: str) -> Any:
    """Reads JSON; integers keep every digit. Raises ValueError: it is not JSON."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _error_of(response: Response, body: Mapping[str, Any], context: AnswerContext) -> SignalError:
    status = response.status
    detail = body.get("detail")
    code = body.get("code")
    transaction_id = body.get("transaction_id")
    context = AnswerContext(
        status=status,
        request_id=context.request_id,
        code=code if isinstance(code, str) else None,
        transaction_id=transaction_id if isinstance(transaction_id, str) else None,
        retry_after_seconds=context.retry_after_seconds,
    )
    message = detail[:MAX_DETAIL_CHARACTERS] if isinstance(detail, str) else f"status {status}"
    if status == 429:
        return RateLimitedError(message, context)
    if status in (408, 425) or (status >= 500 and status != 501):
        return UnavailableError(message, context)
    if status == 400 and isinstance(body.get("errors"), list):
        errors = [cast(Failure, error) for error in body["errors"] if _is_failure(error)]
        return BatchRejectedError(message, errors, context)
    if status == 422 and isinstance(detail, list):
        return ValidationError(
            [cast(ShapeError, error) for error in detail if _is_shape_error(error)], context
        )
    if status in (401, 403):
        return UnauthorizedError(message, context)
    return RequestError(message, context)


def _is_failure(value: Any) -> bool:
    return isinstance(value, dict) and type(value.get("index")) is int


def _is_shape_error(value: Any) -> bool:
    """A proxy in front of the service may answer as FastAPI does, and mean something else."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("msg"), str)
        and isinstance(value.get("loc"), list)
        and all(isinstance(step, (str, int)) for step in value["loc"])
    )


def read_retry_after(header: Optional[str]) -> Optional[float]:
    """Seconds, with a fraction or without, or a date (RFC 9110, section 10.2.3), as seconds from now."""
    if header is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", header, re.ASCII):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_ABSENT = object()


def has_fields(**kinds: Union[type, Check]) -> Check:
    """A check that an answer is an object with these fields, each of a type or as a check says."""

    def check(value: Any) -> bool:
        return isinstance(value, dict) and all(
            _is_of(value.get(name, _ABSENT), kind) for name, kind in kinds.items()
        )

    return check


def _is_of(value: Any, kind: Union[type, Check]) -> bool:
    if not isinstance(kind, type):
        return kind(value)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 on."""
    return type(value) is int and value >= 0


def is_list_of(check: Check) -> Check:
    """A check of a list by one of its entries."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def is_page_of(field: str, is_entry: Check, **more: Union[type, Check]) -> Check:
    """A check of a page, whose entries are in a field."""
    return has_fields(
        next_cursor=(lambda value: value is None or isinstance(value, str)),
        **{field: is_list_of(is_entry)},
        **more,
    )
