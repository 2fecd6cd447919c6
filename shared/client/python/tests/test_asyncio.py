"""The asyncio client against a real server."""

import asyncio

import pytest
from conftest import CHEAP
from test_failures import long_work

import unipic


def run(server, body, **settings):
    """Runs a coroutine over a client of its own."""

    async def connected():
        async with unipic.AsyncClient(server.address, timeout=300, **settings) as client:
            return await body(client)

    return asyncio.run(connected())


def test_it_draws_edits_and_asks_as_the_other_client_does(server, client):
    steps, deltas = [], []

    async def body(aio: unipic.AsyncClient):
        drawing = await aio.generate("a red circle", seed=7, on_progress=steps.append, **CHEAP)
        edited = await aio.edit(drawing.image, "make the circle blue", seed=1, **CHEAP)
        answer = await aio.ask(edited.picture, "What is it?", max_tokens=8, on_text=deltas.append)
        embedded = await aio.embed(edited.picture, encoder_path="mar")
        return drawing, edited, answer, embedded, await aio.model(), await aio.health()

    drawing, edited, answer, embedded, model, health = run(server, body)
    assert drawing.picture.data == client.generate("a red circle", seed=7, **CHEAP).picture.data
    other = client.edit(drawing.picture, "make the circle blue", seed=1, **CHEAP)
    # The files differ by the hash of their source, which here are two files of the same pixels.
    assert edited.image.tobytes() == other.image.tobytes()
    assert answer.text == client.ask(other.picture, "What is it?", max_tokens=8).text == "".join(deltas)
    assert embedded == client.embed(other.picture, encoder_path="mar")
    assert model == client.model() and health == unipic.Health.SERVING
    assert [step.iteration for step in steps] == [0, 1, 2]


def test_many_at_once(server):
    async def body(aio: unipic.AsyncClient):
        seeds = range(4)
        return await asyncio.gather(*(aio.generate("a red circle", seed=seed, **CHEAP) for seed in seeds))

    assert [drawing.seed for drawing in run(server, body)] == [0, 1, 2, 3]


def test_events(server):
    async def body(aio: unipic.AsyncClient):
        async with aio.generate_events("a red circle", preview_every=1, **CHEAP) as events:
            drawn = [type(event) async for event in events]
        async with aio.edit_events(b"no image", "make it blue") as events:
            with pytest.raises(unipic.InvalidRequest) as caught:
                await anext(events)
            assert caught.value.field == "image"
        async with aio.ask_events("What is a circle?", max_tokens=4) as events:
            asked = [event async for event in events]
        return drawn, asked

    drawn, asked = run(server, body)
    assert drawn[-2:] == [unipic.Picture, unipic.Done] and unipic.Preview in drawn
    assert isinstance(asked[-1], unipic.Answer)


def test_a_cancelled_task_frees_the_servers_only_place(start_server):
    async def body(aio: unipic.AsyncClient):
        await aio.wait_until_serving(timeout=120)
        limits = await aio.model()
        begun = asyncio.Event()
        options = {"iterations": 64, "head_steps": 100, "n": limits.limits.max_n}
        long = asyncio.create_task(aio.generate("a red circle", on_progress=lambda _: begun.set(), **options))
        await begun.wait()
        with pytest.raises(unipic.Overloaded):
            await aio.generate("a red circle", **CHEAP)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        patient = unipic.AsyncClient(aio_address, timeout=300)
        drawing = await patient.generate("a red circle", **CHEAP)
        await patient.close()
        return drawing

    server = start_server("admission.max_running = 1\nadmission.max_queued = 0")
    aio_address = server.address
    assert run(server, body, retries=unipic.RetryPolicy(attempts=1)).picture.data


def test_cancelling_the_call_is_not_cancelling_the_task(server, client):
    options = long_work(client)

    async def body(aio: unipic.AsyncClient):
        events = aio.generate_events("a red circle", **options)
        await anext(events)
        asyncio.get_running_loop().call_later(0.1, events.cancel)
        with pytest.raises(unipic.Cancelled):
            async for _ in events:
                pass
        return asyncio.current_task().cancelling()

    assert run(server, body) == 0


def test_failures(server, client):
    options = long_work(client)

    async def body(aio: unipic.AsyncClient):
        with pytest.raises(unipic.InvalidRequest) as caught:
            await aio.generate("", width=17)
        assert {violation.field for violation in caught.value.violations} == {"prompt", "options.width"}
        with pytest.raises((unipic.DeadlineExceeded, unipic.Overloaded)):
            await aio.generate("a red circle", timeout=0.5, **options)
        with pytest.raises(TypeError, match="'size'"):
            await aio.generate("a red circle", size=64)
        with pytest.raises(LookupError):
            await aio.ask("What is a circle?", on_text=lambda text: [][0])

    run(server, body)
