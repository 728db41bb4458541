"""A span of OpenTelemetry for each call, and its ``traceparent`` in each request."""

from __future__ import annotations

import re
from typing import Optional, Union

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from .base.errors import SignalError
from .calls.tracing import Progress
from .http.address import Address


class OpenTelemetryTracing:
    """Gives each call of a client a span of the kind CLIENT; all attempts of a call share it.

    >>> client = SignalClient("http://localhost:8002", tracing=OpenTelemetryTracing())

    The span is a child of the caller's. A processor sends from threads and tasks of its own, where a call
    begins a trace. The attributes have the names of the semantic conventions for HTTP, and hold no content of
    a signal and no API key; ``error.type`` is the status of the answer, or the name of the error.

    See https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client
    """

    def __init__(self, provider: Optional[TracerProvider] = None) -> None:
        """Takes a provider of tracers; default: the global one."""
        self._tracer = trace.get_tracer("signal_ingest", tracer_provider=provider)

    def start(self, method: str, path: str, address: Address) -> _CallSpan:
        """Begins a span."""
        attributes: dict[str, Union[str, int]] = {
            "http.request.method": method,
            "url.full": address.origin + address.prefix + path,
            "server.address": address.host,
            "server.port": address.port,
        }
        # Few names for many calls: an id always has a digit, and no other part of a path has one.
        name = f"{method} {re.sub(r'/[^/]*[0-9][^/]*', '/{id}', path)}"
        return _CallSpan(self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes))


class _CallSpan:
    def __init__(self, span: Span) -> None:
        self._span = span
        self.headers: dict[str, str] = {}
        propagate.inject(self.headers, trace.set_span_in_context(span))

    def end(self, progress: Progress, error: Optional[BaseException]) -> None:
        """Ends the span."""
        span = self._span
        if progress.attempts > 1:
            span.set_attribute("http.request.resend_count", progress.attempts - 1)
        if progress.status is not None:
            span.set_attribute("http.response.status_code", progress.status)
        if error is not None:
            status = error.status if isinstance(error, SignalError) else None
            span.set_attribute("error.type", str(status or type(error).__name__))
            span.set_status(Status(StatusCode.ERROR, str(error)))
        span.end()
