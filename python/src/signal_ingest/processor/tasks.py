"""The processor for asyncio: the twin of threads.py."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from ..async_client import AsyncSignalClient
from ..base.callbacks import call_safely, log
from ..base.encode import encode_signal
from ..base.errors import BufferFull, ClosedError, DeadlineError, UndeliveredError
from ..base.options import check_client, check_timeout
from ..base.pickling import NotPickled
from ..base.types import Signal
from ..processor import attempt as attempts
from ..processor import exits
from .core import Batch, Core, Item
from .options import Options, Undelivered, settle
from .stats import Stats

if TYPE_CHECKING:
    from typing_extensions import Unpack  # known to every type checker; not needed to run

T = TypeVar("T")


class AsyncBatchProcessor(NotPickled):
    """Gathers signals into batches and sends several at once, from tasks of the event loop.

    Its options, callbacks and errors are those of BatchProcessor. It starts no thread; with a spool, one
    thread writes to the disk, so that the loop never waits for it.

    >>> async with AsyncBatchProcessor(client) as processor:
    ...     await processor.add({"context_window_id": "conv-123", "raw_content": "Ready to sync"})
    """

    def __init__(self, client: AsyncSignalClient, **options: Unpack[Options]) -> None:
        """Takes a client and Options. Raises ValueError: one is out of its range. Raises SpoolError."""
        self._client = check_client(client, AsyncSignalClient)
        self._options = settle(options)
        self.exit_timeout_seconds = 0.0
        self._caller = client.operations.caller
        self._is_closed = False
        self._start()
        exits.watch(self)

    def _start(self) -> None:
        """Begins in this process."""
        self._core = Core(self._options)
        self._disk: Optional[ThreadPoolExecutor] = None
        self._appending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._error: Optional[UndeliveredError] = None
        self._pid = os.getpid()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        spool = self._options.spool
        if spool is not None and not self._is_closed:
            kept = attempts.recover(self._core, spool, self._caller, self._now())
            self._disk = ThreadPoolExecutor(1, "signal-ingest-spool")
            if kept is not None:
                self._report(kept)

    def _ensure(self) -> None:
        """Begins anew in a child that was forked, and binds to the loop that runs."""
        if self._pid != os.getpid():
            if self._options.spool is not None:
                self._options.spool.abandon()
            self._start()
            exits.watch_child()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Tasks of a former loop have ended with it, and have put their batches back.
            self._loop = loop
            self._changed = asyncio.Event()
            self._woken = asyncio.Event()
            self._tasks: set[asyncio.Task[None]] = set()
            self._writer: Optional[asyncio.Task[None]] = None
            self._is_asleep = False
            if self._core.outstanding:
                self._wake()

    def _forget_parent(self) -> None:
        if self._options.spool is not None:
            self._options.spool.abandon()
        self._pid = -1

    def _now(self) -> float:
        return self._client.clock.monotonic()

    def _notify(self) -> None:
        """Wakes those who wait for room or for the end of a batch."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def add(self, signal: Signal, *, timeout: Optional[float] = -1.0) -> bool:
        """Accepts a signal as BatchProcessor.add. A call that is cancelled may have been accepted."""
        text = encode_signal(signal)
        timeout = self._options.add_timeout_seconds if timeout == -1.0 else check_timeout("timeout", timeout)
        self._ensure()
        if not await self._enter(len(text), timeout):
            return False
        if self._options.spool is None:
            self._take(Item(text, None))
            return True
        assert self._loop is not None
        accepted: asyncio.Future[None] = self._loop.create_future()
        self._appending.append((text, accepted))
        if self._writer is None or self._writer.done():
            self._writer = self._loop.create_task(self._append())
        # The signal is taken even when this call is cancelled: it may be on disk already.
        await asyncio.shield(accepted)
        return True

    async def _enter(self, size: int, timeout: Optional[float]) -> bool:
        ends_at = None if timeout is None else self._now() + timeout
        spool = self._options.spool
        while True:
            if self._is_closed:
                raise ClosedError("The AsyncBatchProcessor is closed and accepts no more signals.")
            if self._core.has_room(size) and (spool is None or spool.has_room(size)):
                self._core.hold(1, size)
                return True
            if self._options.when_full == "drop":
                self._core.counts.dropped += 1
                return False
            left = None if ends_at is None else ends_at - self._now()
            if left is not None and left <= 0:
                what = "buffer" if spool is None else f"spool {spool.folder}"
                raise BufferFull(
                    f"The {what} is full: the service has taken too few signals for {timeout or 0:g} s. "
                    "The signal was not accepted."
                )
            self._wake()
            await self._client.clock.wait_async(self._changed, left)

    async def _append(self) -> None:
        """Writes what waits to the spool: what arrives during a write shares the next sync."""
        spool = self._options.spool
        assert spool is not None
        while self._appending:
            group, self._appending = self._appending, []
            try:
                places = await self._on_disk(spool.append_many, [text for text, _ in group])
            except Exception as error:
                for text, accepted in group:
                    self._core.hold(-1, -len(text))
                    accepted.set_exception(error)
                    accepted.exception()  # a call that was cancelled does not ask
                self._notify()
                continue
            for (text, accepted), place in zip(group, places):
                self._take(Item(text, place))
                accepted.set_result(None)

    async def _on_disk(self, function: Callable[..., T], *arguments: Any) -> T:
        assert self._loop is not None
        return await self._loop.run_in_executor(self._disk, function, *arguments)

    def _take(self, item: Item) -> None:
        if self._core.take(item, self._now()):
            self._wake()

    def _wake(self) -> None:
        """Has a task look for work: one for each batch that is due, and one that waits for the next."""
        self._woken.set()
        wanted = max(
            self._core.due, 0 if self._is_asleep or self._core.seconds_to_next(self._now()) is None else 1
        )
        assert self._loop is not None
        for _ in range(min(wanted, self._options.max_in_flight - len(self._tasks))):
            task = self._loop.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while not self._has_ended:
            now = self._now()
            batch = self._core.next(now)
            if batch is not None:
                await self._attempt(batch)
                continue
            seconds = self._core.seconds_to_next(now)
            if seconds is None or self._is_asleep:
                return
            self._is_asleep = True
            try:
                await self._client.clock.wait_async(self._woken, seconds)
            finally:
                self._is_asleep = False
            self._woken.clear()

    @property
    def _has_ended(self) -> bool:
        return self._is_closed and not self._core.outstanding

    async def _attempt(self, batch: Batch) -> None:
        started = time.monotonic()
        try:
            texts = batch.texts
            if batch.kept is not None:
                texts = await self._on_disk(attempts.load, batch, self._caller)
            if batch.texts is None:
                self._core.remember(batch, texts or [])
            attempt = attempts.begin(batch, texts or [], self._options, None)
            await self._client.run(attempt.steps(self._client.operations))
            if batch.kept is not None:
                await self._on_disk(batch.kept.done, batch.key)
        except asyncio.CancelledError:
            self._core.later(batch, self._now())
            raise
        except Exception as error:
            told = attempts.fail(self._core, batch, error, self._now())
            if isinstance(told, Undelivered):
                await self._give_up(batch, told)
            elif told is not None:
                call_safely(self._options.on_retry, told)
            self._notify()
            return
        seconds = time.monotonic() - started
        attempts.tell_success(attempt, self._options, seconds)
        attempts.succeed(self._core, attempt, seconds)
        self._notify()
        if self._options.spool is not None:
            await self._on_disk(self._options.spool.release_adopted)

    async def _give_up(self, batch: Batch, undelivered: Undelivered) -> None:
        self._report(undelivered)
        if batch.kept is not None:
            await self._on_disk(batch.kept.done, batch.key)
        attempts.give_up(self._core, batch)
        self._notify()

    def _report(self, undelivered: Undelivered) -> None:
        if self._options.on_undelivered is not None:
            call_safely(self._options.on_undelivered, undelivered)
            return
        error = attempts.undelivered_error(undelivered)
        log.warning("%s", error)
        if not undelivered.kept and self._error is None:
            self._error = error

    async def flush(self, timeout: Optional[float] = 60.0) -> bool:
        """Sends at once what is accepted, and waits for it, as BatchProcessor.flush."""
        check_timeout("timeout", timeout)
        self._ensure()
        ends_at = None if timeout is None else self._now() + timeout
        self._core.hurry(self._now())
        targets = set(self._core.outstanding)
        self._wake()
        is_own = asyncio.current_task() in self._tasks
        while True:
            targets &= self._core.outstanding
            left = None if ends_at is None else ends_at - self._now()
            if not targets or is_own or (left is not None and left <= 0):
                break
            await self._client.clock.wait_async(self._changed, left)
        error, self._error = self._error, None
        if error is not None:
            raise error
        return not targets

    async def aclose(self, timeout: Optional[float] = 60.0) -> bool:
        """Accepts no more signals, sends what is accepted, and ends, as BatchProcessor.close."""
        check_timeout("timeout", timeout)
        self._ensure()
        if self._is_closed:
            return not self._core.outstanding
        self._is_closed = True
        self._notify()
        try:
            if self._writer is not None:
                await self._writer
            return await self.flush(timeout)
        finally:
            await self._end(f"aclose has not sent this within {timeout} s")

    async def _end(self, why: str) -> None:
        exits.forget(self)
        tasks = list(self._tasks)
        pending = set(tasks)
        while pending:  # again: before Python 3.12, wait_for can lose a cancellation
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1)
        await asyncio.gather(*tasks, return_exceptions=True)
        left = list(self._core.outstanding)
        if self._options.spool is not None:
            await self._on_disk(self._options.spool.close)
            if self._disk is not None:
                self._disk.shutdown()
            if left:
                count = sum(batch.count for batch in left)
                self._report(Undelivered(count, [], DeadlineError(why), kept=True))
        else:
            for batch in left:
                texts = list(batch.texts or [])
                await self._give_up(batch, Undelivered(batch.count, texts, DeadlineError(why)))
        error, self._error = self._error, None
        if error is not None and sys.exc_info()[1] is None:
            raise error

    def close(self) -> None:
        """Refuses: only the event loop can send. Raises RuntimeError."""
        raise RuntimeError("Write `await processor.aclose()`, or use `async with`.")

    def _end_at_exit(self, ends_at: float) -> None:
        """The loop is gone: the spool keeps what is accepted, or it is told on stderr."""
        if self._pid != os.getpid() or self._is_closed:
            return
        self._is_closed = True
        count = self._core.stats(self._now(), 0).pending
        if self._options.spool is not None:
            self._options.spool.close()
        exits.tell_left(count, self._options.spool is not None)

    def stats(self) -> Stats:
        """Returns counts since the processor began in this process, and what it holds now."""
        spool = self._options.spool
        return self._core.stats(self._now(), spool.size if spool is not None else 0)

    async def __aenter__(self) -> AsyncBatchProcessor:
        self._ensure()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
