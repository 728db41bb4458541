"""One folder of a spool: appends signals durably, and forgets batches that are done."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional

from ..base.errors import ClosedError, SpoolError
from .batch import KeptBatch
from .disk import Reserve, free_bytes, sync_data, sync_file, sync_folder, write_all
from .lines import CutLine, DamagedLine, DoneLine, SignalLine, encode_line, read_lines
from .lock import FolderLock
from .segments import Found, Place, Segment, needed_done, read_folder, segment_path

SEGMENT_BYTES = 8 * 1024**2
"""A new file is begun after this many bytes, so that old ones can be removed."""


@dataclass(frozen=True)
class Limits:
    """When a new file begins, and how much of the disk stays free."""

    segment_bytes: int = SEGMENT_BYTES
    min_free_bytes: int = 0


class SpoolFolder:
    """Threads may use it at once. Every error of the disk is a SpoolError."""

    def __init__(
        self, path: str, lock: FolderLock, limits: Limits, on_damage: Callable[[DamagedLine], None]
    ) -> None:
        self.path = path
        self._lock = lock
        self._on_damage = on_damage
        self._segment_bytes = limits.segment_bytes
        self._min_free_bytes = limits.min_free_bytes
        self._changed = threading.Condition(threading.Lock())
        self._is_writing = False
        self._queue: list[_Waiting] = []
        self._file: Optional[int] = None
        self._unwritten: list[DoneLine] = []
        self._is_closed = False
        found = read_folder(path, on_damage)
        self._segments: list[Segment] = found.segments
        self._next_file = found.next_file
        self._next_sequence = found.next_sequence
        self.found: Optional[Found] = found
        self._reserve = Reserve(path)
        self._sweep()
        self._reserve.hold()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(segment.size for segment in list(self._segments))

    def append(self, text: bytes) -> Place:
        """Keeps a signal: it is durable when this returns. Threads that call it at once share a sync."""
        waiting = _Waiting(text)
        with self._changed:
            self._queue.append(waiting)
            while self._is_writing and not waiting.is_settled:
                self._changed.wait()
            if waiting.is_settled:
                return waiting.result()
            self._is_writing = True
            group, self._queue = self._queue, []
        try:
            error: Optional[BaseException] = None
            places: Sequence[Optional[Place]] = [None] * len(group)
            try:
                places = self._append([one.text for one in group])
            except BaseException as thrown:
                error = thrown
            shared = error if isinstance(error, Exception) else SpoolError("Another thread was interrupted.")
            for one, place in zip(group, places):
                one.settle(place, (error if one is waiting else shared) if error else None)
        finally:
            self._end_writing()
        return waiting.result()

    def append_many(self, texts: Sequence[bytes]) -> list[Place]:
        """Keeps signals with one sync: all or none."""
        self._begin_writing()
        try:
            return self._append(texts)
        finally:
            self._end_writing()

    def batches_of(self, places: Sequence[Place], max_count: int, max_bytes: int) -> list[KeptBatch]:
        """Makes batches of signals of an earlier run that are in no batch."""
        batches: list[list[Place]] = []
        size = 0
        for place in places:
            size += place.length
            if not batches or len(batches[-1]) >= max_count or size > max_bytes:
                batches.append([])
                size = place.length
            batches[-1].append(place)
        return [KeptBatch(self, batch) for batch in batches]

    def write_cut(self, line: CutLine) -> Segment:
        """Writes the line of a batch durably; on a full disk, it takes the space of the reserve.

        Returns the file, which is kept as long as the batch: without its line, its signals would be sent
        under another key.
        """
        self._begin_writing()
        try:
            segment, _ = self._write(encode_line(line), from_reserve=True)
            segment.open += 1
            return segment
        finally:
            self._end_writing()

    def done(self, line: DoneLine, segments: Counter[Segment]) -> None:
        """Notes that signals are done, and removes the files that are no longer needed. Never fails.

        The line is not synced: if a crash loses it, the batch is sent again under its key.
        """
        self._begin_writing(even_closed=True)
        try:
            for segment, count in segments.items():
                segment.open -= count
            if self._is_closed:
                return
            self._unwritten.append(line)
            self._sweep()
            if self._unwritten:
                try:
                    self._write(b"", sync=False)
                except SpoolError:
                    pass  # written later; until then a crash sends the batch again under its key
            self._sweep_between()
        finally:
            self._end_writing()

    def read(
        self, spans: Sequence[tuple[Segment, int, int]], ranges: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Returns the signals of ranges that are in spans of files."""
        texts: dict[int, bytes] = {}
        try:
            for segment, start, end in spans:
                with open(segment.path, "rb") as file:
                    file.seek(start)
                    data = file.read(end - start)
                for _, _, entry, number, text in read_lines(data if data.endswith(b"\n") else data + b"\n"):
                    if isinstance(entry, SignalLine):
                        texts[entry.sequence] = entry.text
                    elif entry is None:
                        self._on_damage(
                            DamagedLine(segment.path, number, text[:1000].decode("utf-8", "replace"))
                        )
        except OSError as error:
            raise SpoolError(f"The spool {self.path} cannot be read: {error}") from error
        return [texts[one] for first, last in ranges for one in range(first, last + 1) if one in texts]

    def close(self) -> bool:
        """Ends the use of the folder; returns whether it was empty and is removed."""
        self._begin_writing(even_closed=True)
        try:
            if self._is_closed:
                return False
            self._is_closed = True
            self._close_file()
            self._reserve.give_up()
            self._sweep()
            is_empty = not self._segments
            self._lock.release(remove=is_empty)
            if is_empty:
                try:
                    os.rmdir(self.path)
                except OSError:
                    return False
            return is_empty
        finally:
            self._end_writing()

    def abandon(self) -> None:
        """Leaves the folder to the parent, in a forked child."""
        self._is_closed = True
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._lock.abandon()

    def _begin_writing(self, even_closed: bool = False) -> None:
        with self._changed:
            while self._is_writing:
                self._changed.wait()
            if self._is_closed and not even_closed:
                raise ClosedError(f"The spool {self.path} is closed.")
            self._is_writing = True

    def _end_writing(self) -> None:
        with self._changed:
            self._is_writing = False
            self._changed.notify_all()

    def _append(self, texts: Sequence[bytes]) -> list[Place]:
        if self._is_closed:
            raise ClosedError(f"The spool {self.path} is closed.")
        if not self._has_space():
            self._sweep(even_small=True)  # a small file of signals that are done may be all that is left
        if not self._has_space():
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise SpoolError(
                f"The disk of the spool {self.path} has less than {self._min_free_bytes} bytes free "
                "(min_free_bytes), or no room for the reserve."
            ) from cause
        first = self._next_sequence
        lines = [encode_line(SignalLine(first + at, text)) for at, text in enumerate(texts)]
        # No number is used twice: a line that the disk refused and kept must not stand for another signal.
        self._next_sequence = first + len(lines)
        try:
            segment, offset = self._write(b"".join(lines))
        except SpoolError:
            last = first + len(lines) - 1
            self._unwritten.append(DoneLine("", ((first, last),)))
            if self._segments:
                self._segments[-1].note(first, last)
            raise
        segment.open += len(lines)
        segment.note(first, first + len(lines) - 1)
        places = []
        for at, line in enumerate(lines):
            places.append(Place(first + at, segment, offset, len(line)))
            offset += len(line)
        return places

    def _has_space(self) -> bool:
        free = free_bytes(self.path)
        return self._reserve.hold() and (free is None or free >= self._min_free_bytes)

    def _write(self, data: bytes, sync: bool = True, from_reserve: bool = False) -> tuple[Segment, int]:
        """Appends bytes, behind the done lines that wait. Returns the file and where the bytes begin."""
        try:
            return self._write_once(data, sync)
        except OSError as error:
            if (
                not from_reserve
                or error.errno not in (errno.ENOSPC, errno.EDQUOT)
                or not self._reserve.is_held
            ):
                raise SpoolError(f"The spool {self.path} cannot be written: {error}") from error
        self._reserve.give_up()
        try:
            return self._write_once(data, sync, with_waiting=False)
        except OSError as error:
            raise SpoolError(f"The spool {self.path} cannot be written: {error}") from error

    def _write_once(self, data: bytes, sync: bool, with_waiting: bool = True) -> tuple[Segment, int]:
        file, segment = self._current()
        done = list(self._unwritten) if with_waiting else []
        waiting = b"".join(map(encode_line, done))
        try:
            write_all(file, waiting + data)
            if sync:
                sync_data(file)
            segment.is_synced = sync
        except OSError:
            self._repair(file, segment)
            raise
        if with_waiting:
            self._unwritten.clear()
            segment.done += [one for line in done for one in line.ranges]
        offset = segment.size + len(waiting)
        segment.size = offset + len(data)
        if segment.size >= self._segment_bytes:
            self._close_file()
        return segment, offset

    def _current(self) -> tuple[int, Segment]:
        if self._file is not None:
            return self._file, self._segments[-1]
        path = segment_path(self.path, self._next_file)
        self._next_file += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
        self._segments.append(Segment(path))
        sync_folder(self.path)
        return self._file, self._segments[-1]

    def _repair(self, file: int, segment: Segment) -> None:
        """After a failed write: cuts the file at its last good byte. The next line begins a new one."""
        try:
            os.ftruncate(file, segment.size)
            os.fsync(file)
        except OSError:
            pass  # a half line is skipped when the file is read; a whole one is noted as done
        self._close_file()
        if segment.size == 0 and self._segments[-1] is segment:
            try:
                os.unlink(segment.path)  # each try on a full disk would leave an empty file
                self._segments.pop()
            except OSError:
                pass  # removed later
        self._sweep()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _sweep(self, even_small: bool = False) -> None:
        """Removes files without a signal that is needed, oldest first: a done line outlives its signals."""
        while self._segments and self._segments[0].open == 0:
            segment = self._segments[0]
            if self._file is not None and segment is self._segments[-1]:
                is_small = segment.size < self._segment_bytes // 2
                if is_small and self._reserve.is_held and not even_small:
                    return
                self._close_file()
            try:
                os.unlink(segment.path)
            except FileNotFoundError:
                pass
            except OSError:
                return
            self._segments.pop(0)
            if not self._segments:
                self._unwritten.clear()  # every signal that they speak of is gone

    def _sweep_between(self) -> None:
        """Removes files between needed ones, so that a batch that waits long does not fill the disk."""
        for segment in [one for one in self._segments[:-1] if one.open == 0]:
            try:
                needed = needed_done(segment, self._segments)
                if needed or self._unwritten:
                    written, _ = self._write(encode_line(DoneLine("", tuple(needed))) if needed else b"")
                    written.done += needed
                # The line of a batch that is done must not go before it is durable that the batch is done.
                for one in self._segments:
                    if not one.is_synced:
                        sync_file(one.path)
                        one.is_synced = True
                os.unlink(segment.path)
            except (OSError, SpoolError):
                return  # tried again when the next batch is done
            self._segments.remove(segment)


class _Waiting:
    """A signal that waits to be written with others."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.is_settled = False
        self._place: Optional[Place] = None
        self._error: Optional[BaseException] = None

    def settle(self, place: Optional[Place], error: Optional[BaseException]) -> None:
        self._place, self._error = place, error
        self.is_settled = True

    def result(self) -> Place:
        if self._error is not None:
            raise self._error
        assert self._place is not None
        return self._place
