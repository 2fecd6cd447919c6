"""The client for threads; `aio` has the one for asyncio."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

import grpc
from grpc_health.v1 import health_pb2

from .answers import Answer, TextEvent, Turn
from .calls import (
    AnswerInProgress,
    DrawingInProgress,
    EventT,
    OnPreview,
    OnProgress,
    OnText,
    Plan,
    ask_plan,
    edit_plan,
    embed_plan,
    generate_plan,
    with_previews,
)
from .connected import HEALTH_POLL, Connected, health_of
from .embeddings import Embeddings, joined
from .errors import DeadlineExceeded, Unavailable
from .images import ImageInput
from .model import Health, Model
from .pictures import Drawing, ImageEvent
from .requests import AskOptions, CallOptions, DrawOptions, EditOptions, EncoderPath
from .retries import Attempts, RetryPolicy
from .stream import Events, answer
from .v1 import unipic_pb2 as pb


class Client(Connected):
    """A client of a UniPic server. Safe to share between threads; close it, or use it in a `with` block."""

    _grpc: ClassVar[Any] = grpc

    def generate(
        self,
        prompt: str,
        *,
        on_progress: OnProgress | None = None,
        on_preview: OnPreview | None = None,
        **options: Unpack[DrawOptions],
    ) -> Drawing:
        """Draws `n` images of `prompt`; options as in `DrawOptions`.

        With `on_preview`, a preview comes after every iteration where `preview_every` says nothing else. What a listener
        raises ends the call and goes through. Raises `UniPicError`.
        """
        plan = generate_plan(prompt, with_previews(options, on_preview))
        return self._drawn(self._start(plan, options), DrawingInProgress(on_progress, on_preview))

    def generate_events(self, prompt: str, **options: Unpack[DrawOptions]) -> Events[ImageEvent]:
        """Like `generate`, event by event."""
        return self._start(generate_plan(prompt, options), options)

    def edit(
        self,
        image: ImageInput,
        instruction: str,
        *,
        on_progress: OnProgress | None = None,
        on_preview: OnPreview | None = None,
        **options: Unpack[EditOptions],
    ) -> Drawing:
        """Changes `image` as `instruction` says, or a part of it: options as in `EditOptions`. Else like `generate`."""
        plan = edit_plan(image, instruction, with_previews(options, on_preview))
        return self._drawn(self._start(plan, options), DrawingInProgress(on_progress, on_preview))

    def edit_events(self, image: ImageInput, instruction: str, **options: Unpack[EditOptions]) -> Events[ImageEvent]:
        """Like `edit`, event by event."""
        return self._start(edit_plan(image, instruction, options), options)

    def ask(
        self,
        *parts: str | ImageInput,
        history: Sequence[Turn] = (),
        on_text: OnText | None = None,
        **options: Unpack[AskOptions],
    ) -> Answer:
        """Answers a question: text and images in order, such as `ask(picture, "What is this?")`.

        `history` is the conversation so far, such as `history` of the last answer. `on_text` is told the text as it comes.
        Raises `UniPicError`.
        """
        answered = AnswerInProgress(on_text)
        with self.ask_events(*parts, history=history, **options) as events:
            for event in events:
                answered.take(event)
        return answered.result()

    def ask_events(
        self, *parts: str | ImageInput, history: Sequence[Turn] = (), **options: Unpack[AskOptions]
    ) -> Events[TextEvent]:
        """Like `ask`, event by event; the last one is the `Answer`."""
        return self._start(ask_plan(parts, history, options), options)

    def embed(
        self,
        image: ImageInput,
        *,
        encoder_path: EncoderPath | None = None,
        **options: Unpack[CallOptions],
    ) -> Embeddings:
        """What the language model sees of `image`, by the server's first encoder where nothing else is said.

        Raises `UniPicError`.
        """
        plan = embed_plan(image, encoder_path, options)
        with self._start(plan, options) as frames:
            return joined([frame for frame in frames])

    def model(self, **options: Unpack[CallOptions]) -> Model:
        """What is served: sizes, limits and defaults. Raises `UniPicError`."""
        attempts, headers = self._settings.attempts(options), self._settings.headers(options)
        return Model.of(answer(self._stub.GetModel, pb.GetModelRequest(), headers, attempts))

    def health(self, service: str = "", *, timeout: float = 5.0) -> Health:
        """Whether the server takes calls, asked once. Raises `UniPicError`, such as `Unavailable` where nobody answers."""
        attempts = Attempts(RetryPolicy(attempts=1), timeout)
        request = health_pb2.HealthCheckRequest(service=service)
        return health_of(answer(self._health.Check, request, self._settings.headers({}), attempts))

    def wait_until_serving(self, *, timeout: float = 60.0) -> None:
        """Waits for a server that is still starting. Raises `DeadlineExceeded`."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                if self.health(timeout=left) == Health.SERVING:
                    return
            except (Unavailable, DeadlineExceeded):
                pass
            time.sleep(min(HEALTH_POLL, max(0.0, end - time.monotonic())))
        raise DeadlineExceeded("DEADLINE_EXCEEDED", f"the server does not serve after {timeout:g} s")

    def close(self) -> None:
        """Closes the connection and ends calls that still run."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, plan: Plan[EventT], options: CallOptions) -> Events[EventT]:
        return Events(self._stub, plan, self._settings.headers(options), self._settings.attempts(options))

    @staticmethod
    def _drawn(events: Events[ImageEvent], drawing: DrawingInProgress) -> Drawing:
        with events:
            for event in events:
                drawing.take(event)
        return drawing.result()
