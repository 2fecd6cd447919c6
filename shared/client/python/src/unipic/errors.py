"""What went wrong with a call, in terms that a caller can act on.

Every failure of a call is a `UniPicError`. Which subclass says what to do: change the request, come back later, or report a
fault. The details that the server sends in `google.rpc` messages are attributes here, so nobody parses a text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_STATUS_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """A field of the request and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True)
class QuotaViolation:
    """Whose quota is used up, such as `tenant:acme`, and which."""

    subject: str
    description: str


class UniPicError(Exception):
    """A call that failed; of a code without a class of its own where it is no subclass."""

    code: str
    """The gRPC code by name, such as `INVALID_ARGUMENT`."""
    message: str
    """What the server, or gRPC on this side, said."""
    reason: str | None
    """`ErrorInfo.reason`, such as `QUEUE_FULL`, where the server told one."""
    retry_delay: float | None
    """After how many seconds the server wants to be asked again, where it told that."""
    violations: tuple[Violation, ...]
    """Every wrong field of the request."""
    quotas: tuple[QuotaViolation, ...]
    """Quotas that are used up."""

    def __init__(
        self,
        code: str,
        message: str,
        reason: str | None = None,
        retry_delay: float | None = None,
        violations: tuple[Violation, ...] = (),
        quotas: tuple[QuotaViolation, ...] = (),
    ) -> None:
        # All of them are the exception's arguments, which is what makes it cross processes.
        super().__init__(code, message, reason, retry_delay, violations, quotas)
        self.code, self.message, self.reason = code, message, reason
        self.retry_delay, self.violations, self.quotas = retry_delay, violations, quotas

    def __str__(self) -> str:
        later = "" if self.retry_delay is None else f" (retry after {self.retry_delay:g} s)"
        return f"{self.code}: {self.message}{later}"

    @property
    def field(self) -> str | None:
        """The first wrong field of the request, where the request was wrong."""
        return self.violations[0].field if self.violations else None


class InvalidRequest(UniPicError):
    """INVALID_ARGUMENT: `violations` names every wrong field."""


class Unauthenticated(UniPicError):
    """UNAUTHENTICATED: no key was sent, or none that is valid."""


class PermissionDenied(UniPicError):
    """PERMISSION_DENIED: the key does not allow this."""


class Overloaded(UniPicError):
    """RESOURCE_EXHAUSTED: no room now (`reason` tells queue, deadline or quota); `retry_delay` tells when to come back."""


class Unavailable(UniPicError):
    """UNAVAILABLE: the server cannot be reached, went away, or takes no calls now."""


class DeadlineExceeded(UniPicError):
    """DEADLINE_EXCEEDED: the call's `timeout` passed."""


class Cancelled(UniPicError):
    """CANCELLED: the call was cancelled, mostly by this side."""


class ServerFault(UniPicError):
    """INTERNAL: a fault of the server."""


_CLASSES: dict[str, type[UniPicError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": Cancelled,
    "INTERNAL": ServerFault,
}


class _Details:
    """The `google.rpc` messages of a status, by attribute."""

    _KNOWN: ClassVar[tuple[Any, ...]] = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.RetryInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.QuotaFailure,
    )

    def __init__(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self.found: dict[str, Any] = {}
        packed = next((value for key, value in metadata if key == _STATUS_DETAILS), b"")
        try:
            details = status_pb2.Status.FromString(packed).details
        except DecodeError:
            # A status whose details are broken is still a status.
            return
        for detail in details:
            for kind in self._KNOWN:
                message = kind()
                if detail.Unpack(message):
                    self.found.setdefault(kind.DESCRIPTOR.name, message)

    @property
    def reason(self) -> str | None:
        info = self.found.get("ErrorInfo")
        return None if info is None else str(info.reason)

    @property
    def retry_delay(self) -> float | None:
        info = self.found.get("RetryInfo")
        return None if info is None else max(0.0, info.retry_delay.ToNanoseconds() / 1e9)

    @property
    def violations(self) -> tuple[Violation, ...]:
        bad = self.found.get("BadRequest")
        return () if bad is None else tuple(Violation(v.field, v.description) for v in bad.field_violations)

    @property
    def quotas(self) -> tuple[QuotaViolation, ...]:
        quota = self.found.get("QuotaFailure")
        return () if quota is None else tuple(QuotaViolation(v.subject, v.description) for v in quota.violations)


def from_code(code: str, message: str) -> UniPicError:
    """An error of this side, without details."""
    return _CLASSES.get(code, UniPicError)(code, message)


def from_rpc(error: grpc.RpcError) -> UniPicError:
    """The error that a call of grpc or grpc.aio raised, as one of ours."""
    call: Any = error  # What grpc raises is a call as well; its types do not say so.
    code = call.code().name
    details = _Details(call.trailing_metadata() or ())
    return _CLASSES.get(code, UniPicError)(
        code,
        call.details() or "no reason was given",
        details.reason,
        details.retry_delay,
        details.violations,
        details.quotas,
    )
