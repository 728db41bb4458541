"""Lets one test speak of both twins: the asynchronous one runs in an event loop of another thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from signal_ingest import AsyncBatchProcessor, AsyncSignalClient, BatchProcessor, SignalClient
from signal_ingest.keys import AsyncKeysClient
from signal_ingest.subscriptions import AsyncSubscriptionsClient

TWINS = ("threads", "asyncio")


class Blocking:
    """An asynchronous object whose methods block."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, {"close": "aclose"}.get(name, name))
        if isinstance(found, (AsyncKeysClient, AsyncSubscriptionsClient)):
            return Blocking(found, self._loop)
        if not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            result = found(*arguments, **options)
            if inspect.isasyncgen(result):
                return self._items(result)
            return self._wait(result) if inspect.isawaitable(result) else result

        return call

    def _items(self, source: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._wait(source.__anext__())
            except StopAsyncIteration:
                return

    def _wait(self, awaitable: Any) -> Any:
        async def run() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def cancel(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Ends tasks of the loop, and waits until they have ended."""
        self._wait(_cancel(tasks))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Twin:
    """Makes clients and processors of one kind, and closes them in the end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: list[Any] = []
        if kind == "asyncio":
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()

    def client(self, url: str, key: str | None = None, **options: Any) -> Any:
        if self.kind == "threads":
            made: Any = SignalClient(url, key, **options)
        else:
            made = Blocking(AsyncSignalClient(url, key, **options), self._loop)
        self._made.append(made)
        return made

    def processor(self, client: Any, **options: Any) -> Any:
        if self.kind == "threads":
            made: Any = BatchProcessor(client, **options)
        else:
            made = Blocking(AsyncBatchProcessor(getattr(client, "inner", client), **options), self._loop)
        self._made.insert(0, made)
        return made

    def end(self) -> None:
        for made in self._made:
            try:
                if isinstance(getattr(made, "inner", made), (BatchProcessor, AsyncBatchProcessor)):
                    made.close(timeout=0)
                else:
                    made.close()
            except Exception:  # noqa: S110 - the test has looked at what it wants to see
                pass
        if self.kind == "asyncio":
            asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _cancel_all() -> None:
    await _cancel(asyncio.all_tasks() - {asyncio.current_task()})


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    ended = list(tasks)
    for task in ended:
        task.cancel()
    await asyncio.gather(*ended, return_exceptions=True)
