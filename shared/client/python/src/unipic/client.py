"""The client for threads; `aio` has the one for asyncio."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .answers import Answer, TextDelta, TextEvent, Turn
from .calls import (
    DrawingInProgress,
    EventT,
    OnPreview,
    OnProgress,
    OnText,
    Plan,
    Settings,
    ask_plan,
    cut_short,
    edit_plan,
    generate_plan,
    with_previews,
)
from .connection import Tls, channel_arguments
from .errors import DeadlineExceeded, Unavailable
from .images import ImageInput
from .model import Health, Model
from .pictures import Drawing, ImageEvent
from .requests import AskOptions, CallOptions, DrawOptions, EditOptions
from .retries import Attempts, RetryPolicy
from .stream import Events, answer
from .v1 import unipic_pb2 as pb
from .v1 import unipic_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 3600.0
"""Seconds: a generation on a small machine takes minutes."""
HEALTH_POLL = 0.1
"""Seconds between two looks at a server that is waited for."""


class Client:
    """A client of a UniPic server. Safe to share between threads; close it, or use it in a `with` block."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        api_key: str | None = None,
        tls: Tls | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: RetryPolicy | None = None,
    ) -> None:
        """Prepares a client; it connects at the first call.

        `address` is `host:port`, `http://host:port`, `https://host:port` or `unix:/path`. `api_key` is sent with every call,
        and over `http://` to another host can be read on the way. `timeout` is that of calls without their own, in seconds.
        Raises ValueError for values that cannot be, OSError for certificates that cannot be read.
        """
        self._settings = Settings.of(api_key, timeout, retries)
        target, credentials, options = channel_arguments(address, tls)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
        self._stub = unipic_pb2_grpc.UniPicStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)

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
        last: Answer | None = None
        with self.ask_events(*parts, history=history, **options) as events:
            for event in events:
                if isinstance(event, Answer):
                    last = event
                elif isinstance(event, TextDelta) and on_text is not None:
                    on_text(event.text)
        if last is None:
            raise cut_short()
        return last

    def ask_events(
        self, *parts: str | ImageInput, history: Sequence[Turn] = (), **options: Unpack[AskOptions]
    ) -> Events[TextEvent]:
        """Like `ask`, event by event; the last one is the `Answer`."""
        return self._start(ask_plan(parts, history, options), options)

    def model(self, **options: Unpack[CallOptions]) -> Model:
        """What is served: sizes, limits and defaults. Raises `UniPicError`."""
        attempts, headers = self._settings.attempts(options), self._settings.headers(options)
        return Model.of(answer(self._stub.GetModel, pb.GetModelRequest(), headers, attempts))

    def health(self, service: str = "", *, timeout: float = 5.0) -> Health:
        """Whether the server takes calls, asked once. Raises `UniPicError`, such as `Unavailable` where nobody answers."""
        attempts = Attempts(RetryPolicy(attempts=1), timeout)
        request = health_pb2.HealthCheckRequest(service=service)
        status = answer(self._health.Check, request, self._settings.headers({}), attempts).status
        return Health(health_pb2.HealthCheckResponse.ServingStatus.Name(status))

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
