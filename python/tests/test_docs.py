"""Every program of docs/python.md runs as printed, with the address of a real service."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from signal_ingest import SignalClient

from .setup.programs import LIMIT_SECONDS
from .setup.service import REPOSITORY, ROOT_KEY, Service, free_port

PAGE = REPOSITORY / "docs/python.md"
ADDRESS = "http://localhost:8002"


def blocks(path: Path = PAGE) -> list[tuple[str, str]]:
    """The Python programs of a page, with the heading above each."""
    found: list[tuple[str, str]] = []
    heading = ""
    for part in re.finditer(
        r"^(#+ [^\n]+)$|^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL
    ):
        heading = part[1].lstrip("# ") if part[1] else heading
        if part[2]:
            found.append((heading, part[2]))
    return found


OF_ITS_OWN = ("A database, by psycopg", "A Kafka consumer", "FastAPI")
ALONE = [
    (f"{heading} {at}", code) for at, (heading, code) in enumerate(blocks()) if heading not in OF_ITS_OWN
]
NEEDS = ("prometheus_client", "opentelemetry.sdk")


def execute(code: str, folder: Path, **environment: str) -> str:
    for module in NEEDS:
        if module in code:
            pytest.importorskip(module)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "lost" not in ended.stderr
    return ended.stdout


def of(heading: str) -> str:
    (code,) = [code for name, code in blocks() if name == heading]
    return code


EXPECTED: dict[str, Any] = {
    "Calls": r"Created 1/2 signals\n1 out_of_range|\d+\nReady to sync",
    "A chat log, best effort": "Created 2/2 signals",
    "Critical metrics, all or nothing": r"Import failed: Batch failed at index 2.*\n2 signal_score",
    "Stream processing": "Stored 120 signals",
    "Retries": r"^[0-9a-f-]{36}\n",
    "Prometheus": r"batch_signals_created_total 1.0|^$",
    "OpenTelemetry": r'"name": "POST /api/signals/batch"(.|\n)*"name": "handle a message"',
    "Keys": r"^si_live_\w+\n(.|\n)*importer-\d+ active None\nimporter-\d+ revoked None\n",
    "Subscriptions": r"^whsec_.+\nNone .+\n\d{4}-.+\n(.|\n)*angry-\d+ active",
    "An audit": r"signals \d+ 0 \[\]\n(.|\n)*keys \d+ 0 \[\]\n$",
}


@pytest.mark.parametrize(("name", "code"), ALONE, ids=[name for name, _ in ALONE])
def test_a_program_runs_as_printed(service: Service, tmp_path: Path, name: str, code: str) -> None:
    said = execute(code.replace(ADDRESS, service.url), tmp_path, SIGNAL_INGEST_KEY=ROOT_KEY)
    assert re.search(EXPECTED.get(name.rsplit(" ", 1)[0], ""), said), said


def test_each_program_is_run() -> None:
    assert {heading for heading, _ in blocks()} >= {*OF_ITS_OWN, *EXPECTED}
    assert len(ALONE) + len(OF_ITS_OWN) == len(blocks())


def test_psycopg(service: Service, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    legacy = re.sub(r"/[^/]*$", "/legacy", service.database_url)
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        connection.execute("drop database if exists legacy")
        connection.execute("create database legacy")
    with psycopg.connect(legacy) as connection:
        connection.execute(
            "create table messages (id serial, conversation_id text, message_text text, score numeric,"
            " created_at timestamptz)"
        )
        connection.execute(
            "insert into messages (conversation_id, message_text, score, created_at)"
            " select 'conv-legacy', 'Message ' || n, 0.25, now() - n * interval '1 minute'"
            " from generate_series(1, 1200) n"
        )
    code = of("A database, by psycopg").replace(ADDRESS, service.url).replace("dbname=legacy", legacy)
    assert "stored=1200," in execute(code, tmp_path)
    assert "duplicates=1200," in execute(code, tmp_path)  # a second run
    with SignalClient(service.url) as client:
        assert len(list(client.list(context_window_id="conv-legacy"))) == 1200


def test_kafka(service: Service, tmp_path: Path) -> None:
    """Against the broker that librdkafka brings for tests, which speaks Kafka's protocol."""
    pytest.importorskip("kafka")
    confluent = pytest.importorskip("confluent_kafka")
    producer = confluent.Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1})
    brokers = producer.list_topics("signals-topic", timeout=300).brokers
    address = next(f"{broker.host}:{broker.port}" for broker in brokers.values())
    for at in range(150):
        producer.produce("signals-topic", f'{{"conversation_id": "conv-kafka", "text": "Message {at}"}}')
    assert producer.flush(30) == 0
    code = of("A Kafka consumer").replace(ADDRESS, service.url).replace("localhost:9092", address)
    run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        with SignalClient(service.url) as client:
            while len(list(client.list(context_window_id="conv-kafka"))) < 150:
                assert run.poll() is None, run.communicate()[1]
                time.sleep(0.2)
    finally:
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=500)[1]
    assert "KeyboardInterrupt" in said
    assert "lost" not in said


def test_fastapi(service: Service, tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    import urllib.request

    from .test_servers import serving

    (tmp_path / "site_app.py").write_text(of("FastAPI").replace(ADDRESS, service.url))
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "site_app:app", "--port", str(port)]
    with serving(command, tmp_path, service.url, port):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/hello", headers={"x-conversation-id": "conv-web"}
        )
        urllib.request.urlopen(request, timeout=300).read()
    with SignalClient(service.url) as client:
        (stored,) = client.list(context_window_id="conv-web")
    assert (stored["raw_content"], stored["payload"]) == ("GET /hello", {"status": 200})
