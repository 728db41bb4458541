"""What a processor decides, without threads and without an event loop: its callers lock it.

add -> loose signals -> batch (ready) -> in flight -> settled
                           ^                 |
                           +---- waiting <---+   an attempt failed: again later, for the process's life
"""

from __future__ import annotations

import heapq
import itertools
import random
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Optional

from ..calls.call import wait_after
from ..spool.batch import KeptBatch
from ..spool.segments import Place
from .options import SettledOptions
from .stats import Counts, Stats

LONGEST_PAUSE_SECONDS = 60.0
"""The longest pause between two attempts of a batch. Each attempt retries by itself until its timeout."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""A Retry-After beyond this is more likely a mistake of something in front of the service."""


def pause_after(attempt: int, retry_after: float, chance: float) -> float:
    """Seconds before a batch is sent again: full jitter up to a minute, and at least what was asked for."""
    least = min(retry_after, LONGEST_RETRY_AFTER_SECONDS)
    return wait_after(attempt, least, chance, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True)
class Item:
    """An accepted signal, and where the spool has it."""

    text: bytes
    place: Optional[Place]


class Batch:
    """Signals that are sent under one key."""

    def __init__(self, key: str, texts: Optional[list[bytes]], count: int, size: int, since: float) -> None:
        self.key = key
        self.texts = texts
        """The JSON of the signals; None when only the spool has it."""
        self.count = count
        self.bytes = size
        self.since = since
        self.kept: Optional[KeptBatch] = None
        self.attempts = 0
        self.failed_cuts = 0
        self.not_before = 0.0
        """When the service said that it may be sent again."""


class Core:
    """The state of a processor."""

    def __init__(self, options: SettledOptions) -> None:
        self.options = options
        self.counts = Counts()
        self.outstanding: set[Batch] = set()
        self._loose: list[Item] = []
        self._loose_bytes = 0
        self._loose_since = 0.0
        self._ready: deque[Batch] = deque()
        self._waiting: list[tuple[float, int, Batch]] = []
        self._order = itertools.count()
        self._held = 0
        self._held_bytes = 0

    def has_room(self, size: int) -> bool:
        """Whether the memory takes a signal: an empty one takes any. With a spool, the disk is the bound."""
        if self.options.spool is not None or self._held == 0:
            return True
        is_in_count = self._held < self.options.max_buffered
        return is_in_count and self._held_bytes + size <= self.options.max_buffered_bytes

    def hold(self, count: int, size: int) -> None:
        """Counts signals in memory, or with negative numbers forgets them."""
        self._held += count
        self._held_bytes += size

    def take(self, item: Item, now: float) -> bool:
        """Takes an accepted signal, for which ``hold`` was called; returns whether a sender has to look."""
        size = len(item.text)
        if self._loose and self._loose_bytes + size > self.options.max_bytes:
            self.cut(now)
        is_first = not self._loose
        if is_first:
            self._loose_since = now
        self._loose.append(item)
        self._loose_bytes += size
        self.counts.accepted += 1
        is_full = len(self._loose) >= self.options.max_count or self._loose_bytes >= self.options.max_bytes
        # The loose signals fill the buffer: none can join them, and no batch makes room.
        is_stuck = not self.outstanding and not self.has_room(1)
        if is_full or is_stuck:
            self.cut(now)
        return is_first or bool(self._ready)

    def cut(self, now: float) -> None:
        """Makes a batch of the loose signals, under a key that stays the same for all its attempts."""
        if not self._loose:
            return
        items, self._loose, size, self._loose_bytes = self._loose, [], self._loose_bytes, 0
        texts = [item.text for item in items]
        batch = Batch(str(uuid.uuid4()), texts, len(items), size, self._loose_since)
        if self.options.spool is not None:
            batch.kept = self.options.spool.batch([item.place for item in items if item.place is not None])
        self._put(batch)

    def recover(self, kept: KeptBatch, key: Optional[str], now: float) -> None:
        """Takes what an earlier run left in the spool."""
        batch = Batch(key or str(uuid.uuid4()), None, kept.count, kept.bytes, now)
        batch.kept = kept
        self.counts.recovered += kept.count
        self._put(batch)

    def _put(self, batch: Batch) -> None:
        self.outstanding.add(batch)
        self._ready.append(batch)
        self._let_go(batch)

    def _let_go(self, batch: Batch) -> None:
        """Leaves a batch to the spool alone when the memory is full."""
        is_over = self._held > self.options.max_buffered or self._held_bytes > self.options.max_buffered_bytes
        if is_over and batch.kept is not None and batch.texts is not None:
            self.hold(-batch.count, -batch.bytes)
            batch.texts = None

    def remember(self, batch: Batch, texts: list[bytes]) -> None:
        """Takes the signals of a batch that were read from the spool."""
        batch.texts = texts
        batch.count = len(texts)
        batch.bytes = sum(len(text) for text in texts)
        self.hold(batch.count, batch.bytes)

    def next(self, now: float) -> Optional[Batch]:
        """Returns the batch to send now, if there is one."""
        if self._loose and now >= self._loose_since + self.options.max_wait_seconds:
            self.cut(now)
        if self._waiting and self._waiting[0][0] <= now:
            return heapq.heappop(self._waiting)[2]
        return self._ready.popleft() if self._ready else None

    def seconds_to_next(self, now: float) -> Optional[float]:
        """How long until ``next`` has a batch; None when nothing waits."""
        if self._ready:
            return 0.0
        times = [self._waiting[0][0]] if self._waiting else []
        if self._loose:
            times.append(self._loose_since + self.options.max_wait_seconds)
        return max(0.0, min(times) - now) if times else None

    @property
    def due(self) -> int:
        """Batches that are ready to be sent."""
        return len(self._ready)

    def hurry(self, now: float) -> None:
        """Makes everything due, except what the service asked to send later."""
        self.cut(now)
        self._waiting = [(max(now, batch.not_before), order, batch) for _, order, batch in self._waiting]
        heapq.heapify(self._waiting)

    def later(self, batch: Batch, now: float, retry_after: float = 0.0) -> float:
        """Puts a batch back after an attempt that failed, and returns its pause."""
        batch.attempts += 1
        self.counts.retried += 1
        batch.not_before = now + min(retry_after, LONGEST_RETRY_AFTER_SECONDS)
        pause = pause_after(batch.attempts, retry_after, random.random())
        heapq.heappush(self._waiting, (now + pause, next(self._order), batch))
        self._let_go(batch)
        return pause

    def is_given_up(self, batch: Batch, now: float) -> bool:
        """Whether a batch was tried for long enough."""
        return batch.kept is None and now - batch.since >= self.options.give_up_seconds

    def settle(self, batch: Batch) -> None:
        """Forgets a batch."""
        if batch not in self.outstanding:
            return
        self.outstanding.remove(batch)
        if batch.texts is not None:
            self.hold(-batch.count, -batch.bytes)

    def stats(self, now: float, spool_bytes: int) -> Stats:
        """The counts, and what is pending."""
        pending = sum(batch.count for batch in self.outstanding) + len(self._loose)
        size = sum(batch.bytes for batch in self.outstanding) + self._loose_bytes
        since = [batch.since for batch in self.outstanding] + ([self._loose_since] if self._loose else [])
        return self.counts.snapshot(pending, size, now - min(since) if since else None, spool_bytes)
