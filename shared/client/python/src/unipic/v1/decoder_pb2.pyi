from unipic.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason

class Segment(_message.Message):
    __slots__ = ("template", "user_text", "embeddings_index")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    USER_TEXT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_INDEX_FIELD_NUMBER: _ClassVar[int]
    template: str
    user_text: str
    embeddings_index: int
    def __init__(self, template: _Optional[str] = ..., user_text: _Optional[str] = ..., embeddings_index: _Optional[int] = ...) -> None: ...

class Prompt(_message.Message):
    __slots__ = ("segments",)
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("open", "probe", "frame")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    open: SessionOpen
    probe: Probe
    frame: _tensor_pb2.TensorFrame
    def __init__(self, open: _Optional[_Union[SessionOpen, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., frame: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class SessionOpen(_message.Message):
    __slots__ = ("prompts", "n_tensors")
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    N_TENSORS_FIELD_NUMBER: _ClassVar[int]
    prompts: _containers.RepeatedCompositeFieldContainer[Prompt]
    n_tensors: int
    def __init__(self, prompts: _Optional[_Iterable[_Union[Prompt, _Mapping]]] = ..., n_tensors: _Optional[int] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("segments",)
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[ProbeSegment]
    def __init__(self, segments: _Optional[_Iterable[_Union[ProbeSegment, _Mapping]]] = ...) -> None: ...

class ProbeSegment(_message.Message):
    __slots__ = ("prompt", "first_row", "n_rows")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    N_ROWS_FIELD_NUMBER: _ClassVar[int]
    prompt: int
    first_row: int
    n_rows: int
    def __init__(self, prompt: _Optional[int] = ..., first_row: _Optional[int] = ..., n_rows: _Optional[int] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("opened", "frame")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    opened: SessionOpened
    frame: _tensor_pb2.TensorFrame
    def __init__(self, opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., frame: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("prompt_tokens", "prefilled_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREFILLED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: _containers.RepeatedScalarFieldContainer[int]
    prefilled_tokens: int
    def __init__(self, prompt_tokens: _Optional[_Iterable[int]] = ..., prefilled_tokens: _Optional[int] = ...) -> None: ...

class AnswerRequest(_message.Message):
    __slots__ = ("open", "frame")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    open: AnswerOpen
    frame: _tensor_pb2.TensorFrame
    def __init__(self, open: _Optional[_Union[AnswerOpen, _Mapping]] = ..., frame: _Optional[_Union[_tensor_pb2.TensorFrame, _Mapping]] = ...) -> None: ...

class AnswerOpen(_message.Message):
    __slots__ = ("prompt", "n_tensors", "max_tokens", "temperature", "top_p", "seed", "stop", "candidates")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    N_TENSORS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    prompt: Prompt
    n_tensors: int
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    candidates: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, prompt: _Optional[_Union[Prompt, _Mapping]] = ..., n_tensors: _Optional[int] = ..., max_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., candidates: _Optional[_Iterable[str]] = ...) -> None: ...

class AnswerResponse(_message.Message):
    __slots__ = ("text_delta", "done")
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    text_delta: str
    done: AnswerDone
    def __init__(self, text_delta: _Optional[str] = ..., done: _Optional[_Union[AnswerDone, _Mapping]] = ...) -> None: ...

class AnswerDone(_message.Message):
    __slots__ = ("finish_reason", "prompt_tokens", "completion_tokens", "first_token_ms", "decode_ms", "candidate_logprobs")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    first_token_ms: float
    decode_ms: float
    candidate_logprobs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, finish_reason: _Optional[_Union[FinishReason, str]] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., first_token_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., candidate_logprobs: _Optional[_Iterable[float]] = ...) -> None: ...

class GetDecoderInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDecoderInfoResponse(_message.Message):
    __slots__ = ("llm_width", "context_length", "vocab_size", "weights_sha256", "notices")
    LLM_WIDTH_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    VOCAB_SIZE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    llm_width: int
    context_length: int
    vocab_size: int
    weights_sha256: str
    notices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, llm_width: _Optional[int] = ..., context_length: _Optional[int] = ..., vocab_size: _Optional[int] = ..., weights_sha256: _Optional[str] = ..., notices: _Optional[_Iterable[str]] = ...) -> None: ...
