"""The handler of logging: no record about itself, no lock held while it waits, no record lost in silence."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from signal_ingest import BatchProcessor, LogHandler, SignalClient, conversation

from .setup.hop import Hop
from .setup.programs import run
from .test_processor import body_of, echo


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("tests.handler")
    made.setLevel(logging.DEBUG)
    made.propagate = False
    yield made
    made.handlers.clear()


def sent(stub: Hop) -> list[Any]:
    return [one for seen in stub.seen for one in json.loads(body_of(seen))["signals"]]


def test_a_record_becomes_a_signal(stub: Hop, logger: logging.Logger) -> None:
    stub.always = echo
    with BatchProcessor(SignalClient(stub.url)) as processor:
        logger.addHandler(LogHandler(processor, source="billing", static={"service": "web"}))
        logger.warning(
            "low on %s", "paper", extra={"context_window_id": "room-1", "order": 7, "thing": object()}
        )
        token = conversation.set("room-2")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logger.exception("failed", extra={"half": "\ud800"})
        conversation.reset(token)
        logger.info("plain")
    first, second, third = sent(stub)
    assert (first["context_window_id"], first["raw_content"], first["signal_source"]) == (
        "room-1", "low on paper", "billing",
    )  # fmt: skip
    assert first["payload"]["level"] == "WARNING"
    assert (first["payload"]["order"], first["payload"]["service"]) == (7, "web")
    assert first["payload"]["thing"].startswith("<object object")
    assert (second["context_window_id"], second["raw_content"]) == ("room-2", "failed")
    assert second["payload"]["half"] == "\\ud800"
    assert "ZeroDivisionError" in second["payload"]["exception"]
    assert (first["signal_score"], second["signal_score"], third["signal_score"]) == (0.7, 1.0, 0.5)
    assert third["context_window_id"] == "logs"


def test_the_library_never_sends_records_about_itself(stub: Hop) -> None:
    """Its warnings go to the root logger, whose handler would send them, and warn again."""
    stub.always = "refuse"
    code = """
    import logging, sys
    from signal_ingest import *
    logging.basicConfig(level=logging.DEBUG)
    processor = BatchProcessor(SignalClient(sys.argv[1]), exit_timeout_seconds=0.2,
        on_failure=lambda _: logging.getLogger("app").warning("in a callback"))
    logging.getLogger().addHandler(LogHandler(processor))
    logging.getLogger("signal_ingest").warning("own")
    logging.getLogger("urllib3.connectionpool").debug("own")
    logging.getLogger("app").warning("one")
    print(processor.stats().accepted)
    """
    assert run(code, stub.url).stdout == "1\n"


def test_a_log_call_does_not_wait_for_the_service(stub: Hop, logger: logging.Logger) -> None:
    stub.always = "refuse"
    processor = BatchProcessor(SignalClient(stub.url), max_buffered=5, on_undelivered=lambda _: None)
    logger.addHandler(LogHandler(processor))
    for at in range(20):
        logger.info(at)
    assert (processor.stats().accepted, processor.stats().dropped) == (5, 15)
    processor.close(timeout=0)


def test_logging_shutdown_does_not_wait(stub: Hop, logger: logging.Logger) -> None:
    stub.always = "refuse"
    processor = BatchProcessor(SignalClient(stub.url), on_undelivered=lambda _: None)
    logger.addHandler(LogHandler(processor))
    logger.info("x")
    done = threading.Event()
    threading.Thread(target=lambda: (logging.shutdown(), done.set()), daemon=True).start()
    assert done.wait(20)
    processor.close(timeout=0)


def test_a_record_in_a_signal_handler(stub: Hop) -> None:
    """A signal may arrive while the same thread holds a lock of the library."""
    stub.always = echo
    code = """
    import logging, os, signal, sys
    from signal_ingest import *
    processor = BatchProcessor(SignalClient(sys.argv[1]), max_count=1000)
    log = logging.getLogger("app"); log.propagate = False; log.setLevel(logging.INFO)
    log.addHandler(LogHandler(processor))
    count = 0
    def handle(*_):
        global count
        count += 1
        log.info("in a handler")
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for at in range(2000): log.info(at)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert processor.close(), processor.stats()
    assert processor.stats().accepted + processor.stats().dropped >= 2000, processor.stats()
    print("ended")
    """
    assert run(code, stub.url, python=[sys.executable]).stdout == "ended\n"
