"""What the language model sees of an image: a table of numbers, one row for each of the image's tokens.

It is kept as the bytes that came, so that nobody needs NumPy to pass them on; `numpy()` gives an array where that package is
installed, and `rows()` plain lists where it is not.
"""

import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ServerFault, UniPicError
from .v1 import tensor_pb2

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one image, float32 of shape `[tokens, width]`."""

    data: bytes = field(repr=False)
    """Row after row, four bytes a number, the lowest byte first."""
    shape: tuple[int, int]
    """Tokens, and the width of the language model."""

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self) -> list[list[float]]:
        """The rows as lists of Python's floats."""
        numbers = array("f", self.data)
        if array("H", b"\x01\x00")[0] != 1:
            numbers.byteswap()
        width = self.shape[1]
        return [numbers[start : start + width].tolist() for start in range(0, len(numbers), width)]

    def numpy(self) -> "numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]":
        """The same as an array of NumPy, read-only over the same bytes; copy it to change it. Raises ImportError without
        that package (`pip install numpy`, or `unipic[numpy]`)."""
        import numpy

        return numpy.frombuffer(self.data, dtype="<f4").reshape(self.shape)


def joined(frames: Iterable[tensor_pb2.TensorFrame]) -> Embeddings:
    """The embeddings of their frames. Raises `ServerFault` where they are no whole tensor of float32, which retries of the
    transport cannot put right."""
    header: tensor_pb2.TensorHeader | None = None
    parts: list[bytes] = []
    for frame in frames:
        if header is None and frame.HasField("header"):
            header = frame.header
        parts.append(frame.data)
    data = b"".join(parts)
    if header is None or header.dtype != tensor_pb2.DTYPE_F32 or len(header.shape) != 2:
        raise _broken("no table of float32")
    tokens, width = header.shape
    if len(data) != 4 * tokens * width or zlib.crc32(data) != header.crc32:
        raise _broken("cut short or changed on the way")
    return Embeddings(data, (tokens, width))


def _broken(what: str) -> UniPicError:
    return ServerFault("INTERNAL", f"the server sent embeddings that are {what}")
