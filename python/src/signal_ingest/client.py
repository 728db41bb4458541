"""The client for threads."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional, TypeVar, Union

from .base.admin import AuditPage, Time
from .base.clock import SYSTEM_CLOCK, Clock
from .base.errors import ClosedError
from .base.pickling import NotPickled
from .base.types import (
    BatchAnswer,
    BatchRecord,
    BulkReplayAnswer,
    ConversationStats,
    DeadLetter,
    Erasure,
    FeedPage,
    ListedDeadLetter,
    NewErasure,
    ReplayAnswer,
    Score,
    ScoresAnswer,
    Signal,
    SignalPage,
    StoredSignal,
)
from .calls.admin import IS_AUDIT_PAGE, Admin
from .calls.answer import Check
from .calls.call import Retry, Send, Steps
from .calls.configuration import DEFAULT_MAX_ANSWER_BYTES, DEFAULT_TIMEOUT_SECONDS, settle
from .calls.feed import FeedReader
from .calls.operations import (
    IS_DEAD_LETTER_PAGE,
    IS_SIGNAL_PAGE,
    Operations,
    encode_scores,
    encode_signals,
    payload_query,
)
from .calls.tracing import Tracing
from .http.message import ConnectionFailed
from .http.sockets import SocketTransport
from .keys import KeysClient
from .subscriptions import SubscriptionsClient

T = TypeVar("T")
Stats = list[ConversationStats]


class SignalClient(NotPickled):
    """Calls a signal-ingest service. Every method returns the answer or raises a SignalError.

    Threads may share a client; a forked child may use its parent's.

    >>> client = SignalClient("http://localhost:8002", os.environ.get("SIGNAL_INGEST_KEY"))
    >>> answer = client.create_batch([{"context_window_id": "conv-123", "raw_content": "Ready to sync"}])
    """

    def __init__(
        self,
        url: str,
        key: Optional[str] = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES,
        compress: bool = True,
        parse: Optional[Callable[[str], Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        on_retry: Optional[Callable[[Retry], None]] = None,
        ssl_context: Optional[ssl.SSLContext] = None,
        tracing: Optional[Tracing] = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Takes the address of a service and an API key.

        timeout: seconds of a call with all its attempts. max_answer_bytes: bytes of an answer that are read.
        parse: reads the JSON of answers. on_retry: called before each wait. ssl_context: replaces the
        default one. tracing: an OpenTelemetryTracing of signal_ingest.opentelemetry. clock: for tests.
        Raises ValueError: an option is out of its range.
        """
        settings = settle(
            url, key, timeout, max_answer_bytes, compress, parse, headers, on_retry, clock, tracing
        )
        self.operations = Operations(settings)
        self.clock = clock
        self._transport = SocketTransport(settings.address, max_answer_bytes, ssl_context)
        self._is_closed = False
        self.keys = KeysClient(Admin(self.operations), self)
        """The API keys that are made while the service runs."""
        self.subscriptions = SubscriptionsClient(Admin(self.operations), self)
        """Who is called about new signals."""

    def create_batch(
        self,
        signals: Sequence[Signal],
        *,
        all_or_nothing: bool = False,
        minimal: bool = False,
        lenient: bool = False,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> BatchAnswer:
        """Stores up to 10,000 signals in one transaction; every attempt carries one idempotency key.

        Returns counts and one result for each signal, only the failures with ``minimal``. A signal that
        breaks a rule fails alone, unless ``all_or_nothing`` is set; with ``lenient`` one of the wrong shape,
        too.

        Raises InvalidSignalError, ValidationError, BatchRejectedError, UnauthorizedError, RequestError:
        nothing was stored. Raises DeadlineError: the batch may be stored; sending it again under the same
        key is safe.
        """
        steps = self.operations.create_batch(
            encode_signals(signals),
            idempotency_key,
            all_or_nothing=all_or_nothing,
            minimal=minimal,
            lenient=lenient,
            timeout=timeout,
            headers=headers,
        )
        return self.run(steps)

    def create_scores(
        self,
        scores: Sequence[Score],
        *,
        all_or_nothing: bool = False,
        minimal: bool = False,
        lenient: bool = False,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> ScoresAnswer:
        """Stores up to 10,000 scores of signals that are stored already.

        The newest ``scored_at`` counts, whatever the order of arrival; the service keeps each score as
        history. A score by a ``dedupe_key`` whose signal has not come is ``waiting``; one of an unknown id
        fails with ``retryable``. Returns and raises as create_batch.
        """
        steps = self.operations.create_scores(
            encode_scores(scores),
            idempotency_key,
            all_or_nothing=all_or_nothing,
            minimal=minimal,
            lenient=lenient,
            timeout=timeout,
            headers=headers,
        )
        return self.run(steps)

    def queue_scores(
        self,
        scores: Sequence[Score],
        *,
        all_or_nothing: bool = False,
        lenient: bool = False,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Union[BatchRecord, ScoresAnswer]:
        """As create_scores, but the service answers when the scores are durable, and stores them later.

        Returns the record of the batch, whose outcome ``batch`` reads later; or the answer of create_scores
        from a service that stored it at once. A score that cannot be stored later becomes a dead letter.
        Raises as create_batch.
        """
        steps = self.operations.queue_scores(
            encode_scores(scores),
            idempotency_key,
            all_or_nothing=all_or_nothing,
            lenient=lenient,
            timeout=timeout,
            headers=headers,
        )
        return self.run(steps)

    def create(
        self,
        signal: Signal,
        *,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> StoredSignal:
        """Stores one signal, and returns it, or an earlier one with the same ``dedupe_key``.

        Raises as create_batch.
        """
        return self.run(self.operations.create(signal, idempotency_key, timeout, headers))

    def list_pages(
        self,
        *,
        context_window_id: Optional[str] = None,
        signal_source: Optional[str] = None,
        user_id: Optional[str] = None,
        agent_id: Optional[str] = None,
        escalate_flag: Optional[int] = None,
        min_score: Optional[float] = None,
        max_score: Optional[float] = None,
        since: Optional[Time] = None,
        until: Optional[Time] = None,
        q: Optional[str] = None,
        payload: Optional[Mapping[str, Any]] = None,
        cursor: Optional[str] = None,
        page_size: int = 1000,
        timeout: Optional[float] = None,
    ) -> Iterator[SignalPage]:
        """Yields pages of signals, newest first. ``next_cursor`` as ``cursor`` continues behind a page.

        ``q``: text within ``raw_content``, whatever the case of its letters. ``payload``: values by their
        paths, such as ``{"order.id": 1}``; in a path, a backslash makes the ``.``, ``=`` or backslash behind
        it a part of the key.
        """
        query = {
            "context_window_id": context_window_id,
            "signal_source": signal_source,
            "user_id": user_id,
            "agent_id": agent_id,
            "escalate_flag": escalate_flag,
            "min_score": min_score,
            "max_score": max_score,
            "since": since,
            "until": until,
            "q": q,
            **payload_query(payload),
            "cursor": cursor,
            "limit": page_size,
        }
        yield from self.pages("/api/signals", query, IS_SIGNAL_PAGE, timeout)

    def list(self, **conditions: Any) -> Iterator[StoredSignal]:
        """Yields every signal that matches the conditions of list_pages, newest first."""
        for page in self.list_pages(**conditions):
            yield from page["signals"]

    def signal(self, signal_id: int, *, timeout: Optional[float] = None) -> Optional[StoredSignal]:
        """Returns one signal; None when no signal has this id."""
        return self.run(self.operations.signal(signal_id, timeout))

    def feed(
        self,
        after: Optional[str] = None,
        *,
        limit: int = 1000,
        wait: float = 20,
        follow: bool = True,
        timeout: Optional[float] = None,
    ) -> Iterator[FeedPage]:
        """Yields the signals in commit order, page by page, and waits for new ones.

        A reader that saves ``next_cursor`` together with the results of the page, and starts from it again,
        sees every signal once. ``after="now"`` begins after the newest signal. While it follows, it retries
        transient errors without a limit; with ``follow=False`` it ends after the newest signal.
        """
        reader = FeedReader(self.operations, after, limit, wait, follow, timeout)
        while True:
            page = self.run(reader.next_page())
            if page is None:
                return
            yield page

    def stats(
        self, *, since: Optional[Time] = None, limit: Optional[int] = None, timeout: Optional[float] = None
    ) -> Stats:
        """Returns count, mean score and newest signal of each conversation since a time: a day ago."""
        return self.run(self.operations.stats({"since": since, "limit": limit}, timeout))

    def batch(self, transaction_id: str, *, timeout: Optional[float] = None) -> Optional[BatchRecord]:
        """Returns the ledger's record of a batch; None when nothing was stored under this id."""
        return self.run(self.operations.batch(transaction_id, timeout))

    def list_dead_letters(
        self, state: str = "waiting", *, page_size: int = 200, timeout: Optional[float] = None
    ) -> Iterator[ListedDeadLetter]:
        """Yields every dead letter in a state without its record, newest first. Needs the scope read."""
        query = {"state": state, "limit": page_size}
        for page in self.pages("/api/dead-letters", query, IS_DEAD_LETTER_PAGE, timeout):
            yield from page["dead_letters"]

    def dead_letter(self, letter_id: int, *, timeout: Optional[float] = None) -> Optional[DeadLetter]:
        """Returns a dead letter with its record; None when none has this id."""
        return self.run(self.operations.dead_letter(letter_id, timeout))

    def replay_dead_letter(self, letter_id: int, *, timeout: Optional[float] = None) -> ReplayAnswer:
        """Reads a dead letter's record again and stores it: once, however often it is replayed."""
        return self.run(self.operations.replay_dead_letter(letter_id, timeout))

    def replay_dead_letters(
        self,
        *,
        state: Optional[str] = None,
        source: Optional[str] = None,
        ids: Optional[Sequence[int]] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> BulkReplayAnswer:
        """Replays up to 500 dead letters in one request, oldest first. ``next_cursor`` is None at the end."""
        choice = {"state": state, "source": source, "ids": ids, "limit": limit, "cursor": cursor}
        return self.run(self.operations.replay_dead_letters(choice, timeout))

    def discard_dead_letter(self, letter_id: int, *, timeout: Optional[float] = None) -> DeadLetter:
        """Discards a dead letter: the service keeps it, and lists it as ``discarded``."""
        return self.run(self.operations.discard_dead_letter(letter_id, timeout))

    def erase(
        self,
        erasure: NewErasure,
        *,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Erasure:
        """Erases the signals of a user, an agent or a conversation, or signals by their ids.

        Needs the scope admin. The work goes on after this returns: ask ``erasure(id)`` until it is done.
        """
        return self.run(self.operations.erase(erasure, idempotency_key, timeout))

    def erasure(self, erasure_id: str, *, timeout: Optional[float] = None) -> Optional[Erasure]:
        """Returns the state of an erasure, and what it removed; None when none has this id."""
        return self.run(self.operations.erasure(erasure_id, timeout))

    def audit(
        self,
        *,
        cursor: Optional[str] = None,
        limit: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Iterator[AuditPage]:
        """Yields the pages of an audit: the ledger compared with the signals. Needs the scope admin."""
        query = {"cursor": cursor, "limit": limit}
        yield from self.pages("/api/audit", query, IS_AUDIT_PAGE, timeout)

    def pages(
        self, path: str, query: Mapping[str, Any], check: Check, timeout: Optional[float]
    ) -> Iterator[Any]:
        """Yields the pages of any list."""
        cursor = query.get("cursor")
        while True:
            page = self.run(self.operations.page(path, {**query, "cursor": cursor}, check, timeout))
            yield page
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def run(self, steps: Steps[T], stop: Optional[threading.Event] = None) -> T:
        """Carries out the steps of a call. Raises ClosedError: ``stop`` was set during a wait."""
        if self._is_closed:
            raise ClosedError("The client is closed.")
        stop = stop or threading.Event()
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    try:
                        response = self._transport.send(step.request, step.seconds)
                    except ConnectionFailed as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(response)
                else:
                    if self.clock.wait(stop, step.seconds):
                        steps.throw(ClosedError("The call was ended while it waited to be sent again."))
                    step = steps.send(None)
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Closes the connections. Can be called more than once; a later request raises ClosedError."""
        self._is_closed = True
        self._transport.close()

    def __enter__(self) -> SignalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
