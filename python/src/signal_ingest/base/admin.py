"""The shapes of keys, subscriptions and audits, which need the scope admin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Optional, TypedDict, Union

Scope = Literal["ingest", "read", "bridge", "admin"]
"""What an API key allows."""

Time = Union[datetime, str]
"""A datetime (naive means UTC), or ISO 8601."""


class ApiKeyLimits(TypedDict, total=False):
    """What a caller may send in a day, about. A limit that is not given is none."""

    signals_per_day: Optional[int]
    bytes_per_day: Optional[int]


class _RequiredOfKey(ApiKeyLimits):
    name: str
    """The caller: 1 to 100 letters, digits or any of ``. _ @ -``. No other caller ever gets the name."""
    scopes: Sequence[Scope]
    """Only scopes that the key of this client has."""


class NewApiKey(_RequiredOfKey, total=False):
    """A key to make."""

    expires_at: Optional[Time]
    """When it ends by itself. Default: never."""


class KeyRotation(TypedDict, total=False):
    """When a rotation ends which key."""

    expires_at: Optional[Time]
    """When the new key ends by itself. Default: never."""
    former_expires_at: Optional[Time]
    """When the former key ends. Default: it stays valid until it is revoked."""


class LimitsOfKey(TypedDict):
    """The limits of a caller; None: no limit."""

    signals_per_day: Optional[int]
    bytes_per_day: Optional[int]


class ApiKeyRecord(TypedDict):
    """A key that was made at run time, without the key itself. Keys of one name are one caller."""

    id: str
    name: str
    hint: str
    state: Literal["active", "expired", "revoked"]
    scopes: list[Scope]
    created_at: str
    created_by: str
    expires_at: Optional[str]
    revoked_at: Optional[str]
    revoked_by: Optional[str]
    rotated_from: Optional[str]
    last_used_on: Optional[str]
    limits: LimitsOfKey


class MadeApiKey(ApiKeyRecord):
    """A key that was just made, with the key itself."""

    key: str


class ApiKeyDay(TypedDict):
    """What a caller sent on one day in UTC, by the ledger; ``signals`` includes the failed ones."""

    day: str
    batches: int
    signals: int
    failed_signals: int


class SubscriptionFilter(TypedDict, total=False):
    """Which signals a subscription is about: those that pass every part."""

    escalate_flag: int
    min_score: float
    """Inclusive, as ``max_score``."""
    max_score: float
    signal_source: str
    context_window_id: str
    user_id: str
    agent_id: str
    max_age_seconds: int
    """Signals whose ``time`` was at most so long before they were stored."""


SubscriptionFormat = Literal["signals", "slack"]
"""What a call holds: ``signals`` as JSON, or a message for an incoming webhook of Slack."""


class _RequiredOfSubscription(TypedDict):
    name: str
    """Unique."""
    url: str
    """https, with port 443 or 8443, and a public host."""


class SubscriptionOptions(_RequiredOfSubscription, total=False):
    """A subscription to create."""

    filter: SubscriptionFilter
    """Default: every signal; with the format ``slack`` those of the last hour."""
    format: SubscriptionFormat
    """Default: ``signals``."""


class SubscriptionChange(TypedDict, total=False):
    """What to change of a subscription; what is left out stays."""

    name: str
    url: str
    filter: SubscriptionFilter
    """Replaces the whole filter."""
    state: Literal["active", "paused"]
    """``active`` resumes from the saved position, also when it was ``disabled``."""


class DeliveryAttempt(TypedDict):
    """One call and its answer. ``status`` is None without an answer, ``error`` when it was accepted."""

    at: str
    webhook_id: str
    signals: int
    status: Optional[int]
    error: Optional[str]
    ms: int


class Subscription(TypedDict):
    """A subscription and its deliveries."""

    id: str
    name: str
    url: Optional[str]
    """Of the format ``slack`` only its host. None when the service cannot open it any more."""
    format: SubscriptionFormat
    filter: SubscriptionFilter
    state: Literal["active", "paused", "disabled"]
    created_at: str
    created_by: str
    lag_seconds: float
    """The age of the oldest batch that it has not got past; 0 when it has seen everything."""
    delivered_signals: int
    failed_attempts: int
    """Since the last call that was accepted."""
    failing_since: Optional[str]
    next_attempt_at: Optional[str]
    previous_secret_until: Optional[str]
    """Until then calls are also signed with the former secret."""
    last_answers: list[DeliveryAttempt]
    """Newest first, up to ten."""


class NewSubscription(Subscription):
    """A subscription that was just created, with its secret: no later answer has it."""

    secret: str


class NewSecret(TypedDict):
    """A new secret of a subscription; calls are also signed with the former one until then."""

    secret: str
    previous_secret_until: Optional[str]


class LedgerMismatch(TypedDict):
    """Rows of the database that disagree; ``kind`` is such as ``signal_without_batch``."""

    kind: str
    transaction_id: Optional[str]
    signal_id: Optional[int]


class AuditPage(TypedDict):
    """One page of an audit: the ledger compared with the signals."""

    part: Literal["signals", "batches", "keys"]
    checked: int
    absent: int
    """Of ``batches``: ids without a signal, which is no mismatch."""
    mismatch_count: int
    mismatches: list[LedgerMismatch]
    """The first 100 of them."""
    next_cursor: Optional[str]
