"""A collector for prometheus_client, under the three names of the guide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .processor.stats import LATENCY_BUCKETS, Stats


class HasStats(Protocol):
    """A BatchProcessor or an AsyncBatchProcessor."""

    def stats(self) -> Stats:
        """Its counts."""
        ...


class ProcessorCollector(Collector):
    """Shows a processor's counts: register it with a registry.

    >>> REGISTRY.register(ProcessorCollector(processor))

    It reads the counts of this process. With prometheus_client's multiprocess mode, which has no collectors,
    count in ``on_delivered`` instead: see docs/python.md.
    """

    def __init__(self, processor: HasStats) -> None:
        self._processor = processor

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        stats = self._processor.stats()
        yield CounterMetricFamily(
            "batch_signals_created",
            "Total signals created via batch API",
            value=stats.stored + stats.duplicates,
        )
        failed = CounterMetricFamily(
            "batch_signals_failed", "Total signals failed in batch API", labels=["code"]
        )
        for code, count in stats.failed.items():
            failed.add_metric([code], count)
        yield failed
        bounds = [*(str(bound) for bound in LATENCY_BUCKETS), "+Inf"]
        latency = HistogramMetricFamily("batch_api_latency_seconds", "Batch API latency in seconds")
        latency.add_metric([], list(zip(bounds, stats.latency)), stats.batch_seconds)
        yield latency
        yield CounterMetricFamily(
            "batch_signals_dropped", "Signals dropped because the buffer was full", value=stats.dropped
        )
        yield CounterMetricFamily(
            "batch_signals_undelivered", "Accepted signals that were given up", value=stats.undelivered
        )
        yield GaugeMetricFamily("batch_signals_pending", "Accepted signals not sent yet", value=stats.pending)
        yield GaugeMetricFamily(
            "batch_oldest_pending_seconds", "Age of the oldest of them", value=stats.oldest_seconds
        )
        yield GaugeMetricFamily("batch_spool_bytes", "Bytes of the spool on disk", value=stats.spool_bytes)
