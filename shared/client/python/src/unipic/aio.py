"""The client for asyncio; `client` has the one for threads."""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

import grpc.aio
from grpc_health.v1 import health_pb2

from .aio_stream import AsyncEvents, answer
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
from .v1 import unipic_pb2 as pb


class AsyncClient(Connected):
    """A client of a UniPic server, for one event loop. Close it, or use it in an `async with` block."""

    _grpc: ClassVar[Any] = grpc.aio

    async def generate(
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
        return await self._drawn(self._start(plan, options), DrawingInProgress(on_progress, on_preview))

    def generate_events(self, prompt: str, **options: Unpack[DrawOptions]) -> AsyncEvents[ImageEvent]:
        """Like `generate`, event by event."""
        return self._start(generate_plan(prompt, options), options)

    async def edit(
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
        return await self._drawn(self._start(plan, options), DrawingInProgress(on_progress, on_preview))

    def edit_events(
        self, image: ImageInput, instruction: str, **options: Unpack[EditOptions]
    ) -> AsyncEvents[ImageEvent]:
        """Like `edit`, event by event."""
        return self._start(edit_plan(image, instruction, options), options)

    async def ask(
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
        async with self.ask_events(*parts, history=history, **options) as events:
            async for event in events:
                answered.take(event)
        return answered.result()

    def ask_events(
        self, *parts: str | ImageInput, history: Sequence[Turn] = (), **options: Unpack[AskOptions]
    ) -> AsyncEvents[TextEvent]:
        """Like `ask`, event by event; the last one is the `Answer`."""
        return self._start(ask_plan(parts, history, options), options)

    async def embed(
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
        async with self._start(plan, options) as frames:
            return joined([frame async for frame in frames])

    async def model(self, **options: Unpack[CallOptions]) -> Model:
        """What is served: sizes, limits and defaults. Raises `UniPicError`."""
        attempts, headers = self._settings.attempts(options), self._settings.headers(options)
        return Model.of(await answer(self._stub.GetModel, pb.GetModelRequest(), headers, attempts))

    async def health(self, service: str = "", *, timeout: float = 5.0) -> Health:
        """Whether the server takes calls, asked once. Raises `UniPicError`, such as `Unavailable` where nobody answers."""
        attempts = Attempts(RetryPolicy(attempts=1), timeout)
        request = health_pb2.HealthCheckRequest(service=service)
        return health_of(await answer(self._health.Check, request, self._settings.headers({}), attempts))

    async def wait_until_serving(self, *, timeout: float = 60.0) -> None:
        """Waits for a server that is still starting. Raises `DeadlineExceeded`."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                if await self.health(timeout=left) == Health.SERVING:
                    return
            except (Unavailable, DeadlineExceeded):
                pass
            await asyncio.sleep(min(HEALTH_POLL, max(0.0, end - time.monotonic())))
        raise DeadlineExceeded("DEADLINE_EXCEEDED", f"the server does not serve after {timeout:g} s")

    async def close(self) -> None:
        """Closes the connection and ends calls that still run."""
        await self._channel.close(grace=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _start(self, plan: Plan[EventT], options: CallOptions) -> AsyncEvents[EventT]:
        return AsyncEvents(self._stub, plan, self._settings.headers(options), self._settings.attempts(options))

    @staticmethod
    async def _drawn(events: AsyncEvents[ImageEvent], drawing: DrawingInProgress) -> Drawing:
        async with events:
            async for event in events:
                drawing.take(event)
        return drawing.result()
