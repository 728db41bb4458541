"""Every call of the API as steps, for both clients."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Optional, Union, cast
from urllib.parse import quote, urlencode

from ..base.encode import batch_body, encode_object, encode_signal
from ..base.errors import RequestError
from ..base.options import check_seconds
from ..base.types import (
    BatchAnswer,
    BatchRecord,
    BulkReplayAnswer,
    ConversationStats,
    DeadLetter,
    Erasure,
    FeedPage,
    NewErasure,
    ReplayAnswer,
    Score,
    ScoresAnswer,
    Signal,
    StoredSignal,
)
from .answer import Check, has_fields, is_count, is_list_of, is_page_of
from .call import Call, Settings, Steps, call_until_answered, check_headers, is_not_found

_IS_SIGNAL = has_fields(id=int, context_window_id=str, transaction_id=str)
_IS_DEAD_LETTER = has_fields(id=int, state=str)
_IS_ERASURE = has_fields(id=str, state=str)
IS_SIGNAL_PAGE = is_page_of("signals", has_fields())
IS_DEAD_LETTER_PAGE = is_page_of("dead_letters", has_fields(id=is_count))


class Operations:
    """The calls. Each returns steps that a transport carries out."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        address = settings.address
        key = settings.headers.get("authorization", "").removeprefix("Bearer ")
        self.caller = caller_of(address.origin + address.prefix, key)
        """Whose idempotency keys a spool holds."""

    def call(self, call: Call) -> Steps[Any]:
        """Makes any call."""
        if call.timeout is not None:
            check_seconds("timeout", call.timeout, 0.001)
        check_headers(call.headers)
        return call_until_answered(self.settings, call)

    def get(self, path: str, query: Mapping[str, Any], check: Check, timeout: Optional[float]) -> Steps[Any]:
        """Gets a path. Parameters that are None are left out."""
        return self.call(Call("GET", _with_query(path, query), check, headers={}, timeout=timeout))

    def find(self, path: str, check: Check, timeout: Optional[float]) -> Steps[Any]:
        """Gets a path; None for a 404."""
        try:
            return (yield from self.get(path, {}, check, timeout))
        except RequestError as error:
            if is_not_found(error):
                return None
            raise

    def create_batch(
        self,
        texts: Sequence[bytes],
        key: Optional[str],
        *,
        all_or_nothing: bool = False,
        minimal: bool = False,
        lenient: bool = False,
        timeout: Optional[float] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Steps[BatchAnswer]:
        """Sends a batch of encoded signals under a key."""
        body = batch_body(texts, all_or_nothing)
        options = (minimal, lenient, timeout, headers)
        check = _batch_check(len(texts))
        return cast(BatchAnswer, (yield from self._batch("/api/signals/batch", check, body, key, options)))

    def create_scores(
        self,
        texts: Sequence[bytes],
        key: Optional[str],
        *,
        all_or_nothing: bool = False,
        minimal: bool = False,
        lenient: bool = False,
        timeout: Optional[float] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Steps[ScoresAnswer]:
        """Sends a batch of encoded scores under a key."""
        body = batch_body(texts, all_or_nothing, b"scores")
        options = (minimal, lenient, timeout, headers)
        check = _scores_check(len(texts))
        return cast(ScoresAnswer, (yield from self._batch("/api/scores", check, body, key, options)))

    def queue_scores(
        self,
        texts: Sequence[bytes],
        key: Optional[str],
        *,
        all_or_nothing: bool = False,
        lenient: bool = False,
        timeout: Optional[float] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Steps[Union[BatchRecord, ScoresAnswer]]:
        """Sends a batch of encoded scores that the service may store later."""
        body = batch_body(texts, all_or_nothing, b"scores")
        options = (False, lenient, timeout, headers)
        stored, is_record = _scores_check(len(texts)), has_fields(transaction_id=str, state=str)

        def check(value: Any) -> bool:
            return stored(value) or (is_record(value) and value.get("total_count") == len(texts))

        answer = yield from self._batch("/api/scores", check, body, key, options, queued=True)
        return cast("Union[BatchRecord, ScoresAnswer]", answer)

    def _batch(
        self,
        path: str,
        check: Check,
        body: bytes,
        key: Optional[str],
        options: tuple[bool, bool, Optional[float], Optional[Mapping[str, str]]],
        *,
        queued: bool = False,
    ) -> Steps[Any]:
        minimal, lenient, timeout, headers = options
        asked = {"respond-async": queued, "return=minimal": minimal, "handling=lenient": lenient}
        wishes = [wish for wish, is_asked in asked.items() if is_asked]
        sent = {
            **(headers or {}),
            **({"Prefer": ", ".join(wishes)} if wishes else {}),
            "Idempotency-Key": check_key(key),
        }
        return (yield from self.call(Call("POST", path, check, body, sent, timeout)))

    def create(
        self,
        signal: Signal,
        key: Optional[str],
        timeout: Optional[float],
        headers: Optional[Mapping[str, str]],
    ) -> Steps[StoredSignal]:
        """Sends one signal."""
        sent = {**(headers or {}), "Idempotency-Key": check_key(key)}
        call = Call("POST", "/api/signals", _IS_SIGNAL, encode_signal(signal), sent, timeout)
        return cast(StoredSignal, (yield from self.call(call)))

    def feed_page(self, query: Mapping[str, Any], timeout: float) -> Steps[FeedPage]:
        """Reads a page of the feed."""
        check = has_fields(signals=is_list_of(has_fields()), next_cursor=str, more=bool)
        return cast(FeedPage, (yield from self.get("/api/signals/feed", query, check, timeout)))

    def page(
        self, path: str, query: Mapping[str, Any], check: Check, timeout: Optional[float]
    ) -> Steps[dict[str, Any]]:
        """Reads a page of a list."""
        return cast("dict[str, Any]", (yield from self.get(path, query, check, timeout)))

    def signal(self, signal_id: int, timeout: Optional[float]) -> Steps[Optional[StoredSignal]]:
        """Reads one signal."""
        return cast(
            "Optional[StoredSignal]",
            (yield from self.find(f"/api/signals/{_whole(signal_id)}", _IS_SIGNAL, timeout)),
        )

    def stats(self, query: Mapping[str, Any], timeout: Optional[float]) -> Steps[list[ConversationStats]]:
        """Reads the statistics."""
        answer = yield from self.get("/api/signals/stats", query, has_fields(stats=list), timeout)
        return cast("list[ConversationStats]", answer["stats"])

    def batch(self, transaction_id: str, timeout: Optional[float]) -> Steps[Optional[BatchRecord]]:
        """Reads the ledger's record of a batch."""
        check = has_fields(transaction_id=str, state=str)
        path = f"/api/batches/{segment(transaction_id)}"
        return cast("Optional[BatchRecord]", (yield from self.find(path, check, timeout)))

    def dead_letter(self, letter_id: int, timeout: Optional[float]) -> Steps[Optional[DeadLetter]]:
        """Reads a dead letter."""
        path = f"/api/dead-letters/{_whole(letter_id)}"
        return cast("Optional[DeadLetter]", (yield from self.find(path, _IS_DEAD_LETTER, timeout)))

    def replay_dead_letter(self, letter_id: int, timeout: Optional[float]) -> Steps[ReplayAnswer]:
        """Replays a dead letter."""
        path = f"/api/dead-letters/{_whole(letter_id)}/replay"
        call = Call("POST", path, has_fields(replayed=bool), b"{}", {}, timeout)
        return cast(ReplayAnswer, (yield from self.call(call)))

    def replay_dead_letters(
        self, choice: Mapping[str, Any], timeout: Optional[float]
    ) -> Steps[BulkReplayAnswer]:
        """Replays many dead letters."""
        ids = choice.get("ids")
        query = {**choice, "ids": None if ids is None else ",".join(str(_whole(one)) for one in ids)}
        path = _with_query("/api/dead-letters/replay", query)
        check = has_fields(replayed_count=int, failed_count=int, failures=list)
        return cast(BulkReplayAnswer, (yield from self.call(Call("POST", path, check, b"{}", {}, timeout))))

    def discard_dead_letter(self, letter_id: int, timeout: Optional[float]) -> Steps[DeadLetter]:
        """Discards a dead letter."""
        call = Call("DELETE", f"/api/dead-letters/{_whole(letter_id)}", _IS_DEAD_LETTER, None, {}, timeout)
        return cast(DeadLetter, (yield from self.call(call)))

    def erase(self, erasure: NewErasure, key: Optional[str], timeout: Optional[float]) -> Steps[Erasure]:
        """Requests an erasure."""
        headers = {"Idempotency-Key": check_key(key)}
        body = encode_object(erasure, "erasure")
        return cast(
            Erasure,
            (yield from self.call(Call("POST", "/api/erasures", _IS_ERASURE, body, headers, timeout))),
        )

    def erasure(self, erasure_id: str, timeout: Optional[float]) -> Steps[Optional[Erasure]]:
        """Reads an erasure."""
        path = f"/api/erasures/{segment(erasure_id)}"
        return cast("Optional[Erasure]", (yield from self.find(path, _IS_ERASURE, timeout)))


def caller_of(url: str, key: str) -> str:
    """Names a caller without its API key. Idempotency keys belong to a caller: another would store again."""
    return hashlib.sha256(f"signal-ingest caller\n{url}\n{key}".encode()).hexdigest()[:32]


def encode_signals(signals: Sequence[Signal]) -> list[bytes]:
    """Encodes a batch. Raises InvalidSignalError: it names the index."""
    return [encode_signal(signal, f"signals[{index}]") for index, signal in enumerate(signals)]


def encode_scores(scores: Sequence[Score]) -> list[bytes]:
    """Encodes a batch of scores. Raises InvalidSignalError: it names the index."""
    return [encode_signal(score, f"scores[{index}]") for index, score in enumerate(scores)]


def check_key(key: Optional[str]) -> str:
    """Returns an idempotency key, a new one for None. Raises ValueError: it cannot be one."""
    if key is None:
        return str(uuid.uuid4())
    if not isinstance(key, str) or not re.fullmatch(r"[!-~]{1,255}", key):
        raise ValueError("idempotency_key must be 1 to 255 visible ASCII characters.")
    return key


def _batch_check(count: int) -> Check:
    """A signal that is absent from the answer is not stored: the counts must account for each."""
    has = has_fields(total_count=int, successful_count=int, failed_count=int, results=list)

    def check(value: Any) -> bool:
        if not has(value) or value["total_count"] != count:
            return False
        if value["successful_count"] + value["failed_count"] != count:
            return False
        results = value["results"]
        if not all(isinstance(one, dict) and type(one.get("index")) is int for one in results):
            return False
        if not all(0 <= one["index"] < count and _is_result(one) for one in results):
            return False
        failed = sum(not one["success"] for one in results)
        is_each_once = len({one["index"] for one in results}) == len(results)
        return is_each_once and failed == value["failed_count"]

    return check


def _scores_check(count: int) -> Check:
    is_batch, has_waiting = _batch_check(count), has_fields(waiting_count=int)
    return lambda value: is_batch(value) and has_waiting(value)


def _is_result(one: Mapping[str, Any]) -> bool:
    success, error = one.get("success"), one.get("error", False)
    return (success is True and error is None) or (success is False and _is_failure(one))


def _is_failure(one: Mapping[str, Any]) -> bool:
    return all(isinstance(one.get(name), str) for name in ("error", "code")) and (
        type(one.get("retryable")) is bool
    )


def payload_query(payload: Optional[Mapping[str, Any]]) -> dict[str, str]:
    """The parameters of a filter by values of the payload.

    Raises TypeError: a value is neither a text, a finite number, a bool nor None.
    """
    return {f"payload.{path}": _scalar(path, value) for path, value in (payload or {}).items()}


def _scalar(path: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float, Decimal)) and math.isfinite(value):
        return str(value)
    raise TypeError(f"payload.{path} must be a text, a finite number, a boolean or null.")


def _with_query(path: str, query: Mapping[str, Any]) -> str:
    pairs = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in query.items()
        if value is not None
    }
    return f"{path}?{urlencode(pairs)}" if pairs else path


def segment(identity: str) -> str:
    """Returns an id as a part of a path. Raises ValueError: it is no text, or an empty one."""
    if isinstance(identity, str) and identity:
        return quote(identity, safe="")
    raise ValueError(f"An id must be a text; it is {identity!r}.")


def _whole(number: int) -> int:
    if type(number) is int:
        return number
    raise ValueError(f"An id must be a whole number; it is {number!r}.")
