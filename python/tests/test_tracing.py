"""Spans of OpenTelemetry, by its own SDK."""

from __future__ import annotations

from typing import Any

import pytest

from signal_ingest import DeadlineError, RequestError

from .conftest import batch_answer
from .setup.hop import Answer, Hop
from .setup.service import Service
from .setup.twins import Twin
from .test_processor import echo

sdk = pytest.importorskip("opentelemetry.sdk.trace")

SIGNAL = {"context_window_id": "c", "raw_content": "the text of a signal"}


class Recorded:
    """A client whose spans are kept."""

    def __init__(self, twin: Twin, url: str, **options: Any) -> None:
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from signal_ingest.opentelemetry import OpenTelemetryTracing

        self.provider = sdk.TracerProvider()
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.client = twin.client(url, tracing=OpenTelemetryTracing(self.provider), **options)

    @property
    def spans(self) -> list[Any]:
        return list(self._exporter.get_finished_spans())


def traceparent(span: Any) -> str:
    context = span.context
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def test_a_call_is_a_span_and_each_attempt_names_it(twin: Twin, stub: Hop) -> None:
    from opentelemetry.trace import SpanKind, StatusCode

    stub.mishaps.extend(["lose", Answer(503, "{}"), Answer(200, batch_answer(1))])
    recorded = Recorded(twin, stub.url)
    recorded.client.create_batch([SIGNAL])
    (span,) = recorded.spans
    assert (span.name, span.kind, span.status.status_code) == (
        "POST /api/signals/batch",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert span.attributes == {
        "http.request.method": "POST",
        "url.full": f"{stub.url}/api/signals/batch",
        "server.address": "127.0.0.1",
        "server.port": stub.port,
        "http.request.resend_count": 2,
        "http.response.status_code": 200,
    }
    assert [seen.headers["traceparent"] for seen in stub.seen] == [traceparent(span)] * 3


def test_the_span_is_a_child_of_the_callers(twin: Twin, stub: Hop) -> None:
    from opentelemetry import trace

    stub.always = echo
    recorded = Recorded(twin, stub.url)
    with recorded.provider.get_tracer("test").start_as_current_span("request") as parent:
        # The asynchronous twin runs in a loop of another thread, so that its span has no parent.
        recorded.client.create_batch([SIGNAL])
        assert trace.get_current_span() is parent
    child, _ = recorded.spans
    if twin.kind == "threads":
        assert child.parent.span_id == parent.get_span_context().span_id
    assert stub.seen[0].headers["traceparent"] == traceparent(child)


def test_an_error_ends_the_span_and_tells_no_content(twin: Twin, stub: Hop) -> None:
    from opentelemetry.trace import StatusCode

    recorded = Recorded(twin, stub.url, key="the-key", timeout=0.3)
    stub.always = Answer(404, '{"detail": "Not Found"}')
    with pytest.raises(RequestError):
        recorded.client.keys.revoke("0197a2b4-0000-7000-8000-000000000000")
    stub.always = "refuse"
    with pytest.raises(DeadlineError):
        recorded.client.create(SIGNAL)
    refused, late = recorded.spans
    assert refused.name == "DELETE /api/keys/{id}"
    assert (refused.attributes["error.type"], refused.attributes["http.response.status_code"]) == ("404", 404)
    assert late.attributes["error.type"] == "DeadlineError"
    assert "http.response.status_code" not in late.attributes
    for span in recorded.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert "the text" not in span.to_json()
        assert "the-key" not in span.to_json()


def test_a_processor_sends_under_spans(twin: Twin, service: Service, room: str) -> None:
    recorded = Recorded(twin, service.url)
    processor = twin.processor(recorded.client, max_count=2)
    for at in range(4):
        processor.add({"context_window_id": room, "raw_content": str(at)})
    assert processor.close()
    assert [span.attributes["http.response.status_code"] for span in recorded.spans] == [200, 200]


def test_a_feed_that_is_left_ends_its_spans(twin: Twin, service: Service) -> None:
    recorded = Recorded(twin, service.url)
    for _ in recorded.client.feed(follow=False):
        break
    assert [span.name for span in recorded.spans] == ["GET /api/signals/feed"]
