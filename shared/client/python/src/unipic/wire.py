"""From messages to the values that callers see."""

from dataclasses import fields
from typing import Any, Self

from google.protobuf.message import Message


class Flat:
    """A value whose fields are those of a message, one for one."""

    @classmethod
    def of(cls, message: Message) -> Self:
        """From its message."""
        return cls(**{f.name: getattr(message, f.name) for f in fields(cls)})  # type: ignore[arg-type]


def word(enum: Any, value: int, prefix: str) -> str:
    """The name of an enum's value as the client writes it: `GUIDANCE_SCHEDULE_LINEAR` is `linear`."""
    name = enum.Name(value) if value in enum.values() else str(value)
    return str(name).removeprefix(prefix).lower()
