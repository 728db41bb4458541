"""Writes signals as JSON. What is written here is what is spooled and sent."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import uuid
import warnings
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any, Optional

from .errors import EncodeError

MAX_DEPTH = 200
"""Ends cycles and recursion. The service refuses payloads deeper than 64 levels, with a code."""

_quote = json.encoder.encode_basestring
_warned_of_naive = False


def encode_signal(signal: Any, path: str = "") -> bytes:
    """Returns the JSON of a signal in UTF-8. The caller may change the signal afterwards.

    Integers and Decimals keep every digit. A datetime becomes ISO 8601 (a naive one is UTC, with one
    warning); UUID, Enum, dataclasses and pydantic's models are written as their JSON form.

    Raises EncodeError: the signal is not a mapping, or a value has no JSON form: NaN, bytes, a set, a cycle,
    half of a surrogate pair. The message names the value.
    """
    plain = _as_mapping(signal)
    if plain is None:
        raise EncodeError(f"A signal is a dict of its fields; this is {_kind(signal)}.", path)
    return _utf8(_write_object(plain, path, 0), path, plain)


def encode_body(value: Any) -> bytes:
    """Returns the JSON of a body. Raises EncodeError as encode_signal."""
    return _utf8(_write(value, "", 0), "", value)


def batch_body(texts: Sequence[bytes], all_or_nothing: bool) -> bytes:
    """Returns the body of a batch, made of the JSON of its signals."""
    flag = b"true" if all_or_nothing else b"false"
    return b'{"signals":[' + b",".join(texts) + b'],"fail_on_error":' + flag + b"}"


def _utf8(text: str, path: str, value: Any) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        where = _surrogate_path(value, path)
        raise EncodeError(
            "the text holds half of a surrogate pair, which is not a character", where
        ) from None


def _write(value: Any, path: str, depth: int) -> str:
    kind = type(value)
    if kind is str:
        return _quote(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return int.__repr__(value)
    if kind is float:
        return _write_float(value, path)
    if depth >= MAX_DEPTH:
        raise EncodeError(f"the value is nested deeper than {MAX_DEPTH} levels, or contains itself", path)
    if kind is dict:
        return _write_object(value, path, depth)
    if kind is list or kind is tuple:
        return _write_list(value, path, depth)
    return _write_other(value, path, depth)


def _write_float(value: float, path: str) -> str:
    if math.isfinite(value):
        return float.__repr__(value)
    raise EncodeError(f"JSON has no {value}", path)


def _write_object(value: Mapping[Any, Any], path: str, depth: int) -> str:
    parts: list[str] = []
    names: Optional[set[str]] = None
    for key, item in value.items():
        if type(key) is not str:
            # Two keys such as 1 and "1" have one name in JSON, and one of the values would be lost.
            names = names if names is not None else {key for key in value if isinstance(key, str)}
            key = _name_of(key, path)
            if key in names:
                raise EncodeError(f"two keys are {key!r} in JSON", path)
            names.add(key)
        parts.append(f"{_quote(key)}:{_write(item, _below(path, key), depth + 1)}")
    return "{" + ",".join(parts) + "}"


def _name_of(key: Any, path: str) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, enum.Enum):
        return _name_of(key.value, path)
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (int, uuid.UUID, datetime, date)):
        return int.__repr__(key) if isinstance(key, int) else str(key)
    raise EncodeError(f"a key of an object must be text; this is {_kind(key)}", path)


def _write_list(value: Sequence[Any], path: str, depth: int) -> str:
    return "[" + ",".join([_write(item, f"{path}[{at}]", depth + 1) for at, item in enumerate(value)]) + "]"


def _write_other(value: Any, path: str, depth: int) -> str:
    if isinstance(value, enum.Enum):
        return _write(value.value, path, depth + 1)
    if isinstance(value, str):
        return _quote(str.__str__(value))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _write_float(float(value), path)
    if isinstance(value, Decimal):
        if value.is_finite():
            return str(value).replace("E", "e")
        raise EncodeError(f"JSON has no {value}", path)
    if isinstance(value, datetime):
        return _quote(_iso(value))
    if isinstance(value, (date, time)):
        return _quote(value.isoformat())
    if isinstance(value, uuid.UUID):
        return _quote(str(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise EncodeError("bytes have no JSON form; send them as Base64 text", path)
    mapping = _as_mapping(value)
    if mapping is not None:
        return _write_object(mapping, path, depth)
    if isinstance(value, (list, tuple)):
        return _write_list(value, path, depth)
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():  # a scalar of numpy
        return _write(item(), path, depth + 1)
    raise EncodeError(f"{_kind(value)} has no JSON form", path)


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


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _kind(value: Any) -> str:
    return f"a value of the type {type(value).__qualname__}"


def _surrogate_path(value: Any, path: str) -> str:
    """Where the text with half of a surrogate pair is. Called only when there is one."""
    if isinstance(value, str):
        return path
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _has_surrogate(item) or _has_surrogate(key):
                return (
                    _surrogate_path(item, _below(path, ascii(key).strip("'")))
                    if _has_surrogate(item)
                    else path
                )
    if isinstance(value, (list, tuple)):
        for at, item in enumerate(value):
            if _has_surrogate(item):
                return _surrogate_path(item, f"{path}[{at}]")
    return path


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return any(_has_surrogate(key) or _has_surrogate(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(_has_surrogate(item) for item in value)
