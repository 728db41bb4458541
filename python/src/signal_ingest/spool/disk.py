"""Durable writes."""

from __future__ import annotations

import os
import sys
from typing import Optional

RESERVE_BYTES = 64 * 1024
"""Space that lines of batches can always use: given up when the disk is full."""

_NAME = "reserve"


def sync_data(descriptor: int) -> None:
    """Makes what was written to a file durable."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_file(path: str) -> None:
    """Makes what was written to a closed file durable."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        sync_data(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: str) -> None:
    """Makes new and removed names of a folder durable. Windows has no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str) -> None:
    """Creates a folder durably: syncs the parent of each folder that is new."""
    missing = []
    at = os.path.abspath(path)
    while not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    os.makedirs(path, mode=0o700, exist_ok=True)
    for made in reversed(missing):
        sync_folder(os.path.dirname(made))


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all bytes, or raises OSError when some are not written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def free_bytes(folder: str) -> Optional[int]:
    """Bytes that this user can still write; None where the system does not say."""
    try:
        state = os.statvfs(folder)
    except (AttributeError, OSError):
        return None
    return state.f_bavail * state.f_frsize


class Reserve:
    """A file that holds space on the disk for the time when the disk is full."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, _NAME)
        self.is_held = False

    def hold(self) -> bool:
        """Takes the space, if the disk has it; returns whether it is held."""
        if self.is_held:
            return True
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                # Real bytes: a hole would hold no space.
                write_all(descriptor, b"\1" * RESERVE_BYTES)
                sync_data(descriptor)
                self.is_held = True
            finally:
                os.close(descriptor)
        except OSError:
            self.give_up()
        return self.is_held

    def give_up(self) -> None:
        """Frees the space."""
        self.is_held = False
        try:
            os.unlink(self._path)
        except OSError:
            pass
