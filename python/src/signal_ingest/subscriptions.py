"""Who is called about new signals, for both clients. Every method needs the scope admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .base.admin import (
    DeliveryAttempt,
    NewSecret,
    NewSubscription,
    Subscription,
    SubscriptionChange,
    SubscriptionOptions,
    Time,
)
from .calls.admin import Admin

if TYPE_CHECKING:
    from .async_client import AsyncSignalClient
    from .client import SignalClient

Subscriptions = list[Subscription]


class SubscriptionsClient:
    """The subscriptions, as ``client.subscriptions`` of a SignalClient."""

    def __init__(self, admin: Admin, client: SignalClient) -> None:
        self._admin = admin
        self._client = client

    def list(self, *, timeout: Optional[float] = None) -> Subscriptions:
        """Returns every subscription, by name."""
        return self._client.run(self._admin.subscriptions(timeout))

    def get(self, subscription_id: str, *, timeout: Optional[float] = None) -> Optional[Subscription]:
        """Returns a subscription; None when none has this id."""
        return self._client.run(self._admin.subscription(subscription_id, timeout))

    def add(self, subscription: SubscriptionOptions, *, timeout: Optional[float] = None) -> NewSubscription:
        """Creates a subscription that begins after the newest signal.

        Its answer is the only one that has the secret. Raises ValidationError: the address must not be
        called, or the name is taken, also by an attempt of this call whose answer was lost; list the
        subscriptions, and give it a new secret. Raises DeadlineError: it may be created; list the
        subscriptions.
        """
        return self._client.run(self._admin.add_subscription(subscription, timeout))

    def change(
        self, subscription_id: str, change: SubscriptionChange, *, timeout: Optional[float] = None
    ) -> Subscription:
        """Changes a subscription; ``{"state": "paused"}`` pauses it, ``{"state": "active"}`` resumes it.

        Raises RequestError: none has this id.
        """
        return self._client.run(self._admin.change_subscription(subscription_id, change, timeout))

    def test(self, subscription_id: str, *, timeout: Optional[float] = None) -> DeliveryAttempt:
        """Sends a test call now, and returns what the receiver answered.

        Raises RequestError: none has this id.
        """
        return self._client.run(self._admin.test_subscription(subscription_id, timeout))

    def resend(self, subscription_id: str, since: Time, *, timeout: Optional[float] = None) -> Subscription:
        """Sends again what was stored since a time. Raises RequestError: none has this id."""
        return self._client.run(self._admin.resend(subscription_id, since, timeout))

    def replace_secret(
        self,
        subscription_id: str,
        *,
        overlap_seconds: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> NewSecret:
        """Gives a subscription a new secret.

        Calls are also signed with the former one for ``overlap_seconds``, by default a day. Raises
        RequestError: none has this id. Raises DeadlineError: it may have a new secret that nobody knows; call
        it again.
        """
        return self._client.run(self._admin.replace_secret(subscription_id, overlap_seconds, timeout))

    def remove(self, subscription_id: str, *, timeout: Optional[float] = None) -> Subscription:
        """Deletes a subscription, and returns what it was. Raises RequestError: none has this id."""
        return self._client.run(self._admin.remove_subscription(subscription_id, timeout))


class AsyncSubscriptionsClient:
    """The subscriptions, as ``client.subscriptions`` of an AsyncSignalClient."""

    def __init__(self, admin: Admin, client: AsyncSignalClient) -> None:
        self._admin = admin
        self._client = client

    async def list(self, *, timeout: Optional[float] = None) -> Subscriptions:
        """Returns every subscription, by name."""
        return await self._client.run(self._admin.subscriptions(timeout))

    async def get(self, subscription_id: str, *, timeout: Optional[float] = None) -> Optional[Subscription]:
        """Returns a subscription; None when none has this id."""
        return await self._client.run(self._admin.subscription(subscription_id, timeout))

    async def add(
        self, subscription: SubscriptionOptions, *, timeout: Optional[float] = None
    ) -> NewSubscription:
        """As SubscriptionsClient.add."""
        return await self._client.run(self._admin.add_subscription(subscription, timeout))

    async def change(
        self, subscription_id: str, change: SubscriptionChange, *, timeout: Optional[float] = None
    ) -> Subscription:
        """As SubscriptionsClient.change."""
        return await self._client.run(self._admin.change_subscription(subscription_id, change, timeout))

    async def test(self, subscription_id: str, *, timeout: Optional[float] = None) -> DeliveryAttempt:
        """As SubscriptionsClient.test."""
        return await self._client.run(self._admin.test_subscription(subscription_id, timeout))

    async def resend(
        self, subscription_id: str, since: Time, *, timeout: Optional[float] = None
    ) -> Subscription:
        """As SubscriptionsClient.resend."""
        return await self._client.run(self._admin.resend(subscription_id, since, timeout))

    async def replace_secret(
        self,
        subscription_id: str,
        *,
        overlap_seconds: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> NewSecret:
        """As SubscriptionsClient.replace_secret."""
        return await self._client.run(self._admin.replace_secret(subscription_id, overlap_seconds, timeout))

    async def remove(self, subscription_id: str, *, timeout: Optional[float] = None) -> Subscription:
        """As SubscriptionsClient.remove."""
        return await self._client.run(self._admin.remove_subscription(subscription_id, timeout))
