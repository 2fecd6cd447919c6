"""The events of a running call, for asyncio."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, Self

import grpc
import grpc.aio

from .calls import EventT, Plan, cut_short
from .errors import UniPicError, from_code, from_rpc
from .retries import Attempts
from .tracing import Headers


class AsyncEvents(AsyncIterator[EventT], Generic[EventT]):
    """The events of a call, in order, as an asynchronous iterator and context manager.

    The call runs from the moment that this exists. Leaving the `async with` block, `close`, `cancel`, and cancelling the task
    that iterates end it, on the server too. Where the call fails, the iteration raises a `UniPicError`.
    """

    def __init__(self, stub: Any, plan: Plan[EventT], headers: Headers, attempts: Attempts) -> None:
        self._method, self._plan = getattr(stub, plan.method), plan
        self._headers, self._attempts = headers, attempts
        self._cancelled = asyncio.Event()
        self._has_begun = self._is_whole = self._has_ended = False
        self._call = self._begin()

    def _begin(self) -> Any:
        return self._method(self._plan.request, timeout=self._attempts.begin(), metadata=self._headers)

    async def __anext__(self) -> EventT:
        while not self._has_ended:
            try:
                message = await self._call.read()
            except grpc.RpcError as error:
                await self._again_after(from_rpc(error), error)
                continue
            except asyncio.CancelledError:
                # grpc raises it for a call that was cancelled, too; that one is not about the iterating task.
                self._has_ended = True
                if self._cancelled.is_set():
                    raise from_code("CANCELLED", "the call was cancelled by this side") from None
                self._call.cancel()
                raise
            if message is grpc.aio.EOF:  # type: ignore[attr-defined]
                self._has_ended = True
                if not self._is_whole:
                    raise cut_short()
                break
            self._has_begun = True
            event = self._plan.event_of(message)
            self._is_whole |= isinstance(event, self._plan.last)
            if event is not None:
                return event
        raise StopAsyncIteration

    async def _again_after(self, failure: UniPicError, cause: grpc.RpcError) -> None:
        """Makes the call again after the pause it needs, or raises its failure."""
        pause = None if self._has_begun else self._attempts.pause_after(failure)
        if pause is None or self._cancelled.is_set():
            self._has_ended = True
            raise failure from cause
        try:
            await asyncio.wait_for(self._cancelled.wait(), pause)
        except TimeoutError:
            self._call = self._begin()
            return
        self._has_ended = True
        raise from_code("CANCELLED", "the call was cancelled before it was made again") from cause

    def cancel(self) -> None:
        """Ends the call. An iteration under way raises `Cancelled`. For the event loop's own thread."""
        self._cancelled.set()
        self._call.cancel()

    async def close(self) -> None:
        """Ends the call where it still runs; nothing comes after it."""
        if not self._has_ended:
            self._has_ended = True
            self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def answer(method: Any, request: Any, headers: Headers, attempts: Attempts) -> Any:
    """Makes a call with one answer, as often as it takes, and returns its message."""
    while True:
        try:
            return await method(request, timeout=attempts.begin(), metadata=headers)
        except grpc.RpcError as error:
            failure = from_rpc(error)
            pause = attempts.pause_after(failure)
            if pause is None:
                raise failure from error
            await asyncio.sleep(pause)
