"""The collector under the guide's three names."""

from __future__ import annotations

import pytest

from .setup.service import Service
from .setup.twins import Twin

prometheus_client = pytest.importorskip("prometheus_client")


def test_the_guides_three_names(twin: Twin, service: Service, room: str) -> None:
    from signal_ingest.prometheus import ProcessorCollector

    processor = twin.processor(twin.client(service.url))
    registry = prometheus_client.CollectorRegistry()
    registry.register(ProcessorCollector(processor))
    for score in (0.1, 0.2, 3):
        processor.add({"context_window_id": room, "signal_score": score})
    assert processor.flush()
    text = prometheus_client.generate_latest(registry).decode()
    assert "\nbatch_signals_created_total 2.0\n" in text
    assert '\nbatch_signals_failed_total{code="out_of_range"} 1.0\n' in text
    assert '\nbatch_api_latency_seconds_bucket{le="+Inf"} 1.0\n' in text
    assert registry.get_sample_value("batch_api_latency_seconds_sum") == processor.stats().batch_seconds
    assert registry.get_sample_value("batch_signals_pending") == 0
