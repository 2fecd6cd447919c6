"""A client of UniPic: draw, edit and ask about images.

    import unipic

    with unipic.Client("127.0.0.1:50051") as client:
        drawing = client.generate("a red circle", seed=7)
        edited = client.edit(drawing.picture, "make the circle blue")
        edited.picture.save("blue.png")
        print(client.ask(edited.picture, "What is in the picture?").text)

`AsyncClient` does the same for asyncio. `Client.generate_events` and its siblings give the events one by one.
"""

from .aio import AsyncClient
from .aio_stream import AsyncEvents
from .answers import Answer, TextDelta, TextEvent, Turn, assistant, user
from .client import Client
from .connection import Tls
from .embeddings import Embeddings
from .errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    QuotaViolation,
    ServerFault,
    Unauthenticated,
    Unavailable,
    UniPicError,
    Violation,
)
from .events import Progress, Queued, Resumed
from .images import ImageFile, ImageInput
from .model import Health, Limits, Model
from .pictures import CropBox, Done, Drawing, ImageEvent, ImageSettings, Picture, Preview, Timings
from .requests import AskOptions, CallOptions, DrawOptions, EditOptions, EncoderPath, Margins
from .retries import RetryPolicy
from .stream import Events

__all__ = [
    "Answer",
    "AskOptions",
    "AsyncClient",
    "AsyncEvents",
    "CallOptions",
    "Cancelled",
    "Client",
    "CropBox",
    "DeadlineExceeded",
    "Done",
    "DrawOptions",
    "Drawing",
    "EditOptions",
    "Embeddings",
    "EncoderPath",
    "Events",
    "Health",
    "ImageEvent",
    "ImageFile",
    "ImageInput",
    "ImageSettings",
    "InvalidRequest",
    "Limits",
    "Margins",
    "Model",
    "Overloaded",
    "PermissionDenied",
    "Picture",
    "Preview",
    "Progress",
    "Queued",
    "QuotaViolation",
    "Resumed",
    "RetryPolicy",
    "ServerFault",
    "TextDelta",
    "TextEvent",
    "Timings",
    "Tls",
    "Turn",
    "Unauthenticated",
    "Unavailable",
    "UniPicError",
    "Violation",
    "assistant",
    "user",
]
