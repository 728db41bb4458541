"""Locks a folder for one process until it releases the lock or ends, even by a crash."""

from __future__ import annotations

import os
import sys
from typing import Optional

_NAME = "lock"


class FolderLock:
    """A lock that this process holds."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._pid = os.getpid()

    def release(self, *, remove: bool = False) -> None:
        """Releases the lock. ``remove`` takes the file away first, so that the folder can be removed."""
        if self._descriptor < 0:
            return
        if remove and self._pid == os.getpid():
            try:
                os.unlink(self._path)
            except OSError:
                pass
        os.close(self._descriptor)
        self._descriptor = -1

    def abandon(self) -> None:
        """Gives up the lock of a parent in a forked child: the parent keeps it."""
        # The child's copy of the descriptor would hold the lock beyond the parent's end.
        self.release()


def try_lock(folder: str) -> Optional[FolderLock]:
    """Locks a folder; None when another process, or this one, has it. Works between processes of one machine.

    Raises OSError: the folder cannot be read or written.
    """
    path = os.path.join(folder, _NAME)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except FileNotFoundError:
            return None  # its last holder has removed the folder
        try:
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            # The last holder may have removed the file in the meantime.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return FolderLock(descriptor, path)
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return False
else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
