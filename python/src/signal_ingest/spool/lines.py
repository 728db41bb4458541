"""The lines of a spool's file: JSON after its CRC-32, by which a reader finds a damaged line."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional, Union

Range = tuple[int, int]
"""Numbers of signals, both ends included."""


@dataclass(frozen=True)
class SignalLine:
    """An accepted signal: its number, and its JSON as it is sent."""

    sequence: int
    text: bytes


@dataclass(frozen=True)
class CutLine:
    """A batch: its idempotency key, the numbers of its signals, how many they are, and whose key it is."""

    key: str
    ranges: tuple[Range, ...]
    count: int
    caller: str


@dataclass(frozen=True)
class DoneLine:
    """A batch that is done. It repeats the numbers, so that it does not depend on the line of its batch."""

    key: str
    ranges: tuple[Range, ...]


Entry = Union[SignalLine, CutLine, DoneLine]


@dataclass(frozen=True)
class DamagedLine:
    """A line whose bytes have changed since they were written."""

    path: str
    line: int
    text: str


def encode_line(entry: Entry) -> bytes:
    """Returns a line with its checksum and line break."""
    if isinstance(entry, SignalLine):
        text = b'{"sequence":%d,"signal":%b}' % (entry.sequence, entry.text)
    elif isinstance(entry, CutLine):
        text = _dump({"cut": entry.key, "ranges": entry.ranges, "count": entry.count, "caller": entry.caller})
    else:
        text = _dump({"done": entry.key, "ranges": entry.ranges})
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def read_lines(data: bytes) -> Iterator[tuple[int, int, Optional[Entry], int, bytes]]:
    """Yields the offset, length, entry, number and text of each line; the entry is None where it is damaged.

    Text after the last line break is a line that a crash left incomplete: its signal was never accepted.
    """
    offset = 0
    number = 0
    while True:
        end = data.find(b"\n", offset)
        if end < 0:
            return
        number += 1
        line = data[offset:end]
        entry = decode_line(line)
        if entry is not None:
            yield offset, end + 1 - offset, entry, number, line
        elif line:
            yield from _parts(line, offset, number)
        offset = end + 1


def _parts(line: bytes, offset: int, number: int) -> Iterator[tuple[int, int, Optional[Entry], int, bytes]]:
    """The lines that a damaged line break joined. Each begins with its checksum."""
    starts = [0, *(found.start() for found in _START.finditer(line) if found.start() > 0), len(line)]
    for start, end in itertools.pairwise(starts):
        # A line before a damaged line break ends with the byte that replaced the break.
        length, entry = end - start, decode_line(line[start:end])
        if entry is None:
            length, entry = length - 1, decode_line(line[start : end - 1])
        yield offset + start, length, entry, number, line[start:end]


_START = re.compile(rb'[0-9a-f]{8} (?=\{")')
_SIGNAL = re.compile(rb'\{"sequence":(\d{1,15}),"signal":')


def decode_line(line: bytes) -> Optional[Entry]:
    """Reads a line without its line break; None when it is damaged."""
    if len(line) < 10 or line[8:9] != b" ":
        return None
    text = line[9:]
    if b"%08x" % zlib.crc32(text) != line[:8]:
        return None
    found = _SIGNAL.match(text)
    if found is not None:
        return SignalLine(int(found[1]), text[found.end() : -1])
    try:
        value = json.loads(text)
        ranges = tuple((int(first), int(last)) for first, last in value["ranges"])
        if "cut" in value:
            return CutLine(value["cut"], ranges, int(value["count"]), value.get("caller", ""))
        return DoneLine(value["done"], ranges)
    except (ValueError, KeyError, TypeError):
        return None


def ranges_of(numbers: Sequence[int]) -> tuple[Range, ...]:
    """Converts ascending numbers to ranges. A missing number starts a new range."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return tuple((first, last) for first, last in ranges)
