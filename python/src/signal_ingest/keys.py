"""The API keys that are made while a service runs, for both clients. Every method needs the scope admin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Optional

from .base.admin import ApiKeyDay, ApiKeyLimits, ApiKeyRecord, KeyRotation, MadeApiKey, NewApiKey
from .calls.admin import IS_KEY_PAGE, Admin

if TYPE_CHECKING:
    from .async_client import AsyncSignalClient
    from .client import SignalClient

Days = list[ApiKeyDay]
_LIST = {"limit": 200}


class KeysClient:
    """The keys, as ``client.keys`` of a SignalClient."""

    def __init__(self, admin: Admin, client: SignalClient) -> None:
        self._admin = admin
        self._client = client

    def list(self, *, timeout: Optional[float] = None) -> Iterator[ApiKeyRecord]:
        """Yields every key, newest first, also those that have ended."""
        for page in self._client.pages("/api/keys", _LIST, IS_KEY_PAGE, timeout):
            yield from page["keys"]

    def get(self, key_id: str, *, timeout: Optional[float] = None) -> Optional[ApiKeyRecord]:
        """Returns a key's record; None when none has this id."""
        return self._client.run(self._admin.key(key_id, timeout))

    def add(self, key: NewApiKey, *, timeout: Optional[float] = None) -> MadeApiKey:
        """Makes a key. Its answer is the only one that has the key itself.

        Raises RequestError with the code ``key_conflict``: the name is taken, also by an attempt of this call
        whose answer was lost; rotate that key. Raises DeadlineError: the key may be made; list the keys.
        """
        return self._client.run(self._admin.add_key(key, timeout))

    def rotate(
        self, key_id: str, rotation: Optional[KeyRotation] = None, *, timeout: Optional[float] = None
    ) -> MadeApiKey:
        """Makes another key for the caller of a key, which stays valid unless ``former_expires_at`` ends it.

        Raises RequestError: no key has this id, or two keys of its name are valid already. Raises
        DeadlineError: the key may be made; list the keys.
        """
        return self._client.run(self._admin.rotate_key(key_id, rotation or {}, timeout))

    def revoke(self, key_id: str, *, timeout: Optional[float] = None) -> ApiKeyRecord:
        """Revokes a key: the service refuses it within 60 seconds. To revoke it again is safe.

        Raises RequestError: no key has this id.
        """
        return self._client.run(self._admin.revoke_key(key_id, timeout))

    def limit(self, key_id: str, limits: ApiKeyLimits, *, timeout: Optional[float] = None) -> ApiKeyRecord:
        """Sets what the caller of a key may send in a day, for every key of its name.

        The service learns of it within 60 seconds. Raises RequestError: no key has this id.
        """
        return self._client.run(self._admin.limit_key(key_id, limits, timeout))

    def usage(self, key_id: str, days: int = 7, *, timeout: Optional[float] = None) -> Days:
        """Returns what the caller sent on each of the last 1 to 31 days, today included, newest first."""
        return self._client.run(self._admin.key_usage(key_id, days, timeout))


class AsyncKeysClient:
    """The keys, as ``client.keys`` of an AsyncSignalClient."""

    def __init__(self, admin: Admin, client: AsyncSignalClient) -> None:
        self._admin = admin
        self._client = client

    async def list(self, *, timeout: Optional[float] = None) -> AsyncIterator[ApiKeyRecord]:
        """Yields every key, newest first, also those that have ended."""
        async for page in self._client.pages("/api/keys", _LIST, IS_KEY_PAGE, timeout):
            for key in page["keys"]:
                yield key

    async def get(self, key_id: str, *, timeout: Optional[float] = None) -> Optional[ApiKeyRecord]:
        """Returns a key's record; None when none has this id."""
        return await self._client.run(self._admin.key(key_id, timeout))

    async def add(self, key: NewApiKey, *, timeout: Optional[float] = None) -> MadeApiKey:
        """As KeysClient.add."""
        return await self._client.run(self._admin.add_key(key, timeout))

    async def rotate(
        self, key_id: str, rotation: Optional[KeyRotation] = None, *, timeout: Optional[float] = None
    ) -> MadeApiKey:
        """As KeysClient.rotate."""
        return await self._client.run(self._admin.rotate_key(key_id, rotation or {}, timeout))

    async def revoke(self, key_id: str, *, timeout: Optional[float] = None) -> ApiKeyRecord:
        """As KeysClient.revoke."""
        return await self._client.run(self._admin.revoke_key(key_id, timeout))

    async def limit(
        self, key_id: str, limits: ApiKeyLimits, *, timeout: Optional[float] = None
    ) -> ApiKeyRecord:
        """As KeysClient.limit."""
        return await self._client.run(self._admin.limit_key(key_id, limits, timeout))

    async def usage(self, key_id: str, days: int = 7, *, timeout: Optional[float] = None) -> Days:
        """As KeysClient.usage."""
        return await self._client.run(self._admin.key_usage(key_id, days, timeout))
