"""What every call tells while it runs. Fields are named as in the proto file; times in milliseconds."""

from dataclasses import dataclass
from typing import Self

from .v1 import synthesis_pb2
from .wire import Flat, word


@dataclass(frozen=True)
class Queued(Flat):
    """Waiting for a place."""

    position: int
    """Requests ahead of this one."""


@dataclass(frozen=True)
class Progress(Flat):
    """The loop of a generation went on."""

    iteration: int
    iterations: int
    known_tokens: int
    """Latent places known so far, over all images."""
    total_tokens: int
    elapsed_ms: float
    remaining_ms: float
    """Expected time to the end; 0 until there is a basis for it."""


@dataclass(frozen=True)
class Resumed:
    """A replica was lost and its work is done again; the result is the same, later."""

    what: str
    """The service: `understanding`, `synthesis` or `decoder`."""
    attempt: int

    @classmethod
    def of(cls, message: synthesis_pb2.Resumed) -> Self:
        """From its message."""
        return cls(word(synthesis_pb2.Backend, message.what, "BACKEND_"), message.attempt)
