"""The ends of processes: exit, fork, and the ends of multiprocessing's children."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol


class Ending(Protocol):
    """A processor, as the end of its process sees it."""

    exit_timeout_seconds: float

    def _end_at_exit(self, ends_at: float) -> None: ...

    def _forget_parent(self) -> None: ...


class _Anchor:
    """What multiprocessing holds weakly while a function shall run in its children."""


_processors: set[Any] = set()
"""Those that are not closed. They are held: one that nobody else holds may have accepted signals."""
_anchor = _Anchor()
_told: set[str] = set()
_watched_pid = 0
_has_hooks = False
_hooks = 0
"""How many exit hooks the process had with ours."""


def watch(processor: Ending) -> None:
    """Settles a processor at the end of this process, and makes it begin anew in a forked child."""
    global _has_hooks
    _processors.add(processor)
    if not _has_hooks:
        _has_hooks = True
        _register()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
    watch_child()


def forget(processor: Ending) -> None:
    """Ends the watch of a processor that is closed."""
    _processors.discard(processor)


def watch_child() -> None:
    """Registers with multiprocessing, whose children call no atexit hook. Called in each process."""
    global _watched_pid
    if _watched_pid == os.getpid():
        return
    _watched_pid = os.getpid()
    if _count_hooks() < _hooks:
        _register()  # Airflow clears the hooks of a task's process, and calls those that it adds
    for name in ("multiprocessing.util", "billiard.util"):  # billiard is Celery's
        util = sys.modules.get(name)
        if util is None:
            continue
        util.Finalize(None, _at_exit, exitpriority=0)
        if name not in _told:
            _told.add(name)
            util.register_after_fork(_anchor, _watch_again)
    celery = sys.modules.get("celery.signals")
    if celery is not None:  # its children end by os._exit, after this signal
        celery.worker_process_shutdown.connect(_at_celery_exit, weak=False, dispatch_uid=__name__)


def _register() -> None:
    global _hooks
    atexit.register(_at_exit)
    _hooks = _count_hooks()


def _count_hooks() -> int:
    count: Callable[[], int] = getattr(atexit, "_ncallbacks", lambda: _hooks)
    return count()


def _watch_again(_: _Anchor) -> None:
    # A child forgets the finalizers that were registered before its target began: with the method
    # forkserver, also those of the module that it has just loaded.
    global _watched_pid
    _watched_pid = 0
    watch_child()


def tell_left(count: int, is_kept: bool) -> None:
    """Counts on stderr what a process leaves behind: at its exit, a logger may be gone."""
    if count:
        where = "The spool keeps them." if is_kept else "They are lost."
        print(
            f"signal_ingest: {count} accepted signals were not sent before the exit. {where}", file=sys.stderr
        )


def _at_exit() -> None:
    # One bound for all processors of the process.
    longest = max((one.exit_timeout_seconds for one in list(_processors)), default=0.0)
    ends_at = time.monotonic() + longest
    for processor in list(_processors):
        processor._end_at_exit(ends_at)


def _at_celery_exit(**_: object) -> None:
    _at_exit()


def _after_fork() -> None:
    for processor in list(_processors):
        processor._forget_parent()
