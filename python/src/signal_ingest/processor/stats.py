"""What a processor counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Optional

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram of batches, in seconds."""


@dataclass(frozen=True)
class Stats:
    """Counts since the processor began, and what it holds now.

    ``accepted`` and ``recovered`` (what an earlier run left in the spool) are together the sum of stored,
    duplicates, failed, undelivered and pending.
    """

    accepted: int
    recovered: int
    stored: int
    duplicates: int
    failed: dict[str, int]
    undelivered: int
    dropped: int
    retried: int
    pending: int
    pending_bytes: int
    oldest_seconds: float
    spool_bytes: int
    batches: int
    batch_seconds: float
    latency: tuple[int, ...]
    """Batches up to each of LATENCY_BUCKETS, and all."""


@dataclass
class Counts:
    """The counts while they grow."""

    accepted: int = 0
    recovered: int = 0
    stored: int = 0
    duplicates: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    undelivered: int = 0
    dropped: int = 0
    retried: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS) + 1))

    def note_batch(self, count: int, failed: Counter[str], duplicates: int, seconds: float) -> None:
        """Counts a batch that the service has answered."""
        self.failed += failed
        self.duplicates += duplicates
        self.stored += count - duplicates - sum(failed.values())
        self.batches += 1
        self.batch_seconds += seconds
        for at, bound in enumerate(LATENCY_BUCKETS):
            self.latency[at] += seconds <= bound
        self.latency[-1] += 1

    def snapshot(self, pending: int, pending_bytes: int, oldest: Optional[float], spool_bytes: int) -> Stats:
        """The counts as they are now."""
        return Stats(
            accepted=self.accepted,
            recovered=self.recovered,
            stored=self.stored,
            duplicates=self.duplicates,
            failed=dict(self.failed),
            undelivered=self.undelivered,
            dropped=self.dropped,
            retried=self.retried,
            pending=pending,
            pending_bytes=pending_bytes,
            oldest_seconds=oldest or 0.0,
            spool_bytes=spool_bytes,
            batches=self.batches,
            batch_seconds=self.batch_seconds,
            latency=tuple(self.latency),
        )
