from unipic.v1 import decoder_pb2 as _decoder_pb2
from unipic.v1 import synthesis_pb2 as _synthesis_pb2
from unipic.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_FORMAT_UNSPECIFIED: _ClassVar[ImageFormat]
    IMAGE_FORMAT_PNG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_JPEG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_WEBP: _ClassVar[ImageFormat]

class EncoderPath(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODER_PATH_UNSPECIFIED: _ClassVar[EncoderPath]
    ENCODER_PATH_SIGLIP2: _ClassVar[EncoderPath]
    ENCODER_PATH_MAR: _ClassVar[EncoderPath]

class MaskConvention(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_CONVENTION_UNSPECIFIED: _ClassVar[MaskConvention]
    MASK_CONVENTION_WHITE: _ClassVar[MaskConvention]
    MASK_CONVENTION_TRANSPARENT: _ClassVar[MaskConvention]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_USER: _ClassVar[Role]
    ROLE_ASSISTANT: _ClassVar[Role]
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_WEBP: ImageFormat
ENCODER_PATH_UNSPECIFIED: EncoderPath
ENCODER_PATH_SIGLIP2: EncoderPath
ENCODER_PATH_MAR: EncoderPath
MASK_CONVENTION_UNSPECIFIED: MaskConvention
MASK_CONVENTION_WHITE: MaskConvention
MASK_CONVENTION_TRANSPARENT: MaskConvention
ROLE_UNSPECIFIED: Role
ROLE_USER: Role
ROLE_ASSISTANT: Role

class ImageOptions(_message.Message):
    __slots__ = ("seed", "n", "iterations", "head_steps", "guidance_scale", "guidance_schedule", "temperature", "width", "height", "output_format", "preview_every")
    SEED_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    HEAD_STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVERY_FIELD_NUMBER: _ClassVar[int]
    seed: int
    n: int
    iterations: int
    head_steps: int
    guidance_scale: float
    guidance_schedule: _synthesis_pb2.GuidanceSchedule
    temperature: float
    width: int
    height: int
    output_format: ImageFormat
    preview_every: int
    def __init__(self, seed: _Optional[int] = ..., n: _Optional[int] = ..., iterations: _Optional[int] = ..., head_steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., guidance_schedule: _Optional[_Union[_synthesis_pb2.GuidanceSchedule, str]] = ..., temperature: _Optional[float] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., output_format: _Optional[_Union[ImageFormat, str]] = ..., preview_every: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("prompt", "negative_prompt", "options")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    negative_prompt: str
    options: ImageOptions
    def __init__(self, prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., options: _Optional[_Union[ImageOptions, _Mapping]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("queued", "progress", "preview", "image", "done", "resumed")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    queued: Queued
    progress: Progress
    preview: Preview
    image: ImageResult
    done: ImageDone
    resumed: _synthesis_pb2.Resumed
    def __init__(self, queued: _Optional[_Union[Queued, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., image: _Optional[_Union[ImageResult, _Mapping]] = ..., done: _Optional[_Union[ImageDone, _Mapping]] = ..., resumed: _Optional[_Union[_synthesis_pb2.Resumed, _Mapping]] = ...) -> None: ...

class EditRequest(_message.Message):
    __slots__ = ("image", "instruction", "negative_prompt", "options", "mask", "extend", "feather")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    FEATHER_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    instruction: str
    negative_prompt: str
    options: ImageOptions
    mask: Mask
    extend: Margins
    feather: int
    def __init__(self, image: _Optional[bytes] = ..., instruction: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., options: _Optional[_Union[ImageOptions, _Mapping]] = ..., mask: _Optional[_Union[Mask, _Mapping]] = ..., extend: _Optional[_Union[Margins, _Mapping]] = ..., feather: _Optional[int] = ...) -> None: ...

class Margins(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: int
    top: int
    right: int
    bottom: int
    def __init__(self, left: _Optional[int] = ..., top: _Optional[int] = ..., right: _Optional[int] = ..., bottom: _Optional[int] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("image", "convention")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CONVENTION_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    convention: MaskConvention
    def __init__(self, image: _Optional[bytes] = ..., convention: _Optional[_Union[MaskConvention, str]] = ...) -> None: ...

class EditResponse(_message.Message):
    __slots__ = ("queued", "progress", "preview", "image", "done", "resumed")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    queued: Queued
    progress: Progress
    preview: Preview
    image: ImageResult
    done: ImageDone
    resumed: _synthesis_pb2.Resumed
    def __init__(self, queued: _Optional[_Union[Queued, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., image: _Optional[_Union[ImageResult, _Mapping]] = ..., done: _Optional[_Union[ImageDone, _Mapping]] = ..., resumed: _Optional[_Union[_synthesis_pb2.Resumed, _Mapping]] = ...) -> None: ...

class Queued(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: int
    def __init__(self, position: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("iteration", "iterations", "known_tokens", "total_tokens", "elapsed_ms", "remaining_ms")
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    iteration: int
    iterations: int
    known_tokens: int
    total_tokens: int
    elapsed_ms: float
    remaining_ms: float
    def __init__(self, iteration: _Optional[int] = ..., iterations: _Optional[int] = ..., known_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ..., elapsed_ms: _Optional[float] = ..., remaining_ms: _Optional[float] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("image", "iteration", "data", "media_type")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    image: int
    iteration: int
    data: bytes
    media_type: str
    def __init__(self, image: _Optional[int] = ..., iteration: _Optional[int] = ..., data: _Optional[bytes] = ..., media_type: _Optional[str] = ...) -> None: ...

class ImageResult(_message.Message):
    __slots__ = ("image", "data", "media_type", "width", "height", "seed", "crop")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    image: int
    data: bytes
    media_type: str
    width: int
    height: int
    seed: int
    crop: CropBox
    def __init__(self, image: _Optional[int] = ..., data: _Optional[bytes] = ..., media_type: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., seed: _Optional[int] = ..., crop: _Optional[_Union[CropBox, _Mapping]] = ...) -> None: ...

class CropBox(_message.Message):
    __slots__ = ("x", "y", "width", "height", "source_width", "source_height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: int
    y: int
    width: int
    height: int
    source_width: int
    source_height: int
    def __init__(self, x: _Optional[int] = ..., y: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., source_width: _Optional[int] = ..., source_height: _Optional[int] = ...) -> None: ...

class ImageDone(_message.Message):
    __slots__ = ("options", "timings", "weights_sha256", "server_version")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    options: ImageOptions
    timings: _synthesis_pb2.SynthesisTimings
    weights_sha256: str
    server_version: str
    def __init__(self, options: _Optional[_Union[ImageOptions, _Mapping]] = ..., timings: _Optional[_Union[_synthesis_pb2.SynthesisTimings, _Mapping]] = ..., weights_sha256: _Optional[str] = ..., server_version: _Optional[str] = ...) -> None: ...

class UnderstandRequest(_message.Message):
    __slots__ = ("turns", "max_tokens", "temperature", "top_p", "stop", "seed", "encoder_path", "candidates")
    TURNS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ENCODER_PATH_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    max_tokens: int
    temperature: float
    top_p: float
    stop: _containers.RepeatedScalarFieldContainer[str]
    seed: int
    encoder_path: EncoderPath
    candidates: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., max_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., stop: _Optional[_Iterable[str]] = ..., seed: _Optional[int] = ..., encoder_path: _Optional[_Union[EncoderPath, str]] = ..., candidates: _Optional[_Iterable[str]] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("role", "parts")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    role: Role
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    def __init__(self, role: _Optional[_Union[Role, str]] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("text", "image")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    image: bytes
    def __init__(self, text: _Optional[str] = ..., image: _Optional[bytes] = ...) -> None: ...

class UnderstandResponse(_message.Message):
    __slots__ = ("queued", "text_delta", "done", "resumed")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    queued: Queued
    text_delta: str
    done: UnderstandDone
    resumed: _synthesis_pb2.Resumed
    def __init__(self, queued: _Optional[_Union[Queued, _Mapping]] = ..., text_delta: _Optional[str] = ..., done: _Optional[_Union[UnderstandDone, _Mapping]] = ..., resumed: _Optional[_Union[_synthesis_pb2.Resumed, _Mapping]] = ...) -> None: ...

class UnderstandDone(_message.Message):
    __slots__ = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "encode_ms", "first_token_ms", "total_ms", "encoder_path", "seed", "candidate_logprobs")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODER_PATH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: _decoder_pb2.FinishReason
    prompt_tokens: int
    completion_tokens: int
    encode_ms: float
    first_token_ms: float
    total_ms: float
    encoder_path: EncoderPath
    seed: int
    candidate_logprobs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[_Union[_decoder_pb2.FinishReason, str]] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., encode_ms: _Optional[float] = ..., first_token_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., encoder_path: _Optional[_Union[EncoderPath, str]] = ..., seed: _Optional[int] = ..., candidate_logprobs: _Optional[_Iterable[float]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("image", "encoder_path")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ENCODER_PATH_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    encoder_path: EncoderPath
    def __init__(self, image: _Optional[bytes] = ..., encoder_path: _Optional[_Union[EncoderPath, str]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: _tensor_pb2.TensorFrame
    def __init__(self, frame: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("name", "server_version", "weights_sha256", "image_defaults", "limits", "encoder_paths", "notices", "stride")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENCODER_PATHS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    name: str
    server_version: str
    weights_sha256: str
    image_defaults: ImageOptions
    limits: Limits
    encoder_paths: _containers.RepeatedScalarFieldContainer[EncoderPath]
    notices: _containers.RepeatedScalarFieldContainer[str]
    stride: int
    def __init__(self, name: _Optional[str] = ..., server_version: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., image_defaults: _Optional[_Union[ImageOptions, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., encoder_paths: _Optional[_Iterable[_Union[EncoderPath, str]]] = ..., notices: _Optional[_Iterable[str]] = ..., stride: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_prompt_bytes", "max_image_bytes", "max_image_pixels", "max_output_pixels", "max_n", "max_iterations", "max_head_steps", "max_guidance_scale", "max_temperature", "max_answer_tokens", "max_images", "max_turns")
    MAX_PROMPT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_HEAD_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    MAX_TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_TURNS_FIELD_NUMBER: _ClassVar[int]
    max_prompt_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_output_pixels: int
    max_n: int
    max_iterations: int
    max_head_steps: int
    max_guidance_scale: float
    max_temperature: float
    max_answer_tokens: int
    max_images: int
    max_turns: int
    def __init__(self, max_prompt_bytes: _Optional[int] = ..., max_image_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., max_output_pixels: _Optional[int] = ..., max_n: _Optional[int] = ..., max_iterations: _Optional[int] = ..., max_head_steps: _Optional[int] = ..., max_guidance_scale: _Optional[float] = ..., max_temperature: _Optional[float] = ..., max_answer_tokens: _Optional[int] = ..., max_images: _Optional[int] = ..., max_turns: _Optional[int] = ...) -> None: ...
