"""For the OpenAI Agents SDK: each span that ends becomes a signal.

>>> from agents import add_trace_processor
>>> add_trace_processor(SignalTracingProcessor(processor))
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from agents.tracing import Span, Trace, TracingProcessor

from .recorder import Accepting, Recorder

MAX_TRACES = 10_000
"""Traces whose group is remembered; the oldest is forgotten first, and is then its own conversation."""


class SignalTracingProcessor(TracingProcessor):
    """Sends spans. The conversation is the trace's ``group_id``, or the trace itself."""

    def __init__(self, processor: Accepting, *, source: str = "openai-agents") -> None:
        self._recorder = Recorder(processor, source, "agents")
        self._groups: OrderedDict[str, str] = OrderedDict()

    def on_trace_start(self, trace: Trace) -> None:
        """Remembers the group of a trace: its spans do not name it."""
        exported = trace.export() or {}
        self._groups[trace.trace_id] = str(exported.get("group_id") or trace.trace_id)
        while len(self._groups) > MAX_TRACES:
            self._groups.popitem(last=False)

    def on_trace_end(self, trace: Trace) -> None:
        """Sends the trace."""
        room = self._groups.pop(trace.trace_id, trace.trace_id)
        self._recorder.record(room, trace.name, {"kind": "trace", **(trace.export() or {})})

    def on_span_start(self, span: Span[Any]) -> None:
        """Waits for the end of the span."""

    def on_span_end(self, span: Span[Any]) -> None:
        """Sends the span with its data, and its error if it has one."""
        data = span.span_data.export() or {}
        self._recorder.record(
            self._groups.get(span.trace_id, span.trace_id),
            data.get("output") or data.get("name"),
            {
                "kind": data.get("type"),
                "trace_id": span.trace_id,
                "span_id": span.span_id,
                "parent_id": span.parent_id,
                "started_at": span.started_at,
                "ended_at": span.ended_at,
                "error": span.error,
                "data": data,
            },
            timestamp=span.ended_at,
            escalate_flag=int(span.error is not None),
        )

    def shutdown(self) -> None:
        """Does nothing: the BatchProcessor belongs to the caller, and has an exit of its own."""

    def force_flush(self) -> None:
        """Does nothing: call the BatchProcessor's ``flush``."""
