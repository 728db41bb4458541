"""A batch on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from .lines import CutLine, DoneLine, ranges_of
from .segments import FoundBatch, Place, Segment

if TYPE_CHECKING:
    from .folder import SpoolFolder


class KeptBatch:
    """The signals of a batch on disk. ``is_damaged``: some of them are lost."""

    def __init__(
        self, folder: SpoolFolder, places: Sequence[Place], found: Optional[FoundBatch] = None
    ) -> None:
        self._folder = folder
        self.line = line = found.line if found else None
        self.count = len(places)
        self.bytes = sum(place.length for place in places)
        self.ranges = line.ranges if line else ranges_of(sorted(place.sequence for place in places))
        self.is_damaged = line is not None and self.count < line.count
        self.segments = Counter(place.segment for place in places)
        if found is not None:
            self.segments[found.segment] += 1
        self._spans = _spans_of(places)

    def cut(self, key: str, caller: str) -> None:
        """Writes the batch and its key durably, once. Raises SpoolError: the disk does not take it."""
        if self.line is None:
            line = CutLine(key, self.ranges, self.count, caller)
            self.segments[self._folder.write_cut(line)] += 1
            self.line = line

    def read(self) -> list[bytes]:
        """Returns the JSON of the signals. Raises SpoolError: they cannot be read."""
        texts = self._folder.read(self._spans, self.ranges)
        if len(texts) < self.count:
            self.is_damaged = True
        return texts

    def done(self, key: str) -> None:
        """Forgets the batch: the service has stored or refused each of its signals."""
        self._folder.done(DoneLine(key, self.ranges), self.segments)


def _spans_of(places: Sequence[Place]) -> list[tuple[Segment, int, int]]:
    """The parts of files that hold the lines, as few as possible."""
    spans: list[tuple[Segment, int, int]] = []
    for place in sorted(places, key=lambda one: (one.segment.path, one.offset)):
        if spans and spans[-1][0] is place.segment and spans[-1][2] == place.offset:
            spans[-1] = (place.segment, spans[-1][1], place.offset + place.length)
        else:
            spans.append((place.segment, place.offset, place.offset + place.length))
    return spans
