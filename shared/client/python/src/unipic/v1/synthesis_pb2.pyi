from unipic.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GuidanceSchedule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GUIDANCE_SCHEDULE_UNSPECIFIED: _ClassVar[GuidanceSchedule]
    GUIDANCE_SCHEDULE_CONSTANT: _ClassVar[GuidanceSchedule]
    GUIDANCE_SCHEDULE_LINEAR: _ClassVar[GuidanceSchedule]

class Backend(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKEND_UNSPECIFIED: _ClassVar[Backend]
    BACKEND_UNDERSTANDING: _ClassVar[Backend]
    BACKEND_SYNTHESIS: _ClassVar[Backend]
    BACKEND_DECODER: _ClassVar[Backend]
GUIDANCE_SCHEDULE_UNSPECIFIED: GuidanceSchedule
GUIDANCE_SCHEDULE_CONSTANT: GuidanceSchedule
GUIDANCE_SCHEDULE_LINEAR: GuidanceSchedule
BACKEND_UNSPECIFIED: Backend
BACKEND_UNDERSTANDING: Backend
BACKEND_SYNTHESIS: Backend
BACKEND_DECODER: Backend

class SynthesizeRequest(_message.Message):
    __slots__ = ("parameters", "source")
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    parameters: SynthesisParameters
    source: _tensor_pb2.TensorFrame
    def __init__(self, parameters: _Optional[_Union[SynthesisParameters, _Mapping]] = ..., source: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class SynthesisParameters(_message.Message):
    __slots__ = ("prompt", "negative_prompt", "has_source", "seed", "n_images", "grid_rows", "grid_cols", "iterations", "head_steps", "guidance_scale", "guidance_schedule", "temperature", "preview_every", "first_image", "redrawn_places")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    HAS_SOURCE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    N_IMAGES_FIELD_NUMBER: _ClassVar[int]
    GRID_ROWS_FIELD_NUMBER: _ClassVar[int]
    GRID_COLS_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    HEAD_STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVERY_FIELD_NUMBER: _ClassVar[int]
    FIRST_IMAGE_FIELD_NUMBER: _ClassVar[int]
    REDRAWN_PLACES_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    negative_prompt: str
    has_source: bool
    seed: int
    n_images: int
    grid_rows: int
    grid_cols: int
    iterations: int
    head_steps: int
    guidance_scale: float
    guidance_schedule: GuidanceSchedule
    temperature: float
    preview_every: int
    first_image: int
    redrawn_places: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., has_source: bool = ..., seed: _Optional[int] = ..., n_images: _Optional[int] = ..., grid_rows: _Optional[int] = ..., grid_cols: _Optional[int] = ..., iterations: _Optional[int] = ..., head_steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., guidance_schedule: _Optional[_Union[GuidanceSchedule, str]] = ..., temperature: _Optional[float] = ..., preview_every: _Optional[int] = ..., first_image: _Optional[int] = ..., redrawn_places: _Optional[_Iterable[int]] = ...) -> None: ...

class SynthesizeResponse(_message.Message):
    __slots__ = ("progress", "image", "done", "resumed")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    progress: SynthesisProgress
    image: ImageFrame
    done: SynthesisDone
    resumed: Resumed
    def __init__(self, progress: _Optional[_Union[SynthesisProgress, _Mapping]] = ..., image: _Optional[_Union[ImageFrame, _Mapping]] = ..., done: _Optional[_Union[SynthesisDone, _Mapping]] = ..., resumed: _Optional[_Union[Resumed, _Mapping]] = ...) -> None: ...

class Resumed(_message.Message):
    __slots__ = ("what", "attempt")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    what: Backend
    attempt: int
    def __init__(self, what: _Optional[_Union[Backend, str]] = ..., attempt: _Optional[int] = ...) -> None: ...

class SynthesisProgress(_message.Message):
    __slots__ = ("iteration", "iterations", "known_tokens", "total_tokens")
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    iteration: int
    iterations: int
    known_tokens: int
    total_tokens: int
    def __init__(self, iteration: _Optional[int] = ..., iterations: _Optional[int] = ..., known_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ...) -> None: ...

class ImageFrame(_message.Message):
    __slots__ = ("image", "preview", "frame")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    image: int
    preview: bool
    frame: _tensor_pb2.TensorFrame
    def __init__(self, image: _Optional[int] = ..., preview: bool = ..., frame: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class SynthesisDone(_message.Message):
    __slots__ = ("timings",)
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    timings: SynthesisTimings
    def __init__(self, timings: _Optional[_Union[SynthesisTimings, _Mapping]] = ...) -> None: ...

class SynthesisTimings(_message.Message):
    __slots__ = ("queue_ms", "source_ms", "prefill_ms", "mar_ms", "probe_ms", "head_ms", "vae_ms", "total_ms", "bytes_to_decoder", "bytes_from_decoder")
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_MS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_MS_FIELD_NUMBER: _ClassVar[int]
    MAR_MS_FIELD_NUMBER: _ClassVar[int]
    PROBE_MS_FIELD_NUMBER: _ClassVar[int]
    HEAD_MS_FIELD_NUMBER: _ClassVar[int]
    VAE_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    BYTES_TO_DECODER_FIELD_NUMBER: _ClassVar[int]
    BYTES_FROM_DECODER_FIELD_NUMBER: _ClassVar[int]
    queue_ms: float
    source_ms: float
    prefill_ms: float
    mar_ms: float
    probe_ms: float
    head_ms: float
    vae_ms: float
    total_ms: float
    bytes_to_decoder: int
    bytes_from_decoder: int
    def __init__(self, queue_ms: _Optional[float] = ..., source_ms: _Optional[float] = ..., prefill_ms: _Optional[float] = ..., mar_ms: _Optional[float] = ..., probe_ms: _Optional[float] = ..., head_ms: _Optional[float] = ..., vae_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., bytes_to_decoder: _Optional[int] = ..., bytes_from_decoder: _Optional[int] = ...) -> None: ...

class EncodeMarRequest(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: _tensor_pb2.TensorFrame
    def __init__(self, frame: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class EncodeMarResponse(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: _tensor_pb2.TensorFrame
    def __init__(self, frame: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class GetSynthesisInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSynthesisInfoResponse(_message.Message):
    __slots__ = ("base_image_size", "stride", "n_buffers", "llm_width", "default_head_steps", "weights_sha256", "notices", "max_places")
    BASE_IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    N_BUFFERS_FIELD_NUMBER: _ClassVar[int]
    LLM_WIDTH_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_HEAD_STEPS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    MAX_PLACES_FIELD_NUMBER: _ClassVar[int]
    base_image_size: int
    stride: int
    n_buffers: int
    llm_width: int
    default_head_steps: int
    weights_sha256: str
    notices: _containers.RepeatedScalarFieldContainer[str]
    max_places: int
    def __init__(self, base_image_size: _Optional[int] = ..., stride: _Optional[int] = ..., n_buffers: _Optional[int] = ..., llm_width: _Optional[int] = ..., default_head_steps: _Optional[int] = ..., weights_sha256: _Optional[str] = ..., notices: _Optional[_Iterable[str]] = ..., max_places: _Optional[int] = ...) -> None: ...
