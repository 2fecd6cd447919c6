"""Requests from arguments. What a limit is, the server says; here only what cannot be put into a message is refused."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from .answers import Turn
from .images import ImageInput, file_bytes
from .v1 import synthesis_pb2
from .v1 import unipic_pb2 as pb

Priority = Literal["interactive", "batch"]
"""`batch` waits behind `interactive`."""


class CallOptions(TypedDict, total=False):
    """What every call takes."""

    timeout: float | None
    """Seconds for the whole call, retries and the whole stream included; the client's own where left out."""
    traceparent: str | None
    """W3C trace context to go on from; OpenTelemetry's current span where left out and that package is installed."""
    tracestate: str | None
    """Goes with `traceparent`."""
    priority: Priority | None
    """`interactive` where left out."""


class DrawOptions(CallOptions, total=False):
    """What generations and edits take. What is left out takes the default that `model()` tells."""

    negative_prompt: str
    """What to keep away from."""
    n: int | None
    """How many images; image 0 is the same alone and among n."""
    seed: int | None
    """Drawn by the server, and told, where left out."""
    iterations: int | None
    """Of the generation loop."""
    head_steps: int | None
    """Sampling steps of the diffusion head."""
    guidance_scale: float | None
    """1 turns guidance off and halves the work."""
    guidance_schedule: Literal["constant", "linear"] | None
    """How guidance grows over the iterations."""
    temperature: float | None
    """Factor on the sampler's noise."""
    width: int | None
    """In pixels, a multiple of the model's stride."""
    height: int | None
    """In pixels, a multiple of the model's stride."""
    output_format: Literal["png", "jpeg", "webp"] | None
    """File format of the results."""
    preview_every: int | None
    """A preview every so many iterations."""


class Margins(TypedDict, total=False):
    """Around an edit's source, in its pixels."""

    left: int
    top: int
    right: int
    bottom: int


class EditOptions(DrawOptions, total=False):
    """What edits take besides."""

    mask: ImageInput
    """Where the picture is redrawn, of its size; everywhere where left out. All other pixels stay as they are."""
    mask_marks: Literal["white", "transparent"] | None
    """Which pixels of `mask` are redrawn: `white`, the default, or `transparent`, as in OpenAI's API."""
    extend: Margins
    """Margins to draw around the picture."""
    feather: int | None
    """With a mask or margins: how far the seam is blended, in pixels of the result, on the redrawn side only."""


EncoderPath = Literal["siglip2", "mar"]
"""Which encoder shows images to the language model; `Model.encoder_paths` tells those that a server has."""


class AskOptions(CallOptions, total=False):
    """What questions take."""

    max_tokens: int | None
    """At most this many tokens are generated."""
    temperature: float | None
    """0, the default, picks the likeliest token."""
    top_p: float | None
    """Draw from the smallest set of tokens whose probability reaches this."""
    stop: Sequence[str]
    """The answer ends before the first of these."""
    seed: int | None
    """Of the draws."""
    encoder_path: EncoderPath | None
    """Which encoder shows the images."""
    candidates: Sequence[str]
    """Generate nothing; tell how likely each of these beginnings of an answer is."""


_CALL = frozenset(CallOptions.__annotations__)
_DRAW = frozenset(DrawOptions.__annotations__)
_EDIT = frozenset(EditOptions.__annotations__)
_ASK = frozenset(AskOptions.__annotations__)

_WORDS: dict[str, dict[str, int]] = {
    "guidance_schedule": {
        "constant": synthesis_pb2.GUIDANCE_SCHEDULE_CONSTANT,
        "linear": synthesis_pb2.GUIDANCE_SCHEDULE_LINEAR,
    },
    "output_format": {
        "png": pb.IMAGE_FORMAT_PNG,
        "jpeg": pb.IMAGE_FORMAT_JPEG,
        "webp": pb.IMAGE_FORMAT_WEBP,
    },
    "mask_marks": {"white": pb.MASK_CONVENTION_WHITE, "transparent": pb.MASK_CONVENTION_TRANSPARENT},
    "encoder_path": {"siglip2": pb.ENCODER_PATH_SIGLIP2, "mar": pb.ENCODER_PATH_MAR},
    "role": {"user": pb.ROLE_USER, "assistant": pb.ROLE_ASSISTANT},
    "priority": {"interactive": 0, "batch": 1},
}


def choice(name: str, value: str) -> int:
    """The number of a word. Raises ValueError, naming the words that there are."""
    words = _WORDS[name]
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {value!r}")
    return words[value]


def _put(message: Any, name: str, value: Any) -> None:
    """Sets a field. The complaints of protobuf do not all say which field it was."""
    if value is None:
        return
    try:
        if name in _WORDS:
            setattr(message, name, choice(name, value))
        elif isinstance(value, str | int | float):
            setattr(message, name, value)
        else:
            getattr(message, name).extend(value)
    except (TypeError, AttributeError) as error:
        raise TypeError(f"{name}: {value!r} does not fit ({error})") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _refuse_unknown(options: Mapping[str, Any], known: frozenset[str], call: str) -> None:
    unknown = sorted(options.keys() - known)
    if unknown:
        raise TypeError(f"{call} takes no {', '.join(map(repr, unknown))}; it takes {', '.join(sorted(known))}")


def _image_options(options: Mapping[str, Any]) -> pb.ImageOptions:
    message = pb.ImageOptions()
    for name in _DRAW - _CALL - {"negative_prompt"}:
        _put(message, name, options.get(name))
    return message


def generate_request(prompt: str, options: Mapping[str, Any]) -> pb.GenerateRequest:
    """Raises TypeError and ValueError, naming the argument."""
    _refuse_unknown(options, _DRAW, "generate")
    request = pb.GenerateRequest(options=_image_options(options))
    _put(request, "prompt", prompt)
    _put(request, "negative_prompt", options.get("negative_prompt"))
    return request


def edit_request(image: bytes, instruction: str, options: Mapping[str, Any]) -> pb.EditRequest:
    """Raises as `generate_request`."""
    _refuse_unknown(options, _EDIT, "edit")
    request = pb.EditRequest(image=image, options=_image_options(options))
    marks = options.get("mask_marks")
    if options.get("mask") is not None:
        request.mask.image = file_bytes(options["mask"], "mask")
        request.mask.convention = cast("pb.MaskConvention", choice("mask_marks", marks or "white"))
    elif marks is not None:
        raise TypeError("mask_marks says how a mask is read, and there is no mask")
    margins = options.get("extend")
    if margins is not None:
        _refuse_unknown(margins, frozenset(Margins.__annotations__), "extend")
        request.extend.SetInParent()
        for side, pixels in margins.items():
            _put(request.extend, side, pixels)
    _put(request, "feather", options.get("feather"))
    _put(request, "instruction", instruction)
    _put(request, "negative_prompt", options.get("negative_prompt"))
    return request


def ask_request(turns: Sequence[Turn], options: Mapping[str, Any]) -> pb.UnderstandRequest:
    """Raises as `generate_request`."""
    _refuse_unknown(options, _ASK, "ask")
    request = pb.UnderstandRequest()
    for turn in turns:
        message = request.turns.add()
        _put(message, "role", turn.role)
        for part in turn.parts:
            if isinstance(part, str):
                message.parts.add(text=part)
            else:
                message.parts.add(image=part)
    for name in _ASK - _CALL:
        value = options.get(name)
        if name in ("stop", "candidates") and isinstance(value, str):
            raise TypeError(f"{name} must be a list of strings, not one string")
        _put(request, name, value)
    return request


def embed_request(image: bytes, encoder_path: str | None, options: Mapping[str, Any]) -> pb.EmbedRequest:
    """Raises as `generate_request`."""
    _refuse_unknown(options, _CALL, "embed")
    request = pb.EmbedRequest(image=image)
    _put(request, "encoder_path", encoder_path)
    return request
