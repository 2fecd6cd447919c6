"""What a conversation about images is made of, and what an answer tells.

Times are in milliseconds where the name ends in `_ms`.
"""

from dataclasses import dataclass, field
from typing import Self

from .events import Queued, Resumed
from .images import ImageInput, file_bytes
from .v1 import decoder_pb2
from .v1 import unipic_pb2 as pb
from .wire import word


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation: text and image files in order."""

    role: str
    """`user` or `assistant`."""
    parts: tuple[str | bytes, ...] = field(repr=False)


def user(*parts: str | ImageInput) -> Turn:
    """A turn of the person asking: text and images in order."""
    return Turn("user", tuple(_part(part, number) for number, part in enumerate(parts)))


def assistant(text: str) -> Turn:
    """A turn of the model, to go on from an answer of earlier."""
    return Turn("assistant", (text,))


def _part(part: str | ImageInput, number: int) -> str | bytes:
    return part if isinstance(part, str) else file_bytes(part, f"parts[{number}]")


@dataclass(frozen=True)
class TextDelta:
    """More text of an answer."""

    text: str


@dataclass(frozen=True)
class Answer:
    """An answer, and the last event of its stream."""

    text: str
    finish_reason: str
    """`stop`, or `length` where `max_tokens` or the context ended it."""
    prompt_tokens: int
    completion_tokens: int
    encode_ms: float
    first_token_ms: float
    total_ms: float
    encoder_path: str
    seed: int
    candidate_logprobs: dict[str, float]
    """Natural logarithm of the probability of each of the request's candidates."""
    history: tuple[Turn, ...] = field(repr=False)
    """The conversation up to here: pass it to the next `ask` to go on."""

    @classmethod
    def of(cls, message: pb.UnderstandDone, turns: tuple[Turn, ...], candidates: tuple[str, ...]) -> Self:
        """From its message."""
        # With candidates nothing was said, so there is no turn to go on from.
        history = turns[:-1] if candidates else (*turns, assistant(message.text))
        return cls(
            text=message.text,
            finish_reason=word(decoder_pb2.FinishReason, message.finish_reason, "FINISH_REASON_"),
            prompt_tokens=message.prompt_tokens,
            completion_tokens=message.completion_tokens,
            encode_ms=message.encode_ms,
            first_token_ms=message.first_token_ms,
            total_ms=message.total_ms,
            encoder_path=word(pb.EncoderPath, message.encoder_path, "ENCODER_PATH_"),
            seed=message.seed,
            candidate_logprobs=dict(zip(candidates, message.candidate_logprobs, strict=True)),
            history=history,
        )


TextEvent = Queued | TextDelta | Resumed | Answer
"""An event of an answer."""
