"""What the two clients share: everything about a call but waiting for it.

A `Plan` is a call that is ready to be made, as often as it takes: which method, which request, which headers, and how its
messages become events. The synchronous and the asyncio client differ only in how they drive one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .answers import Answer, TextDelta, TextEvent, Turn, user
from .connection import ApiKey
from .errors import Unavailable
from .events import Progress, Queued, Resumed
from .images import ImageInput, file_bytes
from .pictures import Done, Drawing, ImageEvent, Picture, Preview
from .requests import ask_request, choice, edit_request, embed_request, generate_request
from .retries import Attempts, RetryPolicy
from .tracing import Headers, trace_headers
from .v1 import tensor_pb2
from .v1 import unipic_pb2 as pb

EventT = TypeVar("EventT")

PRIORITY_HEADER = "unipic-priority"


@dataclass(frozen=True)
class Settings:
    """What a client adds to every call."""

    api_key: ApiKey | None
    timeout: float
    retries: RetryPolicy

    @classmethod
    def of(cls, api_key: str | None, timeout: float, retries: RetryPolicy | None) -> "Settings":
        """From a client's arguments. Raises ValueError, naming the argument."""
        key = None if api_key is None else ApiKey(api_key)
        return cls(key, checked_timeout(timeout), retries or RetryPolicy())

    def attempts(self, options: Mapping[str, Any]) -> Attempts:
        """The attempts of a call that begins now."""
        timeout = options.get("timeout")
        return Attempts(self.retries, self.timeout if timeout is None else checked_timeout(timeout))

    def headers(self, options: Mapping[str, Any]) -> Headers:
        """The headers of a call: key, trace and priority."""
        headers = trace_headers(options.get("traceparent"), options.get("tracestate"))
        if self.api_key is not None:
            headers.append(self.api_key.header())
        priority = options.get("priority")
        if priority is not None:
            choice("priority", priority)
            headers.append((PRIORITY_HEADER, priority))
        return headers


def checked_timeout(seconds: float) -> float:
    """A timeout that is one. Raises ValueError."""
    if not 0 < seconds < float("inf"):
        raise ValueError(f"timeout must be a number of seconds above 0, got {seconds}")
    return float(seconds)


@dataclass(frozen=True)
class Plan(Generic[EventT]):
    """A streaming call, ready to be made."""

    method: str
    """Of the generated stub."""
    request: Any
    event_of: Callable[[Any], EventT | None]
    """The event of a message; None for one that this version does not know."""
    last: type[Any]
    """The event that ends a whole stream."""


def generate_plan(prompt: str, options: Mapping[str, Any]) -> Plan[ImageEvent]:
    """A generation."""
    return Plan("Generate", generate_request(prompt, options), image_event, Done)


def edit_plan(image: ImageInput, instruction: str, options: Mapping[str, Any]) -> Plan[ImageEvent]:
    """An edit."""
    return Plan("Edit", edit_request(file_bytes(image, "image"), instruction, options), image_event, Done)


def ask_plan(parts: Sequence[str | ImageInput], history: Sequence[Turn], options: Mapping[str, Any]) -> Plan[TextEvent]:
    """A question behind the turns of `history`."""
    turns = (*history, user(*parts))
    candidates = tuple(options.get("candidates", ()))
    return Plan("Understand", ask_request(turns, options), lambda m: text_event(m, turns, candidates), Answer)


def embed_plan(image: ImageInput, encoder_path: str | None, options: Mapping[str, Any]) -> Plan[tensor_pb2.TensorFrame]:
    """An image to embed. Its events are frames; whether they are all there, their header tells."""
    request = embed_request(file_bytes(image, "image"), encoder_path, options)
    return Plan("Embed", request, lambda message: message.frame, tensor_pb2.TensorFrame)


def image_event(message: pb.GenerateResponse | pb.EditResponse) -> ImageEvent | None:
    """The event of a message."""
    match message.WhichOneof("event"):
        case "queued":
            return Queued.of(message.queued)
        case "progress":
            return Progress.of(message.progress)
        case "preview":
            return Preview.of(message.preview)
        case "image":
            return Picture.of(message.image)
        case "done":
            return Done.of(message.done)
        case "resumed":
            return Resumed.of(message.resumed)
        case _:
            return None


def text_event(
    message: pb.UnderstandResponse, turns: tuple[Turn, ...], candidates: tuple[str, ...]
) -> TextEvent | None:
    """The event of a message of an answer to the last of `turns`."""
    match message.WhichOneof("event"):
        case "queued":
            return Queued.of(message.queued)
        case "text_delta":
            return TextDelta(message.text_delta)
        case "done":
            return Answer.of(message.done, turns, candidates)
        case "resumed":
            return Resumed.of(message.resumed)
        case _:
            return None


def cut_short() -> Unavailable:
    """A stream that ended without its last event: the server went away and left no word."""
    return Unavailable("UNAVAILABLE", "the server's answer ended before its last event")


OnProgress = Callable[[Progress], object]
OnPreview = Callable[[Preview], object]
OnText = Callable[[str], object]


def with_previews(options: Mapping[str, Any], on_preview: OnPreview | None) -> dict[str, Any]:
    """The options of a call whose previews somebody wants: one after every iteration where nothing else is said."""
    return dict(options) if on_preview is None else {"preview_every": 1, **options}


class DrawingInProgress:
    """Collects the events of a generation or an edit into its result, and tells who listens."""

    def __init__(self, on_progress: OnProgress | None, on_preview: OnPreview | None) -> None:
        self._on_progress, self._on_preview = on_progress, on_preview
        self._pictures: list[Picture] = []
        self._done: Done | None = None

    def take(self, event: ImageEvent) -> None:
        """Takes the next event. Whatever a listener raises goes through."""
        match event:
            case Progress() if self._on_progress is not None:
                self._on_progress(event)
            case Preview() if self._on_preview is not None:
                self._on_preview(event)
            case Picture():
                self._pictures.append(event)
            case Done():
                self._done = event

    def result(self) -> Drawing:
        """The result. Raises Unavailable where the stream ended without one."""
        if self._done is None or not self._pictures:
            raise cut_short()
        pictures = tuple(sorted(self._pictures, key=lambda picture: picture.number))
        done = self._done
        return Drawing(pictures, done.options, done.timings, done.weights_sha256, done.server_version)


class AnswerInProgress:
    """Collects the events of a question into its answer, and tells who listens."""

    def __init__(self, on_text: OnText | None) -> None:
        self._on_text = on_text
        self._answer: Answer | None = None

    def take(self, event: TextEvent) -> None:
        """Takes the next event. Whatever a listener raises goes through."""
        match event:
            case TextDelta() if self._on_text is not None:
                self._on_text(event.text)
            case Answer():
                self._answer = event

    def result(self) -> Answer:
        """The answer. Raises Unavailable where the stream ended without one."""
        if self._answer is None:
            raise cut_short()
        return self._answer
