"""The options of both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

from ..base.clock import Clock
from ..base.options import check_count, check_seconds
from ..http.address import parse_address
from ..http.codings import Compression
from .answer import parse_json
from .call import Retry, Settings, check_headers
from .tracing import Tracing

DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_MAX_ANSWER_BYTES = 64 * 1024**2


def settle(
    url: str,
    key: Optional[str],
    timeout: float,
    max_answer_bytes: int,
    compress: bool,
    parse: Optional[Callable[[str], Any]],
    headers: Optional[Mapping[str, str]],
    on_retry: Optional[Callable[[Retry], None]],
    clock: Clock,
    tracing: Optional[Tracing] = None,
) -> Settings:
    """Checks the options of a client. Raises ValueError: one is out of its range; no message has the key."""
    own = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "signal-ingest-python"}
    # An empty text is none: an empty variable of the environment.
    if key is not None and key != "":
        if not isinstance(key, str) or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("key must be visible ASCII characters: check it for a line break or a space.")
        own["authorization"] = f"Bearer {key}"
    return Settings(
        address=parse_address(url),
        headers={**{name.lower(): value for name, value in check_headers(headers or {}).items()}, **own},
        timeout=check_seconds("timeout", timeout, 0.001),
        max_answer_bytes=check_count("max_answer_bytes", max_answer_bytes, 1, 2**29),
        compression=Compression(compress),
        parse=parse or parse_json,
        on_retry=on_retry,
        monotonic=clock.monotonic,
        tracing=tracing,
    )
