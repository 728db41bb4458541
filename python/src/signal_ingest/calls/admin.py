"""The calls about keys and subscriptions as steps, for both clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, cast

from ..base.admin import (
    ApiKeyDay,
    ApiKeyLimits,
    ApiKeyRecord,
    DeliveryAttempt,
    KeyRotation,
    MadeApiKey,
    NewApiKey,
    NewSecret,
    NewSubscription,
    Subscription,
    SubscriptionChange,
    SubscriptionOptions,
    Time,
)
from ..base.encode import encode_object
from .answer import Check, has_fields, is_count, is_list_of, is_page_of
from .call import Call, Steps
from .operations import Operations, segment

_IS_KEY = has_fields(id=str, name=str, state=str)
_IS_MADE_KEY = has_fields(id=str, name=str, key=str)
_IS_SUBSCRIPTION = has_fields(id=str, name=str, state=str)
_IS_MADE_SUBSCRIPTION = has_fields(id=str, name=str, secret=str)
IS_KEY_PAGE = is_page_of("keys", _IS_KEY)
IS_AUDIT_PAGE = is_page_of("mismatches", has_fields(), part=str, checked=is_count, mismatch_count=is_count)


class Admin:
    """The calls. Each returns steps that a transport carries out."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def key(self, key_id: str, timeout: Optional[float]) -> Steps[Optional[ApiKeyRecord]]:
        """Reads a key's record."""
        found = yield from self._operations.find(_key_path(key_id), _IS_KEY, timeout)
        return cast("Optional[ApiKeyRecord]", found)

    def add_key(self, key: NewApiKey, timeout: Optional[float]) -> Steps[MadeApiKey]:
        """Makes a key."""
        made = yield from self._send("POST", "/api/keys", key, "key", _IS_MADE_KEY, timeout)
        return cast(MadeApiKey, made)

    def rotate_key(self, key_id: str, rotation: KeyRotation, timeout: Optional[float]) -> Steps[MadeApiKey]:
        """Makes another key for the caller of a key."""
        path = f"{_key_path(key_id)}/rotate"
        made = yield from self._send("POST", path, rotation, "rotation", _IS_MADE_KEY, timeout)
        return cast(MadeApiKey, made)

    def revoke_key(self, key_id: str, timeout: Optional[float]) -> Steps[ApiKeyRecord]:
        """Revokes a key."""
        call = Call("DELETE", _key_path(key_id), _IS_KEY, None, {}, timeout)
        return cast(ApiKeyRecord, (yield from self._operations.call(call)))

    def limit_key(self, key_id: str, limits: ApiKeyLimits, timeout: Optional[float]) -> Steps[ApiKeyRecord]:
        """Sets the limits of a caller."""
        limited = yield from self._send("PATCH", _key_path(key_id), limits, "limits", _IS_KEY, timeout)
        return cast(ApiKeyRecord, limited)

    def key_usage(self, key_id: str, days: int, timeout: Optional[float]) -> Steps[list[ApiKeyDay]]:
        """Reads what a caller sent."""
        check = has_fields(name=str, days=is_list_of(has_fields(day=str, signals=is_count)))
        path = f"{_key_path(key_id)}/usage"
        usage = yield from self._operations.get(path, {"days": days}, check, timeout)
        return cast("list[ApiKeyDay]", usage["days"])

    def subscriptions(self, timeout: Optional[float]) -> Steps[list[Subscription]]:
        """Reads every subscription."""
        check = has_fields(subscriptions=is_list_of(_IS_SUBSCRIPTION))
        answer = yield from self._operations.get("/api/subscriptions", {}, check, timeout)
        return cast("list[Subscription]", answer["subscriptions"])

    def subscription(self, subscription_id: str, timeout: Optional[float]) -> Steps[Optional[Subscription]]:
        """Reads a subscription."""
        path = _subscription_path(subscription_id)
        return cast(
            "Optional[Subscription]", (yield from self._operations.find(path, _IS_SUBSCRIPTION, timeout))
        )

    def add_subscription(
        self, subscription: SubscriptionOptions, timeout: Optional[float]
    ) -> Steps[NewSubscription]:
        """Creates a subscription."""
        path, value = "/api/subscriptions", subscription
        made = yield from self._send("POST", path, value, "subscription", _IS_MADE_SUBSCRIPTION, timeout)
        return cast(NewSubscription, made)

    def change_subscription(
        self, subscription_id: str, change: SubscriptionChange, timeout: Optional[float]
    ) -> Steps[Subscription]:
        """Changes, pauses or resumes a subscription."""
        path = _subscription_path(subscription_id)
        changed = yield from self._send("PATCH", path, change, "change", _IS_SUBSCRIPTION, timeout)
        return cast(Subscription, changed)

    def test_subscription(self, subscription_id: str, timeout: Optional[float]) -> Steps[DeliveryAttempt]:
        """Sends a test call to a receiver."""
        path = f"{_subscription_path(subscription_id)}/test"
        check = has_fields(webhook_id=str, ms=is_count)
        return cast(DeliveryAttempt, (yield from self._send("POST", path, {}, "", check, timeout)))

    def resend(self, subscription_id: str, since: Time, timeout: Optional[float]) -> Steps[Subscription]:
        """Moves a subscription back to a time."""
        path = f"{_subscription_path(subscription_id)}/resend"
        moved = yield from self._send("POST", path, {"since": since}, "", _IS_SUBSCRIPTION, timeout)
        return cast(Subscription, moved)

    def replace_secret(
        self, subscription_id: str, overlap_seconds: Optional[int], timeout: Optional[float]
    ) -> Steps[NewSecret]:
        """Gives a subscription a new secret."""
        path = f"{_subscription_path(subscription_id)}/secret"
        value = {} if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        return cast(
            NewSecret, (yield from self._send("POST", path, value, "", has_fields(secret=str), timeout))
        )

    def remove_subscription(self, subscription_id: str, timeout: Optional[float]) -> Steps[Subscription]:
        """Deletes a subscription."""
        call = Call("DELETE", _subscription_path(subscription_id), _IS_SUBSCRIPTION, None, {}, timeout)
        return cast(Subscription, (yield from self._operations.call(call)))

    def _send(
        self,
        method: str,
        path: str,
        value: Mapping[str, Any],
        name: str,
        check: Check,
        timeout: Optional[float],
    ) -> Steps[Any]:
        return self._operations.call(Call(method, path, check, encode_object(value, name), {}, timeout))


def _key_path(key_id: str) -> str:
    return f"/api/keys/{segment(key_id)}"


def _subscription_path(subscription_id: str) -> str:
    return f"/api/subscriptions/{segment(subscription_id)}"
