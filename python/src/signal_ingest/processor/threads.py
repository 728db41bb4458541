"""The processor for threads."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from ..base.callbacks import call_safely, log
from ..base.encode import encode_signal
from ..base.errors import BufferFull, ClosedError, DeadlineError, UndeliveredError
from ..base.options import check_client, check_timeout, is_frozen_between_calls
from ..base.pickling import NotPickled
from ..base.types import Signal
from ..client import SignalClient
from ..processor import attempt as attempts
from ..processor import exits
from .core import Batch, Core, Item
from .options import Options, Undelivered, settle
from .stats import Stats

if TYPE_CHECKING:
    from typing_extensions import Unpack  # known to every type checker; not needed to run

IDLE_SECONDS = 10.0
"""A thread that has had nothing to do for so long ends. The next ``add`` starts another."""

INLINE_SECONDS = 3.0
"""How long ``add`` sends by itself where there is no thread. The rest waits for the next call."""

_starting = threading.RLock()


class BatchProcessor(NotPickled):
    """Gathers signals into batches and sends several at once, from threads of its own.

    Every signal that ``add`` has accepted is stored, or reported to ``on_failure`` or ``on_undelivered``. It
    sends for the life of the process; at its exit it waits up to ``exit_timeout_seconds``.

    >>> with BatchProcessor(client, spool="/var/lib/my-bridge/spool") as processor:
    ...     processor.add({"context_window_id": "conv-123", "raw_content": "Ready to sync"})
    """

    def __init__(
        self, client: SignalClient, *, background: Optional[bool] = None, **options: Unpack[Options]
    ) -> None:
        """Takes a client and Options.

        ``background=False`` starts no thread: ``add``, ``flush`` and ``settled`` send. This is the default
        where calls freeze the process (AWS Lambda). Raises ValueError for an option, and SpoolError.
        """
        self._client = check_client(client, SignalClient)
        self._options = settle(options)
        self.exit_timeout_seconds = self._options.exit_timeout_seconds
        self._caller = client.operations.caller
        self._has_threads = not is_frozen_between_calls() if background is None else background
        self._is_closed = False
        self._start()
        exits.watch(self)

    def _start(self) -> None:
        """Begins in this process: everything that a lock, a thread or a file belongs to is its own."""
        self._core = Core(self._options)
        lock = threading.RLock()
        self._lock = lock
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._stop = threading.Event()
        self._workers: set[threading.Thread] = set()
        self._idle = 0
        self._can_start = True
        self._error: Optional[UndeliveredError] = None
        self._pid = os.getpid()
        spool = self._options.spool
        if spool is not None and not self._is_closed:
            kept = attempts.recover(self._core, spool, self._caller, self._now())
            if kept is not None:
                self._report(kept)
            if self._core.outstanding:
                with self._lock:
                    self._wake()

    def _ensure(self) -> None:
        """Begins anew in a child that was forked: what the parent has accepted, the parent sends."""
        if self._pid != os.getpid():
            with _starting:
                if self._pid != os.getpid():
                    if self._options.spool is not None:
                        self._options.spool.abandon()
                    self._start()
            exits.watch_child()

    def _forget_parent(self) -> None:
        global _starting
        _starting = threading.RLock()
        if self._options.spool is not None:
            # Else the child would hold the parent's lock beyond its end.
            self._options.spool.abandon()
        self._pid = -1

    def _now(self) -> float:
        return self._client.clock.monotonic()

    def add(self, signal: Signal, *, timeout: Optional[float] = -1.0) -> bool:
        """Accepts a signal: it is buffered, or on disk with a spool. The caller may change it afterwards.

        Waits while the buffer or the spool is full, up to ``timeout`` seconds (default: add_timeout_seconds;
        None: without an end). Returns True; with ``when_full="drop"``, False when the signal was dropped.

        Raises InvalidSignalError: a value has no JSON form. Raises BufferFull: there was no room in time.
        Raises ClosedError, SpoolError. After an error the signal is not accepted.
        """
        timeout = self._options.add_timeout_seconds if timeout == -1.0 else check_timeout("timeout", timeout)
        return self._add(encode_signal(signal), timeout, self._options.when_full == "drop")

    def add_or_drop(self, signal: Signal) -> bool:
        """As ``add`` with ``when_full="drop"``: returns False when the signal was dropped, and counts it."""
        return self._add(encode_signal(signal), None, True)

    def _add(self, text: bytes, timeout: Optional[float], drops: bool) -> bool:
        self._ensure()
        if not self._enter(len(text), timeout, drops):
            return False
        try:
            spool = self._options.spool
            item = Item(text, spool.append(text) if spool is not None else None)
            with self._lock:
                if self._core.take(item, self._now()):
                    self._wake()
        except BaseException:
            with self._lock:
                self._core.hold(-1, -len(text))
                self._room.notify_all()
            raise
        if not self._has_threads or not self._can_start:
            self._send_due(self._now() + INLINE_SECONDS)
        return True

    def _enter(self, size: int, timeout: Optional[float], drops: bool) -> bool:
        """Waits for room and takes it. Returns False when the signal is dropped."""
        ends_at = None if timeout is None else self._now() + timeout
        spool = self._options.spool
        with self._lock:
            while True:
                if self._is_closed:
                    raise ClosedError("The BatchProcessor is closed and accepts no more signals.")
                if self._core.has_room(size) and (spool is None or spool.has_room(size)):
                    self._core.hold(1, size)
                    return True
                if drops:
                    self._core.counts.dropped += 1
                    return False
                left = None if ends_at is None else ends_at - self._now()
                if (left is not None and left <= 0) or threading.current_thread() in self._workers:
                    what = "buffer" if spool is None else f"spool {spool.folder}"
                    raise BufferFull(
                        f"The {what} is full: the service has taken too few signals for {timeout or 0:g} s. "
                        "The signal was not accepted."
                    )
                if self._has_threads and self._can_start:
                    self._wake()
                    self._client.clock.wait_for(self._room, left)
                elif not self._send_next(left):
                    self._client.clock.wait_for(self._room, 0.01)

    def _wake(self) -> None:
        """Has a thread look for work. Locked."""
        if not self._has_threads or self._stop.is_set():
            return
        wanted = max(1, min(self._core.due, self._options.max_in_flight))
        self._work.notify(wanted)
        while self._idle < wanted and len(self._workers) < self._options.max_in_flight and self._can_start:
            worker = threading.Thread(target=self._run, name="signal-ingest", daemon=True)
            self._workers.add(worker)
            wanted -= 1
            try:
                worker.start()
            except RuntimeError:
                # The interpreter is ending, or the system has no thread: this thread sends, or the spool
                # keeps.
                self._workers.discard(worker)
                self._can_start = False

    def _run(self) -> None:
        lock, workers = self._lock, self._workers
        try:
            while (batch := self._await_batch()) is not None:
                self._attempt(batch, None)
        finally:
            with lock:
                workers.discard(threading.current_thread())

    def _await_batch(self) -> Optional[Batch]:
        idle_since = time.monotonic()
        with self._lock:
            while not self._stop.is_set():
                now = self._now()
                batch = self._core.next(now)
                if batch is not None:
                    return batch
                seconds = self._core.seconds_to_next(now)
                if seconds is None and time.monotonic() - idle_since >= IDLE_SECONDS:
                    # Within the lock: an add that follows sees that it needs another thread.
                    self._workers.discard(threading.current_thread())
                    return None
                self._idle += 1
                try:
                    if seconds is None:
                        self._work.wait(IDLE_SECONDS)
                    else:
                        self._client.clock.wait_for(self._work, seconds)
                finally:
                    self._idle -= 1
            return None

    def _attempt(self, batch: Batch, timeout: Optional[float]) -> None:
        """Makes one attempt. Never raises an Exception."""
        started = time.monotonic()
        try:
            texts = attempts.load(batch, self._caller)
            with self._lock:
                if batch.texts is None:
                    self._core.remember(batch, texts)
            attempt = attempts.begin(batch, texts, self._options, timeout)
            self._client.run(attempt.steps(self._client.operations), self._stop)
        except Exception as error:
            with self._lock:
                told = attempts.fail(self._core, batch, error, self._now())
                self._room.notify_all()
            if isinstance(told, Undelivered):
                self._give_up(batch, told)
            elif told is not None:
                call_safely(self._options.on_retry, told)
            return
        seconds = time.monotonic() - started
        if batch.kept is not None:
            batch.kept.done(batch.key)
        # Before the batch is settled: flush returns when its callbacks have been called.
        attempts.tell_success(attempt, self._options, seconds)
        with self._lock:
            attempts.succeed(self._core, attempt, seconds)
            self._room.notify_all()
        if self._options.spool is not None:
            self._options.spool.release_adopted()

    def _give_up(self, batch: Batch, undelivered: Undelivered) -> None:
        # Before the batch is settled: flush returns, or raises, when it has been reported.
        self._report(undelivered)
        if batch.kept is not None:
            batch.kept.done(batch.key)
        with self._lock:
            attempts.give_up(self._core, batch)
            self._room.notify_all()

    def _report(self, undelivered: Undelivered) -> None:
        if self._options.on_undelivered is not None:
            call_safely(self._options.on_undelivered, undelivered)
            return
        error = attempts.undelivered_error(undelivered)
        log.warning("%s", error)
        if not undelivered.kept and self._error is None:
            self._error = error

    def _send_next(self, timeout: Optional[float]) -> bool:
        """Sends a batch that is due from this thread; returns whether there was one."""
        with self._lock:
            batch = self._core.next(self._now())
        if batch is None:
            return False
        self._attempt(batch, timeout)
        return True

    def _send_due(self, ends_at: float) -> None:
        """Sends what is due from this thread, until a batch has to wait for the service."""
        while self._core.due and self._now() < ends_at:
            retried = self._core.counts.retried
            if not self._send_next(max(0.001, ends_at - self._now())) or self._core.counts.retried > retried:
                return

    def flush(self, timeout: Optional[float] = 60.0) -> bool:
        """Sends at once what is accepted, and waits for it. Returns whether all of it is settled.

        timeout: seconds; None waits without an end. What is not settled stays accepted. In a callback of the
        processor it returns at once. Raises UndeliveredError: a batch was given up, and there is no
        ``on_undelivered``.
        """
        check_timeout("timeout", timeout)
        self._ensure()
        return self._settle(timeout)

    def _settle(self, timeout: Optional[float]) -> bool:
        ends_at = None if timeout is None else self._now() + timeout
        with self._lock:
            self._core.hurry(self._now())
            targets = set(self._core.outstanding)
            self._wake()
        is_settled = self._await(targets, ends_at)
        error, self._error = self._error, None
        if error is not None:
            raise error
        return is_settled

    def _await(self, targets: set[Batch], ends_at: Optional[float]) -> bool:
        if threading.current_thread() in self._workers:
            return not targets
        while True:
            left = None if ends_at is None else ends_at - self._now()
            with self._lock:
                targets &= self._core.outstanding
                if not targets or (left is not None and left <= 0):
                    return not targets
                if self._workers and any(worker.is_alive() for worker in self._workers):
                    # Wakes now and then: a thread may be ended by the interpreter without a word.
                    self._client.clock.wait_for(self._room, 1.0 if left is None else min(left, 1.0))
                    continue
                seconds = self._core.seconds_to_next(self._now())
            if not self._send_next(left):
                pause = 0.05 if seconds is None else min(seconds, 1.0)
                self._client.clock.wait(self._stop, pause if left is None else min(pause, left))

    def close(self, timeout: Optional[float] = 60.0) -> bool:
        """Accepts no more signals, sends what is accepted, and ends. Can be called more than once.

        Returns whether everything is settled within ``timeout`` seconds. The rest stays in the spool, or
        goes to ``on_undelivered``. Raises UndeliveredError as flush.
        """
        check_timeout("timeout", timeout)
        self._ensure()
        with self._lock:
            if self._is_closed:
                return not self._core.outstanding
            self._is_closed = True
            self._room.notify_all()
        try:
            return self._settle(timeout)
        finally:
            self._end(f"close has not sent this within {timeout} s")

    def _end(self, why: str) -> None:
        exits.forget(self)
        with self._lock:
            self._stop.set()
            self._work.notify_all()
            self._room.notify_all()
            left = list(self._core.outstanding)
        if self._options.spool is None:
            for batch in left:
                self._give_up(batch, Undelivered(batch.count, list(batch.texts or []), DeadlineError(why)))
        else:
            self._options.spool.close()
            if left:
                count = sum(batch.count for batch in left)
                self._report(Undelivered(count, [], DeadlineError(why), kept=True))
        error, self._error = self._error, None
        if error is not None and sys.exc_info()[1] is None:
            raise error

    def _end_at_exit(self, ends_at: float) -> None:
        """Settles what it can until the end of the process. The rest is on disk, or told on stderr."""
        if self._pid != os.getpid() or self._is_closed:
            return
        self._is_closed = True
        try:
            self._settle(max(0.0, ends_at - time.monotonic()))
        except UndeliveredError as error:
            print(f"signal_ingest: {error}", file=sys.stderr)
        exits.tell_left(self._core.stats(self._now(), 0).pending, self._options.spool is not None)
        try:
            self._end("the process ended before the service took this")
        except UndeliveredError:
            pass  # told above

    @contextlib.contextmanager
    def settled(self, timeout: float = 10.0) -> Iterator[BatchProcessor]:
        """Settles everything at the end of a block, or of a function as a decorator: for AWS Lambda.

        Raises DeadlineError: it is not settled within ``timeout`` seconds; with background=False nothing
        sends it until the next call. Raises UndeliveredError as flush.
        """
        yield self
        if not self.flush(timeout):
            pending = self.stats().pending
            raise DeadlineError(f"{pending} accepted signals are not settled within {timeout:g} s")

    def stats(self) -> Stats:
        """Returns counts since the processor began in this process, and what it holds now."""
        self._ensure()
        spool = self._options.spool
        with self._lock:
            return self._core.stats(self._now(), spool.size if spool is not None else 0)

    def __enter__(self) -> BatchProcessor:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
