"""A call is part of the caller's trace: on the way out, and in what a real server exports."""

import time
from concurrent import futures

import grpc
import pytest
from conftest import CHEAP
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from scripted import scripted, work

import unipic
from unipic import tracing

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def sent(**options) -> dict[str, str]:
    with scripted(work) as server, unipic.Client(server.address) as client:
        client.generate("a red circle", **options)
        return server.seen[0].metadata


def test_a_traceparent_goes_out_as_it_is():
    metadata = sent(traceparent=TRACEPARENT, tracestate="vendor=1")
    assert metadata["traceparent"] == TRACEPARENT and metadata["tracestate"] == "vendor=1"


def test_the_current_span_goes_out():
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("caller") as span:
        metadata, own = sent(), sent(traceparent=TRACEPARENT)
    _, trace_id, span_id, flags = metadata["traceparent"].split("-")
    context = span.get_span_context()
    assert (int(trace_id, 16), int(span_id, 16)) == (context.trace_id, context.span_id)
    assert int(flags, 16) & 1, "the span is sampled"
    assert own["traceparent"] == TRACEPARENT, "what the caller gives comes first"
    assert not trace.get_current_span().get_span_context().is_valid
    assert "traceparent" not in sent(), "without a span there is nothing to go on from"


def test_without_opentelemetry_nothing_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)
    assert tracing.trace_headers(None, None) == []
    assert tracing.trace_headers(TRACEPARENT, None) == [("traceparent", TRACEPARENT)]


def test_what_is_no_traceparent():
    for wrong in [
        "",
        "00",
        TRACEPARENT.upper(),
        TRACEPARENT + "-x",
        "ff" + TRACEPARENT[2:],
        TRACEPARENT.replace("4bf9", "4bg9"),
    ]:
        with pytest.raises(ValueError, match="traceparent"):
            tracing.trace_headers(wrong, None)


@pytest.fixture
def collector():
    """An OTLP collector that keeps what is exported, undecoded."""
    exports: list[bytes] = []

    class Export(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method != "/opentelemetry.proto.collector.trace.v1.TraceService/Export":
                return None
            return grpc.unary_unary_rpc_method_handler(lambda request, context: exports.append(request) or b"")

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Export()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", exports
    server.stop(0)


def test_the_server_goes_on_with_the_trace(start_server, collector):
    endpoint, exports = collector
    server = start_server(f'[telemetry]\notlp_endpoint = "{endpoint}"')
    _, trace_id, span_id, _ = TRACEPARENT.split("-")
    with unipic.Client(server.address, timeout=300) as client:
        client.wait_until_serving(timeout=120)
        client.generate("a red circle", traceparent=TRACEPARENT, **CHEAP)
    # The span that goes on from the caller's may come in a later export than those below it.
    goes_on = bytes.fromhex(span_id)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(goes_on in export for export in exports):
        time.sleep(0.1)
    found = [export for export in exports if goes_on in export]
    assert found, f"{len(exports)} exports, and none goes on from the caller's span"
    assert any(bytes.fromhex(trace_id) in export for export in found)
