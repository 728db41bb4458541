"""Writes signals as JSON. What is written here is what is spooled and sent."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import uuid
import warnings
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any, NoReturn, Optional, Union

from .codes import FailureCode
from .errors import InvalidSignalError

MAX_DEPTH = 100
"""Deeper than any payload that the service takes, and far from the end of the stack."""

_NUMPY_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?)?")
_quote = json.encoder.encode_basestring
_warned_of_naive = False


def encode_signal(signal: Any, name: str = "") -> bytes:
    """Returns the JSON of a signal in UTF-8. The caller may change the signal afterwards.

    Integers and Decimals keep every digit. A datetime becomes ISO 8601 (a naive one is UTC, with one
    warning); UUID, Enum, dataclasses and pydantic's models are written as their JSON form. ``name`` is the
    signal in messages, such as ``signals[3]``.

    Raises InvalidSignalError: the signal is not a mapping, or a value has no JSON form: NaN, bytes, a set, a
    cycle, half of a surrogate pair. The message names the value.
    """
    if _as_mapping(signal) is None:
        message = f"{name or 'The signal'} must be an object with the fields of a signal: a dict."
        raise InvalidSignalError(message, "wrong_type")
    return encode_json(signal, name)


def encode_object(value: Any, name: str) -> bytes:
    """Returns the JSON of a dict. Raises TypeError: it is none. Raises InvalidSignalError."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict; it is {value!r:.200}.")
    return encode_json(value, name)


def encode_json(value: Any, name: str = "") -> bytes:
    """Returns the JSON of a value in UTF-8. Raises InvalidSignalError as encode_signal."""
    text = _Encoder(name).write(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # Rare, so that only now every text is looked at.
        _Encoder(name, checks_text=True).write(value)
        raise


def batch_body(texts: Sequence[bytes], all_or_nothing: bool, field: bytes = b"signals") -> bytes:
    """Returns the body of a batch, made of the JSON of its signals, or of its scores."""
    flag = b"true" if all_or_nothing else b"false"
    return b'{"' + field + b'":[' + b",".join(texts) + b'],"fail_on_error":' + flag + b"}"


class _Encoder:
    def __init__(self, name: str, checks_text: bool = False) -> None:
        self._name = name
        self._checks_text = checks_text
        self._path: list[Union[str, int]] = []
        self._ancestors: list[Any] = []

    def write(self, value: Any) -> str:
        kind = type(value)
        if kind is str:
            return self._text(value)
        if value is None:
            return "null"
        if kind is bool:
            return "true" if value else "false"
        if kind is int:
            return self._integer(value)
        if kind is float:
            return self._float(value)
        if len(self._ancestors) >= MAX_DEPTH:
            self._refuse_depth(value)
        self._ancestors.append(value)
        if kind is dict:
            text = self._object(value)
        elif kind is list or kind is tuple:
            text = self._list(value)
        else:
            text = self._other(value)
        self._ancestors.pop()
        return text

    def _text(self, value: str) -> str:
        if self._checks_text and any("\ud800" <= character <= "\udfff" for character in value):
            self._refuse("holds half of a surrogate pair", "invalid_text")
        return _quote(value)

    def _integer(self, value: int, what: str = "is") -> str:
        try:
            return int.__repr__(value)
        except ValueError:  # beyond sys.get_int_max_str_digits()
            self._refuse(f"{what} an integer of too many digits", "number_too_long")

    def _float(self, value: float) -> str:
        if math.isfinite(value):
            return float.__repr__(value)
        self._refuse(f"is {value}, which JSON cannot hold")

    def _object(self, value: Mapping[Any, Any]) -> str:
        parts: list[str] = []
        path = self._path
        names: Optional[set[str]] = None
        for key, item in value.items():
            if type(key) is not str:
                # Two keys such as 1 and "1" have one name in JSON, and one of the values would be lost.
                names = names if names is not None else {key for key in value if isinstance(key, str)}
                key = self._key(key)
                if key in names:
                    self._refuse(f"has two keys that are {key!r} in JSON")
                names.add(key)
            path.append(key)
            parts.append(f"{self._text(key)}:{self.write(item)}")
            path.pop()
        return "{" + ",".join(parts) + "}"

    def _key(self, key: Any) -> str:
        if isinstance(key, enum.Enum):
            return self._key(key.value)
        if isinstance(key, str):
            return str.__str__(key)
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, int):
            return self._integer(key, "has a key that is")
        if isinstance(key, (uuid.UUID, date)):
            return str(key)
        self._refuse(f"has a key of the type {type(key).__qualname__}, which JSON cannot hold")

    def _list(self, values: Sequence[Any]) -> str:
        parts: list[str] = []
        path = self._path
        for index, item in enumerate(values):
            path.append(index)
            parts.append(self.write(item))
            path.pop()
        return "[" + ",".join(parts) + "]"

    def _other(self, value: Any) -> str:
        if isinstance(value, enum.Enum):
            return self.write(value.value)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self._integer(value)
        if isinstance(value, float):
            return self._float(float(value))
        if isinstance(value, Decimal):
            if value.is_finite():
                return str(value).replace("E", "e")
            self._refuse(f"is {value}, which JSON cannot hold")
        if isinstance(value, datetime):
            if value != value:  # of pandas
                self._refuse("is NaT, which JSON cannot hold")
            return _quote(_iso(value))
        if isinstance(value, (date, time)):
            return _quote(value.isoformat())
        if isinstance(value, uuid.UUID):
            return _quote(str(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            self._refuse("is bytes, which JSON cannot hold: send them as Base64 text")
        mapping = _as_mapping(value)
        if mapping is not None:
            return self._object(mapping)
        if isinstance(value, (list, tuple)):
            return self._list(value)
        if callable(getattr(value, "item", None)) and getattr(value, "shape", None) == ():
            return self._scalar(value)
        self._refuse_type(value)

    def _scalar(self, value: Any) -> str:
        """A scalar of numpy. Times become ISO 8601, since their ``item()`` may be a bare number or None."""
        kind = getattr(getattr(value, "dtype", None), "kind", "")
        if kind == "M":
            text = str(value)
            if text == "NaT":
                self._refuse("is NaT, which JSON cannot hold")
            if _NUMPY_TIME.fullmatch(text):
                return _quote(f"{text}Z" if "T" in text else text)
            self._refuse_type(value)
        item = value.item()
        # A long double has no other form.
        if kind == "m" or type(item) is type(value):
            self._refuse_type(value)
        return self.write(item)

    def _refuse_type(self, value: Any) -> NoReturn:
        self._refuse(f"is a {type(value).__qualname__}, which JSON cannot hold")

    def _refuse_depth(self, value: Any) -> NoReturn:
        cycle = next((at for at, one in enumerate(self._ancestors) if one is value), None)
        if cycle is None:
            self._refuse(f"is nested deeper than {MAX_DEPTH} levels", "too_deep")
        # The path of a cycle repeats itself up to the bound.
        del self._path[cycle:]
        self._refuse("contains itself", "too_deep")

    def _refuse(self, why: str, code: FailureCode = "wrong_type") -> NoReturn:
        first = self._path[0] if self._path else None
        place = self._name
        for step in self._path:
            place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else step
        message = f"{place or 'The signal'} {why}."
        shown = message.encode("utf-8", "backslashreplace").decode()
        raise InvalidSignalError(shown, code, first if isinstance(first, str) else None)


def _as_mapping(value: Any) -> Optional[Mapping[Any, Any]]:
    """The fields of a mapping, a dataclass or a model of pydantic; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        dumped = dump()
        return dumped if isinstance(dumped, Mapping) else None
    return None


def _iso(value: datetime) -> str:
    global _warned_of_naive
    if value.tzinfo is None or value.utcoffset() is None:
        if not _warned_of_naive:
            _warned_of_naive = True
            warnings.warn(
                "signal_ingest takes a datetime without a time zone as UTC. "
                "Use datetime.now(timezone.utc), or a time with its zone.",
                stacklevel=2,
            )
        value = value.replace(tzinfo=timezone.utc)
    return value.isoformat()
