"""Makes any value one that JSON can hold, for what is recorded beside the work of a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .encode import encode_json
from .errors import InvalidSignalError

MAX_DEPTH = 20


def plain(value: Any, depth: int = 0) -> Any:
    """Returns the value, in which what JSON cannot hold is its ``repr``, and half a pair an escape."""
    try:
        encode_json(value)
    except InvalidSignalError:
        if isinstance(value, str):
            return plain_text(value)
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            return {plain_text(str(name)): plain(item, depth + 1) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)) and depth < MAX_DEPTH:
            return [plain(item, depth + 1) for item in value]
        return plain_text(repr(value))
    return value


def plain_text(text: str) -> str:
    """Returns the text with halves of surrogate pairs as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
