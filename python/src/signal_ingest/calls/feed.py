"""How a reader follows the feed, as steps."""

from __future__ import annotations

import random
from typing import Optional

from ..base.errors import DeadlineError
from ..base.options import check_seconds
from ..base.types import FeedPage
from .call import Steps, Wait
from .operations import Operations

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0


class FeedReader:
    """Where a reader of the feed stands."""

    def __init__(
        self,
        operations: Operations,
        after: Optional[str],
        limit: int,
        wait: float,
        follow: bool,
        timeout: Optional[float],
    ) -> None:
        if not isinstance(limit, int) or not 1 <= limit <= 1000:
            raise ValueError(f"limit must be a whole number from 1 to 1000; it is {limit!r}.")
        check_seconds("wait", wait, 1, 30)
        self._operations = operations
        self._cursor = after
        self._limit = limit
        self._follow = follow
        self._wait = int(wait) if follow else 0
        self._timeout = (operations.settings.timeout if timeout is None else timeout) + self._wait
        self._is_at_end = False

    def next_page(self) -> Steps[Optional[FeedPage]]:
        """Reads until there is a new page; None at the end, which a reader that follows never reaches.

        A reader that follows retries transient errors without a limit.
        """
        errors = 0
        while not self._is_at_end:
            query = {"after": self._cursor, "limit": self._limit, "wait": self._wait}
            try:
                page = yield from self._operations.feed_page(query, self._timeout)
            except DeadlineError:
                if not self._follow:
                    raise
                longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(errors, 60))
                errors += 1
                yield Wait(random.random() * longest)
                continue
            errors = 0
            is_new = bool(page["signals"]) or page["next_cursor"] != self._cursor
            self._cursor = page["next_cursor"]
            self._is_at_end = not self._follow and not page["more"]
            if is_new:
                return page
        return None
