"""Embeddings against a real server, and what is wrong with broken ones."""

import sys
import zlib

import pytest
from conftest import CHEAP

import unipic
from unipic.embeddings import joined
from unipic.v1 import tensor_pb2 as pb


@pytest.fixture(scope="module")
def picture(server):
    with unipic.Client(server.address, timeout=300) as client:
        return client.generate("a red circle", seed=7, **CHEAP).picture


@pytest.mark.parametrize("path", [None, "siglip2", "mar"])
def test_an_image_is_embedded(client, picture, path):
    embedded = client.embed(picture, encoder_path=path)
    tokens, width = embedded.shape
    assert len(embedded) == tokens > 0 and len(embedded.data) == 4 * tokens * width
    rows = embedded.rows()
    assert len(rows) == tokens and all(len(row) == width for row in rows)
    # Again it is the same, and the same pixels from Pillow are, too.
    assert embedded == client.embed(picture.image, encoder_path=path)


def test_the_first_encoder_is_the_default(client, picture):
    default, *others = client.model().encoder_paths
    embedded = client.embed(picture)
    assert embedded == client.embed(picture, encoder_path=default)
    assert all(embedded != client.embed(picture, encoder_path=path) for path in others)


def test_numpy_sees_the_same_numbers(client, picture):
    numpy = pytest.importorskip("numpy")
    embedded = client.embed(picture)
    table = embedded.numpy()
    assert table.shape == embedded.shape and table.dtype == numpy.float32 and not table.flags.writeable
    assert table.tolist() == embedded.rows()


def test_without_numpy_only_numpy_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    embedded = unipic.Embeddings(bytes(8), (1, 2))
    assert embedded.rows() == [[0.0, 0.0]]
    with pytest.raises(ImportError):
        embedded.numpy()


def test_what_is_no_image_or_no_encoder_is_refused(client, picture):
    with pytest.raises(unipic.InvalidRequest) as caught:
        client.embed(b"no image")
    assert caught.value.field == "image"
    with pytest.raises(ValueError, match="encoder_path must be one of siglip2, mar"):
        client.embed(picture, encoder_path="clip")
    with pytest.raises(TypeError, match="embed takes no 'seed'"):
        client.embed(picture, seed=1)
    with pytest.raises(TypeError, match="image must be an image"):
        client.embed("circle.png")


def frames(data=bytes(24), dtype=pb.DTYPE_F32, shape=(2, 3), crc32=None):
    """A tensor in two frames."""
    header = pb.TensorHeader(
        dtype=dtype, shape=shape, n_bytes=24, crc32=zlib.crc32(bytes(24)) if crc32 is None else crc32
    )
    return [pb.TensorFrame(header=header, data=data[:10]), pb.TensorFrame(data=data[10:])]


def test_frames_become_a_table_or_an_error():
    assert joined(frames()) == unipic.Embeddings(bytes(24), (2, 3))
    broken = [
        [],
        frames()[1:],
        frames()[:1],
        frames(data=bytes(23)),
        frames(dtype=pb.DTYPE_F16),
        frames(shape=(2, 3, 1)),
        frames(crc32=1),
    ]
    for these in broken:
        with pytest.raises(unipic.ServerFault):
            joined(these)
