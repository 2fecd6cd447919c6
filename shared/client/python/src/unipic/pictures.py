"""What generations and edits tell and return: plain immutable values, fields named as in the proto file.

Times are in milliseconds where the name ends in `_ms`, sizes in pixels.
"""

from dataclasses import dataclass
from typing import Any, Self

from PIL import Image

from .events import Progress, Queued, Resumed
from .images import ImageFile
from .v1 import synthesis_pb2
from .v1 import unipic_pb2 as pb
from .wire import Flat, word


@dataclass(frozen=True)
class Preview(ImageFile):
    """An image as far as it is known."""

    number: int
    """Of the image within the request, from 0."""
    iteration: int

    @classmethod
    def of(cls, message: pb.Preview) -> Self:
        """From its message."""
        return cls(message.data, message.media_type, message.image, message.iteration)


@dataclass(frozen=True)
class CropBox(Flat):
    """The part of an edit's source that was used, in pixels of the upright source."""

    x: int
    y: int
    width: int
    height: int
    source_width: int
    source_height: int


@dataclass(frozen=True)
class Picture(ImageFile):
    """A finished image."""

    number: int
    """Within the request, from 0."""
    width: int
    height: int
    seed: int
    """The request's seed: the same request with it makes the same image."""
    crop: CropBox | None
    """Edits only."""

    @classmethod
    def of(cls, message: pb.ImageResult) -> Self:
        """From its message."""
        crop = CropBox.of(message.crop) if message.HasField("crop") else None
        return cls(message.data, message.media_type, message.image, message.width, message.height, message.seed, crop)


_NUMBERS: tuple[Any, ...] = (
    "seed",
    "n",
    "iterations",
    "head_steps",
    "guidance_scale",
    "temperature",
    "width",
    "height",
    "preview_every",
)


@dataclass(frozen=True)
class ImageSettings:
    """How images are sampled. `None` where nothing is set."""

    guidance_schedule: str
    """`constant` or `linear`."""
    output_format: str
    """`png`, `jpeg` or `webp`."""
    seed: int | None = None
    n: int | None = None
    iterations: int | None = None
    head_steps: int | None = None
    guidance_scale: float | None = None
    temperature: float | None = None
    width: int | None = None
    height: int | None = None
    preview_every: int | None = None

    @classmethod
    def of(cls, message: pb.ImageOptions) -> Self:
        """From its message."""
        values: dict[str, Any] = {name: getattr(message, name) for name in _NUMBERS if message.HasField(name)}
        schedule = word(synthesis_pb2.GuidanceSchedule, message.guidance_schedule, "GUIDANCE_SCHEDULE_")
        file_format = word(pb.ImageFormat, message.output_format, "IMAGE_FORMAT_")
        return cls(**values, guidance_schedule=schedule, output_format=file_format)


@dataclass(frozen=True)
class Timings(Flat):
    """Where the time of a generation or an edit went, and what it moved between services."""

    queue_ms: float
    source_ms: float
    prefill_ms: float
    mar_ms: float
    probe_ms: float
    head_ms: float
    vae_ms: float
    total_ms: float
    bytes_to_decoder: int
    bytes_from_decoder: int


@dataclass(frozen=True)
class Done:
    """The last event of a generation or an edit."""

    options: ImageSettings
    """What was used, defaults filled in."""
    timings: Timings
    weights_sha256: str
    server_version: str

    @classmethod
    def of(cls, message: pb.ImageDone) -> Self:
        """From its message."""
        options, timings = ImageSettings.of(message.options), Timings.of(message.timings)
        return cls(options, timings, message.weights_sha256, message.server_version)


@dataclass(frozen=True)
class Drawing:
    """What a generation or an edit made."""

    pictures: tuple[Picture, ...]
    """In order of their numbers."""
    options: ImageSettings
    """What was used, defaults filled in."""
    timings: Timings
    weights_sha256: str
    server_version: str

    @property
    def picture(self) -> Picture:
        """The first picture."""
        return self.pictures[0]

    @property
    def image(self) -> Image.Image:
        """The first picture, decoded."""
        return self.picture.image

    @property
    def seed(self) -> int:
        """The request's seed."""
        return self.picture.seed


ImageEvent = Queued | Progress | Preview | Picture | Resumed | Done
"""An event of a generation or an edit."""
