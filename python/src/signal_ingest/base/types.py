"""The shapes of requests and answers, with the API's field names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Optional, TypedDict, Union

from .codes import FailureCode


class _RequiredOfSignal(TypedDict):
    context_window_id: str


class NewSignal(_RequiredOfSignal, total=False):
    """A signal to store. ``context_window_id`` is required: 1-255 characters. None means absent."""

    timestamp: Union[datetime, str, int, float, Decimal, None]
    """A datetime (naive means UTC), ISO 8601, or a Unix epoch in seconds, above 2e10 in milliseconds.
    At most a day ahead of the service's clock. Default: now."""
    raw_content: Optional[str]
    signal_source: Optional[str]
    """Default: unknown."""
    signal_score: Union[float, Decimal, None]
    """From 0 to 1. Default: 0.5."""
    signal_vector: Optional[str]
    emotional_tone: Union[float, Decimal, None]
    """From 0 to 1."""
    escalate_flag: Optional[int]
    """0 or 1. Default: 0."""
    agent_id: Optional[str]
    user_id: Optional[str]
    payload: Optional[Mapping[str, Any]]
    """Any JSON object up to 64 levels deep. Every digit of a number is kept."""
    relationship_context: Optional[str]
    diagnostic_notes: Optional[str]
    dedupe_key: Optional[str]
    """1-255 characters. At most one stored signal ever has it; another succeeds with the first's id."""


Signal = Union[NewSignal, Mapping[str, Any]]
"""What the library sends: a dict of a signal's fields, checked by the service."""


class NewScore(TypedDict, total=False):
    """A score of a stored signal: which one, and at least one value. None means absent."""

    signal_id: Optional[int]
    dedupe_key: Optional[str]
    """Instead of ``signal_id``."""
    signal_score: Union[float, Decimal, None]
    emotional_tone: Union[float, Decimal, None]
    escalate_flag: Optional[int]
    scored_at: Union[datetime, str, int, float, Decimal, None]
    """As a timestamp. The newest score counts, whatever the order of arrival. Default: now."""
    scorer: Optional[str]
    """Who scored it: 1-255 characters."""


Score = Union[NewScore, Mapping[str, Any]]
"""A dict of a score's fields, checked by the service."""


class _RequiredOfResult(TypedDict):
    index: int
    success: bool
    signal_id: Optional[int]
    error: Optional[str]


class SignalResult(_RequiredOfResult, total=False):
    """The outcome of one signal. ``code`` and ``retryable`` are set when ``success`` is false."""

    code: FailureCode
    field: str
    retryable: bool
    duplicate: Literal[True]
    """Set when ``signal_id`` is that of an earlier signal with the same dedupe_key."""
    waiting: Literal[True]
    """Of a score: it is kept until the signal with its dedupe_key is stored, for 7 days at most."""


class _RequiredOfBatchAnswer(TypedDict):
    total_count: int
    successful_count: int
    failed_count: int
    results: list[SignalResult]
    """One for each signal, in order; with ``minimal``, only the failures."""
    transaction_id: Optional[str]
    """Names the batch in the ledger; None when nothing was written."""


class BatchAnswer(_RequiredOfBatchAnswer, total=False):
    """The answer to a batch."""

    ignored_fields: list[str]
    """Names of unknown fields, which the service does not store."""


class ScoresAnswer(BatchAnswer):
    """The answer to a batch of scores."""

    waiting_count: int
    """Scores among the successful that are kept until their signals come."""


class _RequiredOfFailure(TypedDict):
    index: int
    error: str
    code: FailureCode
    retryable: bool


class Failure(_RequiredOfFailure, total=False):
    """A signal that was not stored: its index in the batch, and the rule it breaks."""

    field: str


class _RequiredOfShapeError(TypedDict):
    type: str
    loc: list[Union[str, int]]
    msg: str


class ShapeError(_RequiredOfShapeError, total=False):
    """An error of a request's shape, in the form of Pydantic v2 and FastAPI."""

    input: Any


class _RequiredOfStoredSignal(TypedDict):
    id: int
    time: str
    received_at: str
    edited_at: Optional[str]
    transaction_id: str
    context_window_id: str
    raw_content: Optional[str]
    signal_source: str
    signal_score: float
    signal_vector: Optional[str]
    emotional_tone: Optional[float]
    escalate_flag: int
    agent_id: Optional[str]
    user_id: Optional[str]
    payload: Any
    relationship_context: Optional[str]
    diagnostic_notes: Optional[str]
    dedupe_key: Optional[str]


class StoredSignal(_RequiredOfStoredSignal, total=False):
    """A stored signal. Times are UTC with microseconds, as text."""

    payload_omitted: Literal[True]
    duplicate: Literal[True]
    change: Literal["score"]
    """Set in the feed where the signal comes once more, since a score was stored for it."""
    scores: list[dict[str, Any]]
    """The scores that came after the signal, newest first; only where it is read by its id."""


class SignalPage(TypedDict):
    """A page of the list, newest first. A page that is not the last may hold few or none."""

    signals: list[StoredSignal]
    next_cursor: Optional[str]


class FeedPage(TypedDict):
    """A page of the feed, in commit order."""

    signals: list[StoredSignal]
    next_cursor: str
    more: bool
    lag_seconds: float


class ConversationStats(TypedDict):
    """Counts of one conversation."""

    context_window_id: str
    signal_count: int
    avg_score: float
    latest_signal: str


class _RequiredOfBatchRecord(TypedDict):
    transaction_id: str
    state: Literal["queued", "stored", "failed"]
    created_at: str
    caller: str
    idempotency_key: Optional[str]
    total_count: int
    successful_count: int
    failed_count: int
    failures: list[Failure]


class BatchRecord(_RequiredOfBatchRecord, total=False):
    """The ledger's record of a batch."""

    kind: Literal["scores"]
    """Set where the batch has scores."""
    waiting_count: int
    """Of scores: how many of the successful waited for their signals then."""
    reason: str


class _RequiredOfListedDeadLetter(TypedDict):
    id: int
    created_at: str
    state: Literal["waiting", "replayed", "discarded"]
    source: str
    caller: str
    reason: str
    code: FailureCode
    retryable: bool
    transaction_id: str
    index: int
    truncated: bool
    replay_transaction_id: str


class ListedDeadLetter(_RequiredOfListedDeadLetter, total=False):
    """An acknowledged record that could not become a signal, without the record itself."""

    field: str


class DeadLetter(ListedDeadLetter):
    """A dead letter with its record as JSON; only its beginning when it is truncated."""

    record: str


class _RequiredOfReplayAnswer(TypedDict):
    replayed: bool


class ReplayAnswer(_RequiredOfReplayAnswer, total=False):
    """The outcome of a replay."""

    reason: str
    transaction_id: str


class ReplayFailure(TypedDict):
    """A dead letter that was not replayed."""

    id: int
    reason: str


class BulkReplayAnswer(TypedDict):
    """The outcome of one call that replays many dead letters."""

    replayed_count: int
    failed_count: int
    failures: list[ReplayFailure]
    next_cursor: Optional[str]


class NewErasure(TypedDict, total=False):
    """The subject of an erasure: exactly one of the first four fields."""

    user_id: str
    agent_id: str
    context_window_id: str
    signal_ids: Sequence[int]
    suppress: bool


class Erased(TypedDict):
    """Counts of removed records."""

    signals: int
    dead_letters: int
    ledger_texts: int
    waiting_records: int


class Erasure(TypedDict):
    """An erasure, while it runs and as proof afterwards. It does not hold the subject."""

    id: str
    state: Literal["running", "done"]
    created_at: str
    finished_at: Optional[str]
    requested_by: str
    kind: str
    subject_hash: str
    suppress: bool
    erased: Erased
