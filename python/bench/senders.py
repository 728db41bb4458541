"""The four ways to send that the benchmark compares. Each takes the numbers of its signals and sends them.

A sender returns how many signals it accepted: those for which its caller was not told of a loss.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

BATCH = 500
TEXT = "The quick brown fox jumps over the lazy dog, and nobody has lost a word of it on the way. " * 3

Sender = Callable[[str, str, Iterable[int]], int]


def signal(run: str, number: int) -> dict[str, Any]:
    """A signal of about 450 bytes, whose text names it."""
    return {
        "context_window_id": f"{run}-{number % 1000}",
        "raw_content": f"{number:07d} {TEXT}",
        "signal_source": "Axis",
        "signal_score": 0.5,
        "payload": {"number": number},
    }


def processor(url: str, run: str, numbers: Iterable[int]) -> int:
    """The library, in memory."""
    from signal_ingest import BatchProcessor, SignalClient

    made = BatchProcessor(SignalClient(url), max_count=BATCH)
    accepted = sum(made.add(signal(run, number), timeout=None) for number in numbers)
    made.close(timeout=None)
    return accepted


def spool(folder: str) -> Sender:
    """The library with a spool: each signal is on disk before ``add`` returns."""

    def send(url: str, run: str, numbers: Iterable[int]) -> int:
        from signal_ingest import BatchProcessor, SignalClient

        made = BatchProcessor(SignalClient(url), max_count=BATCH, spool=folder)
        accepted = sum(made.add(signal(run, number), timeout=None) for number in numbers)
        made.close(timeout=None)
        return accepted

    return send


def posthog_queue(max_queue_size: int) -> Sender:
    """The queue, the batches, the thread and the retries of posthog-python.

    Its request is replaced by one that posts the same signals to this service.
    """

    def send(url: str, run: str, numbers: Iterable[int]) -> int:
        import posthog.consumer
        import requests
        from posthog import Posthog
        from posthog.request import APIError

        session = requests.Session()

        def post(*_: object, batch: list[Any], **__: object) -> None:
            signals = [item["properties"]["signal"] for item in batch]
            answer = session.post(f"{url}/api/signals/batch", json={"signals": signals}, timeout=15)
            if answer.status_code != 200:
                raise APIError(answer.status_code, answer.text)

        posthog.consumer.batch_post = post  # type: ignore[assignment]
        logging.getLogger("posthog").setLevel(logging.CRITICAL)
        client = Posthog("key", host=url, max_queue_size=max_queue_size, flush_at=BATCH, flush_interval=1)
        accepted = 0
        for number in numbers:
            said = client.capture("signal", distinct_id="d", properties={"signal": signal(run, number)})
            accepted += said is not None
        client.shutdown()
        return accepted

    return send


def requests_loop(url: str, run: str, numbers: Iterable[int]) -> int:
    """A list, requests, three attempts after 1, 2 and 4 seconds: the guide's way."""
    import requests

    session = requests.Session()
    accepted = 0
    buffer: list[dict[str, Any]] = []

    def flush() -> int:
        body = json.dumps({"signals": buffer})
        count = len(buffer)
        buffer.clear()
        for attempt in range(3):
            try:
                headers = {"Content-Type": "application/json"}
                answer = session.post(f"{url}/api/signals/batch", data=body, headers=headers, timeout=30)
                if answer.status_code < 500:
                    answer.raise_for_status()
                    return count
            except requests.RequestException:
                pass
            time.sleep(2**attempt)
        return 0

    for number in numbers:
        buffer.append(signal(run, number))
        if len(buffer) == BATCH:
            accepted += flush()
    return accepted + flush() if buffer else accepted


def new_run() -> str:
    """Names a run, so that SQL can tell its signals from all others."""
    return uuid.uuid4().hex[:8]
