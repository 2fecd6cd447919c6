"""W3C trace context: what makes a call part of the caller's trace.

A `traceparent` given by the caller goes out as it is. Otherwise OpenTelemetry's own propagator says what goes out, where that
package is installed; it is no dependency, since a process that has a span to continue has the package.
"""

import re

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Headers = list[tuple[str, str]]


def trace_headers(traceparent: str | None, tracestate: str | None) -> Headers:
    """The headers that carry the trace. Raises ValueError for what is no trace context: the server would start a new trace
    without a word."""
    if traceparent is None:
        if tracestate is not None:
            raise ValueError("tracestate goes with a traceparent, and there is none")
        return _from_opentelemetry()
    if not _TRACEPARENT.fullmatch(traceparent):
        raise ValueError(f"traceparent must be VERSION-TRACE_ID-SPAN_ID-FLAGS in lower-case hex, got {traceparent!r}")
    return [("traceparent", traceparent)] + ([("tracestate", tracestate)] if tracestate else [])


def _from_opentelemetry() -> Headers:
    try:
        from opentelemetry import propagate
    except ImportError:
        return []
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return [(key.lower(), value) for key, value in carrier.items()]
