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
    """A file: only appended to, and removed when none of its lines is needed."""

    path: str
    size: int = 0
    open: int = 0
    """How many of its lines are needed: signals that are not done, and the lines of their batches."""
    done: list[Range] = field(default_factory=list)
    """Signals that its lines mark as done. They are needed as long as a file has these signals."""
    is_synced: bool = True
    """Whether its last lines are durable."""
    first: int = 0
    last: int = -1
    """The numbers between which its signals are."""

    def note(self, first: int, last: int) -> None:
        """Notes that it has signals of these numbers."""
        if self.last < 0:
            self.first = first
        self.first, self.last = min(self.first, first), max(self.last, last)


def needed_done(segment: Segment, segments: Iterable[Segment]) -> list[Range]:
    """What a file marks as done and other files have: without it, signals would be sent again."""
    others = [(one.first, one.last) for one in segments if one is not segment]
    return [
        (first, last)
        for first, last in segment.done
        if any(first <= other_last and other_first <= last for other_first, other_last in others)
    ]


@dataclass(frozen=True)
class Place:
    """Where a signal is: its number, its file, and where its line begins and how long it is."""

    sequence: int
    segment: Segment
    offset: int
    length: int


@dataclass
class FoundBatch:
    """A batch of an earlier run, with the signals that are not lost, and the file that has its line."""

    line: CutLine
    segment: Segment
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
                segment.note(entry.sequence, entry.sequence)
                last = max(last, entry.sequence)
            elif isinstance(entry, CutLine):
                cuts[entry.key] = FoundBatch(entry, segment)
            else:
                done.extend(entry.ranges)
                segment.done.extend(entry.ranges)
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
    for batch in found.batches:
        batch.segment.open += 1


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
