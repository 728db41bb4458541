"""A spool: folders of processes below one folder."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from ..base.callbacks import call_safely, log
from ..base.errors import ClosedError, SpoolError
from ..base.options import check_count
from .batch import KeptBatch
from .disk import make_folder, sync_folder
from .folder import Limits, SpoolFolder
from .lines import DamagedLine
from .lock import try_lock
from .segments import Place

DEFAULT_MAX_BYTES = 256 * 1024**2
DEFAULT_MIN_FREE_BYTES = 1024**2
MAX_PROCESSES = 9999


@dataclass
class Recovered:
    """What earlier runs have left: batches under their keys, and signals without a batch by their folder."""

    batches: list[KeptBatch]
    loose: list[tuple[SpoolFolder, list[Place]]]


class Spool:
    """Keeps the signals that a BatchProcessor has accepted on disk until the service has them.

    Each process has a folder of its own below ``folder``. A process that opens the spool takes over the
    folders of processes that have ended. Use a local disk: the locks do not work between machines (NFS, SMB).

    folder: is created when it does not exist. max_bytes: bytes of this process beyond which ``add`` waits,
    1 MiB to 16 GiB. on_damage: receives each damaged line; default: a warning of the logger signal_ingest.
    min_free_bytes: free bytes of the disk below which ``add`` raises SpoolError; default: 1 MiB.
    """

    def __init__(
        self,
        folder: Union[str, os.PathLike[str]],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        min_free_bytes: int = DEFAULT_MIN_FREE_BYTES,
        on_damage: Optional[Callable[[DamagedLine], None]] = None,
    ) -> None:
        self.folder = os.path.abspath(os.fspath(folder))
        self.max_bytes = check_count("max_bytes", max_bytes, 1024**2, 16 * 1024**3)
        self._on_damage = on_damage or _warn
        self._min_free_bytes = check_count("min_free_bytes", min_free_bytes, 0, 1024**4)
        self._own: Optional[SpoolFolder] = None
        self._adopted: list[SpoolFolder] = []
        self._lock = threading.Lock()

    def open(self) -> Recovered:
        """Takes a folder for this process, and the folders of processes that have ended.

        Raises SpoolError: the folder cannot be read or written.
        """
        try:
            make_folder(self.folder)
            names = sorted(name for name in os.listdir(self.folder) if re.fullmatch(r"\d{4}", name))
            for name in names:
                taken = self._take(name)
                if taken is None:
                    continue
                if self._own is None:
                    self._own = taken
                elif taken.size:
                    self._adopted.append(taken)
                else:
                    taken.close()
            if self._own is None:
                self._own = self._make(set(names))
        except OSError as error:
            self.close()
            raise SpoolError(f"The spool {self.folder} cannot be opened: {error}") from error
        return self._recover()

    def append(self, text: bytes) -> Place:
        """Keeps a signal: it is durable when this returns. Raises SpoolError, ClosedError: it is not kept."""
        return self._opened().append(text)

    def append_many(self, texts: Sequence[bytes]) -> list[Place]:
        """Keeps signals, all or none."""
        return self._opened().append_many(texts)

    def batch(self, places: Sequence[Place]) -> KeptBatch:
        """A batch of signals that this process keeps. It has no key until it is cut."""
        return KeptBatch(self._opened(), places)

    def has_room(self, size: int) -> bool:
        """Whether a signal of ``size`` bytes may be kept."""
        used = self.size
        return used + size <= self.max_bytes or used == 0

    @property
    def size(self) -> int:
        """Bytes on disk of this process, with those of the folders that it took over."""
        return sum(one.size for one in [self._own, *self._adopted] if one is not None)

    def release_adopted(self) -> None:
        """Removes the folders that were taken over and are empty now."""
        with self._lock:
            for one in list(self._adopted):
                if one.size == 0:
                    self._adopted.remove(one)
                    one.close()

    def close(self) -> None:
        """Releases the folders; those that are empty are removed. Can be called more than once."""
        with self._lock:
            folders = [one for one in [self._own, *self._adopted] if one is not None]
            self._own, self._adopted = None, []
        for one in folders:
            one.close()

    def abandon(self) -> None:
        """Leaves the folders to the parent, in a forked child. ``open`` then takes others."""
        for one in [self._own, *self._adopted]:
            if one is not None:
                one.abandon()
        self._own, self._adopted = None, []
        self._lock = threading.Lock()

    def _opened(self) -> SpoolFolder:
        if self._own is None:
            raise ClosedError(f"The spool {self.folder} is closed.")
        return self._own

    def _take(self, name: str) -> Optional[SpoolFolder]:
        path = os.path.join(self.folder, name)
        lock = try_lock(path)
        if lock is None:
            return None
        try:
            segment_bytes = min(8 * 1024**2, self.max_bytes // 16)
            limits = Limits(segment_bytes, self._min_free_bytes)
            return SpoolFolder(path, lock, limits, lambda line: call_safely(self._on_damage, line))
        except BaseException:
            lock.release()
            raise

    def _make(self, taken: set[str]) -> SpoolFolder:
        for number in range(1, MAX_PROCESSES + 1):
            name = f"{number:04d}"
            if name in taken:
                continue
            try:
                os.mkdir(os.path.join(self.folder, name), 0o700)
                sync_folder(self.folder)
            except FileExistsError:
                pass  # another process makes it, or has just made it
            made = self._take(name)
            if made is not None:
                return made
        raise OSError(f"{MAX_PROCESSES} processes use it already")

    def _recover(self) -> Recovered:
        recovered = Recovered([], [])
        for folder in [self._opened(), *self._adopted]:
            found, folder.found = folder.found, None
            if found is None:
                continue
            recovered.batches += [KeptBatch(folder, one.places, one) for one in found.batches]
            if found.loose:
                recovered.loose.append((folder, found.loose))
        return recovered


def _warn(damaged: DamagedLine) -> None:
    log.warning("The spool skips a damaged line: %s, line %d: %s", damaged.path, damaged.line, damaged.text)
