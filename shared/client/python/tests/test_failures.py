"""What goes wrong with a real server, and how it is told."""

import pickle
import threading
import time

import pytest
from conftest import CHEAP, free_port

import unipic

ONCE = unipic.RetryPolicy(attempts=1)


def long_work(client: unipic.Client) -> dict:
    """Options of a generation that no machine finishes at once."""
    limits = client.model().limits
    return {"iterations": 64, "head_steps": min(100, limits.max_head_steps), "n": limits.max_n}


def test_every_wrong_field_is_named(client):
    with pytest.raises(unipic.InvalidRequest) as caught:
        client.generate("", width=17, n=0)
    error = caught.value
    assert error.code == "INVALID_ARGUMENT" and error.field == error.violations[0].field
    assert {violation.field for violation in error.violations} == {"prompt", "options.width", "options.n"}
    assert "16" in str(error) and "prompt" in str(error)
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error) and copied.violations == error.violations


def test_a_file_that_is_no_image_is_refused(client):
    for field, call in [
        ("image", lambda: client.edit(b"GIF89a, not really", "make it blue")),
        ("turns[0].parts[0].image", lambda: client.ask(b"\x89PNG\r\n\x1a\n", "what?")),
    ]:
        with pytest.raises(unipic.InvalidRequest) as caught:
            call()
        assert caught.value.field == field


def test_what_fits_no_message_is_refused_here(client, tmp_path):
    wrong = [
        (ValueError, "seed", lambda: client.generate("x", seed=-1)),
        (ValueError, "seed", lambda: client.generate("x", seed=1 << 64)),
        (TypeError, "n", lambda: client.generate("x", n="two")),
        (TypeError, "prompt", lambda: client.generate(b"x\xff")),
        (ValueError, "output_format", lambda: client.generate("x", output_format="gif")),
        (ValueError, "guidance_schedule", lambda: client.generate("x", guidance_schedule="cosine")),
        (TypeError, "'size'", lambda: client.generate("x", size=64)),
        (TypeError, "'width'", lambda: client.ask("x", width=64)),
        (TypeError, "stop", lambda: client.ask("x", stop="end")),
        (ValueError, "role", lambda: client.ask("x", history=[unipic.Turn("system", ("be brief",))])),
        (ValueError, "priority", lambda: client.generate("x", priority="urgent")),
        (ValueError, "timeout", lambda: client.generate("x", timeout=0)),
        (ValueError, "traceparent", lambda: client.generate("x", traceparent="00-abc-def-01")),
        (ValueError, "tracestate", lambda: client.model(tracestate="a=b")),
        (TypeError, "pathlib.Path", lambda: client.edit("circle.png", "make it blue")),
        (TypeError, "image", lambda: client.edit(None, "make it blue")),
        (TypeError, "'rb'", lambda: client.edit((tmp_path / "a.txt").open("w+"), "make it blue")),
        (TypeError, "parts[1]", lambda: client.ask("x", 7)),
        (FileNotFoundError, "gone.png", lambda: client.edit(tmp_path / "gone.png", "make it blue")),
    ]
    for kind, word, call in wrong:
        with pytest.raises(kind) as caught:
            call()
        assert word in str(caught.value), caught.value


def test_addresses_and_settings_are_checked_before_any_call():
    for address in ["", "host", "ftp://host:1", "http://host", "http://host:1/path", "host:seven", "unix:", "a:99999"]:
        with pytest.raises(ValueError, match="address"):
            unipic.Client(address)
    for settings in [{"timeout": -1}, {"timeout": float("nan")}, {"api_key": "two words"}, {"api_key": " "}]:
        with pytest.raises(ValueError):
            unipic.Client("127.0.0.1:1", **settings)
    for policy in [{"attempts": 0}, {"backoff": -1}, {"max_backoff": float("nan")}]:
        with pytest.raises(ValueError):
            unipic.RetryPolicy(**policy)


def test_nobody_there():
    start = time.monotonic()
    with unipic.Client(f"127.0.0.1:{free_port()}", retries=unipic.RetryPolicy(attempts=2)) as client:
        with pytest.raises(unipic.Unavailable):
            client.generate("a red circle")
        with pytest.raises(unipic.Unavailable):
            client.health()
        with pytest.raises(unipic.DeadlineExceeded, match=r"does not serve after 0\.3 s"):
            client.wait_until_serving(timeout=0.3)
    assert time.monotonic() - start < 10


def test_a_deadline_ends_the_call(client):
    start = time.monotonic()
    with pytest.raises((unipic.DeadlineExceeded, unipic.Overloaded)) as caught:
        client.generate("a red circle", timeout=0.5, **long_work(client))
    # A server that knows its pace refuses at once what it cannot do in time.
    assert isinstance(caught.value, unipic.DeadlineExceeded) or caught.value.reason == "DEADLINE_UNMEETABLE"
    assert time.monotonic() - start < 5


def test_cancelling_from_another_thread(client):
    with client.generate_events("a red circle", **long_work(client)) as events:
        first = next(events)
        assert isinstance(first, unipic.Queued | unipic.Progress)
        threading.Timer(0.2, events.cancel).start()
        start = time.monotonic()
        with pytest.raises(unipic.Cancelled):
            list(events)
        assert time.monotonic() - start < 5
    # The server has stopped as well: its only device is free for the next.
    start = time.monotonic()
    client.generate("a red circle", timeout=120, **CHEAP)


def test_leaving_the_block_frees_the_servers_only_place(start_server):
    server = start_server("admission.max_running = 1\nadmission.max_queued = 0")
    with unipic.Client(server.address, timeout=300, retries=ONCE) as client:
        client.wait_until_serving(timeout=120)
        with client.generate_events("a red circle", **long_work(client)) as events:
            next(events)
            with pytest.raises(unipic.Overloaded) as caught:
                client.generate("a red circle", **CHEAP)
            assert caught.value.reason == "QUEUE_FULL" and caught.value.retry_delay > 0
            assert "retry after" in str(caught.value)
        patient = unipic.Client(server.address, timeout=300)
        assert patient.generate("a red circle", **CHEAP).picture.data, (
            "the place came back, and a patient client got it"
        )
        patient.close()


def test_a_refused_call_is_made_again_when_the_server_said(start_server):
    server = start_server("admission.max_running = 1\nadmission.max_queued = 0")
    with unipic.Client(server.address, timeout=300, retries=unipic.RetryPolicy(attempts=50)) as client:
        client.wait_until_serving(timeout=120)
        results: list[unipic.Drawing] = []
        draw = lambda: results.append(client.generate("a red circle", seed=1, **CHEAP))  # noqa: E731
        threads = [threading.Thread(target=draw) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({drawing.picture.data for drawing in results}) == 1 and len(results) == 3


def test_a_server_that_dies_in_the_middle(start_server):
    server = start_server("")
    with unipic.Client(server.address, timeout=60) as client:
        client.wait_until_serving(timeout=120)
        events = client.generate_events("a red circle", **long_work(client))
        next(events)
        server.kill()
        start = time.monotonic()
        with pytest.raises(unipic.Unavailable):
            list(events)
        assert time.monotonic() - start < 5, "a call that has told something is not made again"
