"""What a server serves: the model, its defaults and its limits."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from .pictures import ImageSettings
from .v1 import unipic_pb2 as pb
from .wire import Flat, word


@dataclass(frozen=True)
class Limits(Flat):
    """What is accepted. Whatever is beyond is refused as `InvalidRequest`, with the field named."""

    max_prompt_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_output_pixels: int
    max_n: int
    max_iterations: int
    max_head_steps: int
    max_guidance_scale: float
    max_temperature: float
    max_answer_tokens: int
    max_images: int
    max_turns: int


@dataclass(frozen=True)
class Model:
    """What is served."""

    name: str
    server_version: str
    weights_sha256: str
    image_defaults: ImageSettings
    """Values used for what a request leaves out."""
    limits: Limits
    encoder_paths: tuple[str, ...]
    """`siglip2`, `mar`: those that work with these weights, the default first."""
    notices: tuple[str, ...]
    """Things a user should know about the loaded weights."""
    stride: int
    """Widths and heights are multiples of it, in pixels."""

    @classmethod
    def of(cls, message: pb.GetModelResponse) -> Self:
        """From its message."""
        return cls(
            name=message.name,
            server_version=message.server_version,
            weights_sha256=message.weights_sha256,
            image_defaults=ImageSettings.of(message.image_defaults),
            limits=Limits.of(message.limits),
            encoder_paths=tuple(word(pb.EncoderPath, path, "ENCODER_PATH_") for path in message.encoder_paths),
            notices=tuple(message.notices),
            stride=message.stride,
        )


class Health(StrEnum):
    """What a server's health service (`grpc.health.v1`) says."""

    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    UNKNOWN = "UNKNOWN"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"
