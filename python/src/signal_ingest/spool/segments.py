"""The files of a spool's folder, and what is kept in them."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Optional

from .lines import CutLine, DamagedLine, DoneLine, Range, SignalLine, read_lines


@dataclass(eq=False)
class Segment:
    """A file: only appended to, and removed when it and all older ones have no needed signal."""

    path: str
    size: int = 0
    open: int = 0
    """How many of its signals are not done."""


@dataclass(frozen=True)
class Place:
    """Where a signal is: its number, its file, and where its line begins and how long it is."""

    sequence: int
    segment: Segment
    offset: int
    length: int


@dataclass
class FoundBatch:
    """A batch of an earlier run, with the signals that are not lost."""

    line: CutLine
    places: list[Place] = field(default_factory=list)


@dataclass
class Found:
    """What an earlier run has left."""

    segments: list[Segment] = field(default_factory=list)
    next_file: int = 1
    next_sequence: int = 1
    loose: list[Place] = field(default_factory=list)
    batches: list[FoundBatch] = field(default_factory=list)


def segment_path(folder: str, number: int) -> str:
    """The path of a file."""
    return os.path.join(folder, f"{number:09d}.spool")


def find_segments(folder: str) -> list[str]:
    """The names of a folder's files, oldest first."""
    return sorted(name for name in os.listdir(folder) if re.fullmatch(r"\d{9,15}\.spool", name))


def read_folder(folder: str, on_damage: Callable[[DamagedLine], None]) -> Found:
    """Reads what is not done. One file is in memory at a time."""
    found = Found()
    places: list[Place] = []
    cuts: dict[str, FoundBatch] = {}
    done: list[Range] = []
    last = 0
    for name in find_segments(folder):
        segment = Segment(os.path.join(folder, name))
        found.segments.append(segment)
        found.next_file = int(name.partition(".")[0]) + 1
        with open(segment.path, "rb") as file:
            data = file.read()
        segment.size = len(data)
        for offset, length, entry, number, text in read_lines(data):
            if entry is None:
                shown = text[:1000].decode("utf-8", "replace")
                on_damage(DamagedLine(segment.path, number, shown))
            elif isinstance(entry, SignalLine):
                places.append(Place(entry.sequence, segment, offset, length))
                last = max(last, entry.sequence)
            elif isinstance(entry, CutLine):
                cuts[entry.key] = FoundBatch(entry)
            else:
                done.extend(entry.ranges)
            if isinstance(entry, (CutLine, DoneLine)):
                last = max([last, *(end for _, end in entry.ranges)])
    found.next_sequence = last + 1
    _sort_out(found, places, cuts, done)
    return found


def _sort_out(found: Found, places: list[Place], cuts: dict[str, FoundBatch], done: list[Range]) -> None:
    """Sorts signals into those that are done, those of batches, and loose ones."""
    is_done = _RangeFinder((one, True) for one in done)
    batch_of = _RangeFinder((one, batch) for batch in cuts.values() for one in batch.line.ranges)
    for place in sorted(places, key=lambda place: place.sequence):
        if is_done.find(place.sequence):
            continue
        place.segment.open += 1
        batch = batch_of.find(place.sequence)
        if isinstance(batch, FoundBatch):
            batch.places.append(place)
        else:
            found.loose.append(place)
    found.batches = [batch for batch in cuts.values() if batch.places]


class _RangeFinder:
    """Finds the range that holds a number. Two ranges are equal or do not overlap."""

    def __init__(self, ranges: Iterable[tuple[Range, object]]) -> None:
        self._ranges = sorted(ranges, key=lambda entry: entry[0])
        self._firsts = [first for (first, _), _ in self._ranges]

    def find(self, number: int) -> Optional[object]:
        at = bisect_right(self._firsts, number) - 1
        if at < 0:
            return None
        (_, last), owner = self._ranges[at]
        return owner if number <= last else None
