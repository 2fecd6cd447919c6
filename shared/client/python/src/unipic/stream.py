"""The events of a running call, for threads."""

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self

import grpc

from .calls import EventT, Plan, cut_short
from .errors import UniPicError, from_code, from_rpc
from .retries import Attempts
from .tracing import Headers


class Events(Iterator[EventT], Generic[EventT]):
    """The events of a call, in order, as an iterator and a context manager.

    The call runs from the moment that this exists, whether anybody iterates or not. Leaving the `with` block, `close` and
    `cancel` (from any thread) end it, on the server too. Where the call fails, the iteration raises a `UniPicError`.
    """

    def __init__(self, stub: Any, plan: Plan[EventT], headers: Headers, attempts: Attempts) -> None:
        self._method, self._plan = getattr(stub, plan.method), plan
        self._headers, self._attempts = headers, attempts
        self._cancelled = threading.Event()
        self._has_begun = self._is_whole = self._has_ended = False
        self._call = self._begin()

    def _begin(self) -> Any:
        return self._method(self._plan.request, timeout=self._attempts.begin(), metadata=self._headers)

    def __next__(self) -> EventT:
        while not self._has_ended:
            try:
                message = next(self._call)
            except StopIteration:
                self._has_ended = True
                if not self._is_whole:
                    raise cut_short() from None
                raise
            except grpc.RpcError as error:
                self._again_after(from_rpc(error), error)
                continue
            self._has_begun = True
            event = self._plan.event_of(message)
            self._is_whole |= isinstance(event, self._plan.last)
            if event is not None:
                return event
        raise StopIteration

    def _again_after(self, failure: UniPicError, cause: grpc.RpcError) -> None:
        """Makes the call again after the pause it needs, or raises its failure."""
        pause = None if self._has_begun else self._attempts.pause_after(failure)
        if pause is None or self._cancelled.is_set():
            self._has_ended = True
            raise failure from cause
        if self._cancelled.wait(pause):
            self._has_ended = True
            raise from_code("CANCELLED", "the call was cancelled before it was made again") from cause
        self._call = self._begin()
        if self._cancelled.is_set():
            self._call.cancel()

    def cancel(self) -> None:
        """Ends the call. An iteration under way, in whichever thread, raises `Cancelled`."""
        self._cancelled.set()
        self._call.cancel()

    def close(self) -> None:
        """Ends the call where it still runs; nothing comes after it."""
        if not self._has_ended:
            self._has_ended = True
            self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def answer(method: Any, request: Any, headers: Headers, attempts: Attempts) -> Any:
    """Makes a call with one answer, as often as it takes, and returns its message."""
    while True:
        try:
            return method(request, timeout=attempts.begin(), metadata=headers)
        except grpc.RpcError as error:
            failure = from_rpc(error)
            pause = attempts.pause_after(failure)
            if pause is None:
                raise failure from error
            threading.Event().wait(pause)
