"""Generations and edits against a real server."""

import io
from pathlib import Path

import pytest
from conftest import CHEAP
from PIL import Image

import unipic


@pytest.fixture(scope="module")
def drawing(server):
    with unipic.Client(server.address, timeout=300) as client:
        return client.generate("a red circle", n=2, seed=7, **CHEAP)


def test_pictures_are_files_and_pil_images(client, drawing, tmp_path):
    defaults = client.model().image_defaults
    assert [picture.number for picture in drawing.pictures] == [0, 1]
    assert drawing.pictures[0].data != drawing.pictures[1].data
    for picture in drawing.pictures:
        assert picture.data.startswith(b"\x89PNG") and picture.media_type == "image/png"
        assert picture.image.size == (picture.width, picture.height) == (defaults.width, defaults.height)
        assert picture.crop is None
    saved = drawing.picture.save(tmp_path / "circle.png")
    assert saved.read_bytes() == drawing.picture.data
    # The seed travels in the file, and the result tells what was used.
    assert "seed" in str(Image.open(saved).text)
    assert drawing.seed == drawing.options.seed == 7
    assert (drawing.options.n, drawing.options.iterations, drawing.options.head_steps) == (2, 2, 2)
    assert drawing.options.guidance_schedule == "constant" and drawing.options.output_format == "png"
    assert drawing.timings.total_ms > 0 and len(drawing.weights_sha256) == 64
    assert len(repr(drawing)) < 2000, "a repr of megabytes hangs a notebook"


def test_the_same_seed_makes_the_same_bytes(client, drawing):
    again = client.generate("a red circle", n=2, seed=7, **CHEAP)
    assert [picture.data for picture in again.pictures] == [picture.data for picture in drawing.pictures]
    alone = client.generate("a red circle", seed=7, **CHEAP).image.tobytes()
    assert alone == drawing.image.tobytes(), "the first picture is the same alone and among n"
    assert client.generate("a red circle", seed=8, **CHEAP).image.tobytes() != alone


def test_options_arrive(client):
    options = {**CHEAP, "guidance_scale": 2.0}
    made = client.generate(
        "a red circle",
        negative_prompt="blue",
        guidance_schedule="linear",
        temperature=0.5,
        width=64,
        height=32,
        output_format="jpeg",
        priority="batch",
        **options,
    )
    used = made.options
    assert (used.guidance_scale, used.guidance_schedule, used.temperature) == (2.0, "linear", 0.5)
    assert made.image.size == (64, 32) and made.picture.media_type == "image/jpeg" and made.image.format == "JPEG"
    assert client.generate("a red circle", output_format="webp", **CHEAP).image.format == "WEBP"


def test_listeners_are_told(client):
    steps, previews = [], []
    made = client.generate("a red circle", on_progress=steps.append, on_preview=previews.append, **CHEAP)
    assert [step.iteration for step in steps] == [0, 1, 2]
    assert steps[-1].known_tokens == steps[-1].total_tokens > steps[0].known_tokens == 0
    assert previews and all(preview.image.size == made.image.size for preview in previews)
    assert [preview.iteration for preview in previews] == sorted(preview.iteration for preview in previews)


def test_what_a_listener_raises_ends_the_call(client, server):
    def refuse(step):
        raise LookupError(step.iteration)

    with pytest.raises(LookupError):
        client.generate("a red circle", on_progress=refuse, **CHEAP)


def test_events_come_one_by_one(client):
    with client.generate_events("a red circle", preview_every=1, **CHEAP) as events:
        kinds = [type(event) for event in events]
    kinds = [kind for kind in kinds if kind is not unipic.Queued]
    assert kinds[0] is unipic.Progress and kinds[-1] is unipic.Done
    assert kinds.count(unipic.Picture) == 1 and unipic.Preview in kinds
    assert list(events) == [], "what has ended stays ended"


def sources(picture: unipic.Picture, folder: Path):
    path = folder / "source.png"
    path.write_bytes(picture.data)
    return {
        "picture": picture,
        "bytes": picture.data,
        "bytearray": bytearray(picture.data),
        "path": path,
        "file": path.open("rb"),
        "memory": io.BytesIO(picture.data),
        "pil": picture.image,
        "rgba": picture.image.convert("RGBA"),
    }


def test_every_kind_of_source_is_the_same_source(client, drawing, tmp_path):
    edited = {
        kind: client.edit(source, "make the circle blue", seed=1, **CHEAP).picture
        for kind, source in sources(drawing.picture, tmp_path).items()
    }
    # Files tell the hash of their source, so they differ where its bytes do; pixels do not.
    assert len({picture.image.tobytes() for picture in edited.values()}) == 1
    crop = edited["pil"].crop
    assert crop is not None and (crop.source_width, crop.source_height) == drawing.image.size


def test_pil_modes_that_no_png_has_are_converted(client, drawing):
    for mode in ["CMYK", "F", "HSV", "YCbCr", "I", "LA", "P", "1"]:
        source = drawing.image.convert("RGB").convert("L").convert("F") if mode == "F" else drawing.image.convert("RGB")
        if mode in ("CMYK", "HSV", "YCbCr", "P", "1"):
            source = source.convert(mode)
        elif mode in ("I", "LA"):
            source = source.convert("L").convert(mode)
        assert client.edit(source, "make the circle blue", **CHEAP).image.size == drawing.image.size, mode


def test_edits_tell_events_too(client, drawing):
    with client.edit_events(drawing.picture, "make the circle blue", seed=1, **CHEAP) as events:
        *_, picture, done = events
    assert isinstance(picture, unipic.Picture) and isinstance(done, unipic.Done)


def test_a_mask_keeps_the_rest_bit_for_bit(client, drawing):
    source = drawing.image
    half = (source.width // 2, source.height)
    mask = Image.new("L", source.size, 0)
    mask.paste(255, (0, 0, *half))
    edited = client.edit(source, "a blue circle", mask=mask, seed=1, **CHEAP).image
    kept = (half[0], 0, *source.size)
    assert edited.crop(kept).tobytes() == source.convert("RGB").crop(kept).tobytes()
    assert edited.tobytes() != source.convert("RGB").tobytes()
    holes = source.convert("RGBA")
    holes.putalpha(Image.eval(mask, lambda value: 255 - value))
    other = client.edit(source, "a blue circle", mask=holes, mask_marks="transparent", seed=1, **CHEAP).image
    assert other.tobytes() == edited.tobytes()


def test_masks_and_margins_that_are_none_are_named(client, drawing):
    with pytest.raises(TypeError, match="mask_marks"):
        client.edit(drawing.image, "x", mask_marks="white", **CHEAP)
    with pytest.raises(TypeError, match="'over'"):
        client.edit(drawing.image, "x", extend={"over": 8}, **CHEAP)
    with pytest.raises(unipic.InvalidRequest, match="mask"):
        client.edit(drawing.image, "x", mask=Image.new("L", (3, 3), 255), **CHEAP)
    with pytest.raises(unipic.InvalidRequest, match="feather"):
        client.edit(drawing.image, "x", feather=8, **CHEAP)


def test_notebooks_show_pictures(drawing):
    bundle = drawing.picture._repr_mimebundle_()
    assert bundle["image/png"].startswith("iVBORw0KGgo")
