"""When a call is made again, against a scripted server, by both clients."""

import asyncio
import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from scripted import fails, progress, reason, retry_after, scripted, work

import unipic

QUICK = unipic.RetryPolicy(attempts=3, backoff=0.01, max_backoff=0.02)
GONE = fails(grpc.StatusCode.UNAVAILABLE)


def by_threads(address: str, retries: unipic.RetryPolicy = QUICK, **options) -> unipic.Drawing:
    with unipic.Client(address, retries=retries) as client:
        return client.generate("a red circle", **options)


def by_asyncio(address: str, retries: unipic.RetryPolicy = QUICK, **options) -> unipic.Drawing:
    async def draw() -> unipic.Drawing:
        async with unipic.AsyncClient(address, retries=retries) as client:
            return await client.generate("a red circle", **options)

    return asyncio.run(draw())


@pytest.fixture(params=[by_threads, by_asyncio])
def draw(request):
    return request.param


def test_unavailable_is_tried_again(draw):
    with scripted(GONE, GONE, work) as server:
        slow = unipic.RetryPolicy(attempts=3, backoff=1.0)
        assert draw(server.address, slow, timeout=9).picture.data == b"file"
        assert len(server.seen) == 3
        # Pauses of at least a half and one second. gRPC rounds what it sends up a little.
        assert server.seen[2].seconds_left < server.seen[0].seconds_left - 1.3, "one deadline for all attempts"


def test_attempts_end(draw):
    with scripted(GONE, GONE, GONE, work) as server:
        with pytest.raises(unipic.Unavailable, match="UNAVAILABLE: as told"):
            draw(server.address)
        assert len(server.seen) == 3
    with scripted(GONE, work) as server:
        with pytest.raises(unipic.Unavailable):
            draw(server.address, unipic.RetryPolicy(attempts=1))
        assert len(server.seen) == 1


def test_a_call_that_told_something_is_not_made_again(draw):
    with scripted(fails(grpc.StatusCode.UNAVAILABLE, after=[progress()]), work) as server:
        with pytest.raises(unipic.Unavailable):
            draw(server.address)
        assert len(server.seen) == 1


def test_the_servers_time_is_kept(draw):
    full = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, reason("QUEUE_FULL"), retry_after(0.4))
    with scripted(full, work) as server:
        start = time.monotonic()
        assert draw(server.address).picture.data == b"file"
        assert time.monotonic() - start >= 0.4


def test_what_is_not_tried_again(draw):
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    hopeless = [
        (fails(exhausted), {}, "no time to come back"),
        (fails(exhausted, reason("DEADLINE_UNMEETABLE"), retry_after(0.01)), {}, "the deadline only comes nearer"),
        (fails(exhausted, retry_after(0.9)), {"timeout": 0.8}, "the deadline comes before"),
        (fails(exhausted, retry_after(0.9)), {"retries": unipic.RetryPolicy(max_retry_delay=0.5)}, "too long"),
        (fails(grpc.StatusCode.INTERNAL, reason("BUG")), {}, "a fault"),
        (fails(grpc.StatusCode.INVALID_ARGUMENT), {}, "a wrong request"),
    ]
    for step, options, why in hopeless:
        with scripted(step, work) as server:
            with pytest.raises(unipic.UniPicError):
                draw(server.address, **options)
            assert len(server.seen) == 1, why


def test_a_stream_that_just_ends_is_no_result(draw):
    cut = pytest.raises(unipic.Unavailable, match="ended before its last event")
    with scripted(lambda context: iter([progress()])) as server, cut:
        draw(server.address)


def test_details_become_attributes(draw):
    violation = error_details_pb2.QuotaFailure.Violation(subject="tenant:acme", description="pixels per minute")
    quota = error_details_pb2.QuotaFailure(violations=[violation])
    step = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, reason("QUOTA_EXCEEDED"), retry_after(0.9), quota)
    with scripted(step) as server, pytest.raises(unipic.Overloaded) as caught:
        draw(server.address, unipic.RetryPolicy(attempts=1))
    error = caught.value
    assert (error.code, error.reason, error.retry_delay) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", 0.9)
    assert error.quotas == (unipic.QuotaViolation("tenant:acme", "pixels per minute"),) and error.field is None


def test_broken_details_leave_the_status(draw):
    broken = fails(grpc.StatusCode.INTERNAL, bad_details=b"\xff\xff\xff")
    with scripted(broken) as server, pytest.raises(unipic.ServerFault) as caught:
        draw(server.address)
    assert caught.value.reason is None and caught.value.message == "as told"


def test_codes_without_a_class_are_errors_still(draw):
    with scripted(fails(grpc.StatusCode.DATA_LOSS)) as server, pytest.raises(unipic.UniPicError) as caught:
        draw(server.address)
    assert type(caught.value) is unipic.UniPicError and caught.value.code == "DATA_LOSS"


def test_a_pause_is_cut_short_by_cancelling():
    full = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after(0.99))
    with scripted(full, work) as server, unipic.Client(server.address) as client:
        events = client.generate_events("a red circle")
        threading.Timer(0.2, events.cancel).start()
        start = time.monotonic()
        with pytest.raises(unipic.Cancelled):
            list(events)
        assert time.monotonic() - start < 0.9 and len(server.seen) == 1


def test_a_pause_of_asyncio_is_cut_short_by_cancelling():
    async def run(address: str) -> None:
        async with unipic.AsyncClient(address) as client:
            events = client.generate_events("a red circle")
            asyncio.get_running_loop().call_later(0.2, events.cancel)
            with pytest.raises(unipic.Cancelled):
                await anext(events)

    with scripted(fails(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after(0.99)), work) as server:
        asyncio.run(asyncio.wait_for(run(server.address), 0.9))
        assert len(server.seen) == 1


def test_what_goes_with_a_call(draw):
    with scripted(work) as server:
        draw(server.address, priority="batch", timeout=7)
        seen = server.seen[0]
    assert seen.metadata["unipic-priority"] == "batch" and "unipic-python/" in seen.metadata["user-agent"]
    # gRPC rounds what it sends up a little.
    assert "authorization" not in seen.metadata and 5 < seen.seconds_left < 7.5
