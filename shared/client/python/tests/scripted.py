"""A server that does what it is told, for what a real one does not do on command."""

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from unipic.v1 import unipic_pb2 as pb
from unipic.v1 import unipic_pb2_grpc

Step = Callable[[grpc.ServicerContext], Iterator[pb.GenerateResponse]]


def done() -> pb.GenerateResponse:
    """The last event of a generation."""
    return pb.GenerateResponse(done=pb.ImageDone(options=pb.ImageOptions(n=1)))


def picture() -> pb.GenerateResponse:
    """A finished image; nobody decodes it."""
    return pb.GenerateResponse(image=pb.ImageResult(data=b"file", media_type="image/png", width=16, height=16))


def progress() -> pb.GenerateResponse:
    """A step of the loop."""
    return pb.GenerateResponse(progress=pb.Progress(iteration=1, iterations=2))


def work(context: grpc.ServicerContext) -> Iterator[pb.GenerateResponse]:
    """Draws."""
    yield from (progress(), picture(), done())


def fails(code: grpc.StatusCode, *details, after=(), bad_details: bytes | None = None) -> Step:
    """Fails with `google.rpc` details, after some events."""

    def step(context: grpc.ServicerContext) -> Iterator[pb.GenerateResponse]:
        yield from after
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message="as told", details=packed)
        context.set_trailing_metadata(
            [("grpc-status-details-bin", status.SerializeToString() if bad_details is None else bad_details)]
        )
        context.abort(code, "as told")

    return step


def retry_after(seconds: float) -> error_details_pb2.RetryInfo:
    """A time to come back."""
    return error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=int(seconds * 1e9)))


def reason(name: str) -> error_details_pb2.ErrorInfo:
    """A reason."""
    return error_details_pb2.ErrorInfo(reason=name, domain="unipic")


@dataclass
class Seen:
    """A call as it came."""

    metadata: dict[str, str]
    seconds_left: float


@dataclass
class Scripted(unipic_pb2_grpc.UniPicServicer):
    """Answers the i-th generation with the i-th step."""

    script: list[Step]
    seen: list[Seen] = field(default_factory=list)
    address: str = ""

    def Generate(self, request, context):
        self.seen.append(Seen(dict(context.invocation_metadata()), context.time_remaining()))
        return self.script[len(self.seen) - 1](context)


@contextmanager
def scripted(*script: Step) -> Iterator[Scripted]:
    """A running server with this script."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    servicer = Scripted(list(script))
    unipic_pb2_grpc.add_UniPicServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(0)
