"""Compresses bodies in a format that both the service and this Python have."""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Optional

BEFORE_FIRST_ANSWER_MIN_BYTES = 4096
MIN_BYTES = 1024
MAX_HEADER_CHARACTERS = 1000
"""Bound of the header; a useful list is far shorter."""


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def _deflate(data: bytes) -> bytes:
    return zlib.compress(data, 6)


_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {}
if sys.version_info >= (3, 14):
    from compression import zstd

    _COMPRESSORS["zstd"] = zstd.compress
_COMPRESSORS["gzip"] = _gzip
_COMPRESSORS["deflate"] = _deflate

FORMATS = ("zstd", "gzip", "deflate")
"""In order of preference. Brotli is not in the standard library."""


class Compression:
    """Learns from each answer which formats the service accepts. Every version reads gzip."""

    def __init__(self, enabled: bool) -> None:
        self._formats = [name for name in FORMATS if enabled and name in _COMPRESSORS]
        self._accepted: Optional[list[str]] = None

    def learn(self, status: int, headers: Mapping[str, str]) -> None:
        """Takes the answer to a POST (RFC 9110, section 12.5.3)."""
        header = headers.get("accept-encoding")
        if header is None:
            if status == 415:  # without a list of formats, only an uncompressed body is safe
                self._accepted = []
        elif len(header) <= MAX_HEADER_CHARACTERS:
            self._accepted = accepted_formats(header)

    def choose(self, size: int) -> Optional[str]:
        """Returns the format for a body of ``size`` bytes; None sends it as it is."""
        if self._accepted is None:
            return "gzip" if size > BEFORE_FIRST_ANSWER_MIN_BYTES and "gzip" in self._formats else None
        if size <= MIN_BYTES:
            return None
        return next((name for name in self._formats if name in self._accepted), None)


def compress(data: bytes, coding: Optional[str]) -> bytes:
    """Returns the data in a format that ``choose`` returned."""
    return data if coding is None else _COMPRESSORS[coding](data)


def accepted_formats(header: str) -> list[str]:
    """The formats that a list such as ``zstd, gzip;q=0.5, *;q=0`` accepts."""
    weights: dict[str, bool] = {}
    for entry in header.lower().split(","):
        name, *parameters = [part.strip() for part in entry.split(";")]
        weights[name] = not any(re.fullmatch(r"q\s*=\s*0(\.0{0,3})?", one) for one in parameters)
    return [name for name in FORMATS if weights.get(name, weights.get("*", False))]
