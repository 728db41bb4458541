"""Checks of options."""

from __future__ import annotations

import math
import os
from typing import Optional, TypeVar

Kind = TypeVar("Kind")

LONGEST_SECONDS = 2_147_483.0
"""The longest time of an option: 24 days, as in the TypeScript library."""


def check_count(name: str, value: int, low: int, high: int) -> int:
    """Returns a whole number in its range.

    Raises ValueError: it is not; the message names the option and the range.
    """
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise ValueError(f"{name} must be a whole number from {low} to {high}; it is {value!r}.")


def check_seconds(name: str, value: float, low: float = 0.0, high: float = LONGEST_SECONDS) -> float:
    """Returns a number of seconds in its range. Raises ValueError: it is not."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and low <= value <= high:
        return float(value)
    raise ValueError(f"{name} must be a number of seconds from {low:g} to {high:g}; it is {value!r}.")


def is_frozen_between_calls() -> bool:
    """Whether the platform stops the process between two calls, so that a thread cannot send."""
    return bool(os.environ.get("AWS_LAMBDA_RUNTIME_API"))


def check_timeout(name: str, value: Optional[float]) -> Optional[float]:
    """Returns a number of seconds; None means without an end."""
    return None if value is None else check_seconds(name, value)


def check_client(client: Kind, kind: type[Kind]) -> Kind:
    """Returns the client. Raises TypeError: it is of another kind, such as an asynchronous one."""
    if isinstance(client, kind):
        return client
    raise TypeError(f"client must be of the type {kind.__name__}; it is of {type(client).__qualname__}.")
