"""Questions, the model and health against a real server."""

import math

import pytest
from conftest import CHEAP

import unipic


@pytest.fixture(scope="module")
def picture(server):
    with unipic.Client(server.address, timeout=300) as client:
        return client.generate("a red circle", seed=7, **CHEAP).picture


def test_the_text_comes_as_it_is_made(client, picture):
    deltas = []
    answer = client.ask(picture, "What is in the picture?", max_tokens=16, on_text=deltas.append)
    assert "".join(deltas) == answer.text
    assert answer.finish_reason in ("stop", "length") and answer.encoder_path in ("siglip2", "mar")
    assert 0 < answer.completion_tokens <= 16 < answer.prompt_tokens
    assert 0 < answer.first_token_ms <= answer.total_ms


def test_events_end_with_the_answer(client, picture):
    with client.ask_events(picture, "What is in the picture?", max_tokens=8) as events:
        told = list(events)
    assert isinstance(told[-1], unipic.Answer)
    assert told[-1].text == "".join(event.text for event in told if isinstance(event, unipic.TextDelta))


def test_several_images_and_turns(client, picture):
    one = client.ask(picture, "How many?", max_tokens=4)
    two = client.ask(picture, picture.image, "How many?", max_tokens=4)
    assert two.prompt_tokens > one.prompt_tokens
    further = client.ask("And now?", history=two.history, max_tokens=4)
    assert further.prompt_tokens > two.prompt_tokens
    assert [turn.role for turn in further.history] == ["user", "assistant"] * 2
    assert further.history[1].parts == (two.text,)
    by_hand = [unipic.user(picture, picture.image, "How many?"), unipic.assistant(two.text)]
    assert client.ask("And now?", history=by_hand, max_tokens=4).text == further.text


def test_sampling_options_arrive(client, picture):
    options = {"max_tokens": 12, "temperature": 2.0, "top_p": 0.9, "seed": 3}
    first, again = (client.ask(picture, "What is it?", **options) for _ in range(2))
    assert first.text == again.text and first.seed == 3
    by_mar = client.ask(picture, "What is it?", encoder_path="mar", max_tokens=1)
    assert by_mar.encoder_path == "mar" and by_mar.finish_reason in ("length", "stop")


def test_an_answer_ends_before_a_stop_string(client, picture):
    whole = client.ask(picture, "What is it?", max_tokens=12).text
    middle = whole[len(whole) // 2]
    assert client.ask(picture, "What is it?", max_tokens=12, stop=[middle]).text == whole[: whole.index(middle)]


def test_candidates_are_weighed(client, picture):
    history = (unipic.user(picture, "What is it?"), unipic.assistant("a circle"))
    judged = client.ask("Is it red?", history=history, candidates=["yes", "no"])
    assert list(judged.candidate_logprobs) == ["yes", "no"] and judged.text == ""
    assert sum(math.exp(logprob) for logprob in judged.candidate_logprobs.values()) <= 1.0001
    assert judged.history == history, "nothing was said, so the conversation stands where it stood"


def test_the_model_tells_its_limits(client):
    model = client.model()
    assert model.name and model.server_version and model.stride == 16
    assert model.limits.max_n >= 1 and model.limits.max_images >= 2
    assert model.image_defaults.width % model.stride == 0 and model.image_defaults.seed is None
    assert set(model.encoder_paths) <= {"siglip2", "mar"} and model.encoder_paths


def test_health(client):
    assert client.health() == unipic.Health.SERVING
    client.wait_until_serving(timeout=5)
    with pytest.raises(unipic.UniPicError) as caught:
        client.health("unipic.v1.NoSuchService")
    assert caught.value.code == "NOT_FOUND"
