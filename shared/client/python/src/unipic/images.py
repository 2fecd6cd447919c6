"""Image files in and out, and what Pillow makes of them.

Files travel as they are: what is read from disk is sent byte for byte, and what the server sends is kept byte for byte, since
a PNG of it carries the seed and parameters. Pillow comes in where a caller hands over or asks for a `PIL.Image`.
"""

import base64
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from PIL import Image

# What a PNG file can hold; other modes of Pillow become RGB.
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


@dataclass(frozen=True)
class ImageFile:
    """An image file, as it came from the server."""

    data: bytes = field(repr=False)
    """The file's bytes."""
    media_type: str
    """Such as `image/png`."""

    @cached_property
    def image(self) -> Image.Image:
        """The decoded image; the same object each time, so copy it before you draw on it."""
        decoded = Image.open(io.BytesIO(self.data))
        decoded.load()
        return decoded

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file's bytes as they are, whatever the name ends in, and returns the path."""
        target = Path(path)
        target.write_bytes(self.data)
        return target

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """How a notebook shows it."""
        return {self.media_type: base64.b64encode(self.data).decode("ascii"), "text/plain": repr(self)}


ImageInput = Image.Image | bytes | os.PathLike[str] | BinaryIO | ImageFile
"""An image to send: of Pillow, a file's bytes, its path (a `pathlib.Path`; a bare `str` is text), an open binary file, or
what another call returned."""


def file_bytes(image: ImageInput, name: str) -> bytes:
    """The bytes to send for an image.

    Raises TypeError where it is none, naming the argument, and OSError where a file cannot be read.
    """
    if isinstance(image, ImageFile):
        return image.data
    if isinstance(image, Image.Image):
        return _png(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, os.PathLike):
        return Path(image).read_bytes()
    read: Callable[[], object] | None = getattr(image, "read", None)
    if callable(read):
        content = read()
        if isinstance(content, bytes):
            return content
        raise TypeError(f"{name}: the file is open as text; open it with mode 'rb'")
    hint = "; wrap a path in pathlib.Path" if isinstance(image, str) else ""
    raise TypeError(
        f"{name} must be an image, a file's bytes, a path or an open file, not {type(image).__name__}{hint}"
    )


def _png(image: Image.Image) -> bytes:
    packed = io.BytesIO()
    (image if image.mode in _PNG_MODES else image.convert("RGB")).save(packed, format="PNG")
    return packed.getvalue()
