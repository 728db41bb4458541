"""Sends many signals from forked workers while the service is killed, and counts in SQL what is stored.

python -m bench.run [--signals 1000000] [--workers 4] [--kills 2] [--senders spool,memory,posthog,requests]
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

import psycopg
from tests.setup.service import Service

from . import senders

PROGRESS = struct.Struct("<q")
"""A worker tells how far it is in memory that it shares with the parent."""


def work(
    sender: senders.Sender, service: Service, run: str, numbers: range, shared: mmap.mmap, at: int
) -> Any:
    """Sends a worker's share; returns what it accepted, and what it took."""

    def told() -> Iterator[int]:
        for done, number in enumerate(numbers):
            if done % 100 == 0:
                PROGRESS.pack_into(shared, at * PROGRESS.size, done)
            yield number
        PROGRESS.pack_into(shared, at * PROGRESS.size, len(numbers))

    started = time.monotonic()
    accepted = sender(service.url, run, told())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "accepted": accepted,
        "seconds": time.monotonic() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def fork(task: Any) -> tuple[int, int]:
    """Runs a task in a forked child; returns its process id and the pipe that carries its result."""
    reads, writes = os.pipe()
    child = os.fork()
    if child:
        os.close(writes)
        return child, reads
    code = 1
    try:
        os.close(reads)
        with os.fdopen(writes, "w") as out:
            json.dump(task(), out)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def stored(service: Service, run: str) -> tuple[int, int]:
    """Rows of a run in the database, and how many different texts they have."""
    with psycopg.connect(service.database_url) as connection:
        row = connection.execute(
            """
            SELECT count(*), count(DISTINCT left(raw_content, 7)) FROM signals
            WHERE context_window_id LIKE %s
            """,
            (f"{run}-%",),
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def measure(name: str, sender: senders.Sender, options: argparse.Namespace) -> dict[str, Any]:
    """Lets a sender send everything, to a service of its own."""
    service = Service()
    run = senders.new_run()
    share = options.signals // options.workers
    shared = mmap.mmap(-1, PROGRESS.size * options.workers)
    children = [
        fork(lambda at=at: work(sender, service, run, range(at * share, (at + 1) * share), shared, at))
        for at in range(options.workers)
    ]
    away = 0.0
    for kill in range(options.kills):
        mark = (kill + 1) * share * options.workers // (options.kills + 1)
        while sum(value for (value,) in PROGRESS.iter_unpack(shared[:])) < mark:
            time.sleep(0.05)
        started = time.monotonic()
        service.kill()
        service.start()
        away += time.monotonic() - started
        print(
            f"{name}: killed at {mark:,} signals, back after {time.monotonic() - started:.1f} s",
            file=sys.stderr,
        )
    results = []
    for child, reads in children:
        with os.fdopen(reads) as told:
            results.append(json.load(told))
        os.waitpid(child, 0)
    rows, texts = stored(service, run)
    service.remove()
    accepted = sum(one["accepted"] for one in results)
    seconds = max(one["seconds"] for one in results)
    return {
        "sender": name,
        "signals": share * options.workers,
        "accepted": accepted,
        "stored": texts,
        "lost": share * options.workers - texts,
        "doubled": rows - texts,
        "seconds": round(seconds, 1),
        "seconds away": round(away, 1),
        "signals/s": round(texts / seconds),
        "CPU µs a signal": round(
            sum(one["cpu_seconds"] for one in results) / (share * options.workers) * 1e6
        ),
        "peak MiB a worker": round(max(one["peak_mib"] for one in results)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--signals", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--senders", default="memory,spool,requests,posthog,posthog-large")
    options = parser.parse_args()
    # The thread that reads the service's words takes no part in the children.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    folder = tempfile.mkdtemp(prefix="signal-ingest-spool-")
    known: dict[str, senders.Sender] = {
        "memory": senders.processor,
        "spool": senders.spool(folder),
        "requests": senders.requests_loop,
        "posthog": senders.posthog_queue(10_000),
        "posthog-large": senders.posthog_queue(options.signals),
    }
    try:
        for name in options.senders.split(","):
            print(json.dumps(measure(name, known[name], options), ensure_ascii=False), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
