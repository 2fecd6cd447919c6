"""What the two clients are made of: a channel, its stubs, and what goes along with every call."""

from typing import Any, ClassVar

from grpc_health.v1 import health_pb2, health_pb2_grpc

from .calls import Settings
from .connection import Tls, channel_arguments
from .model import Health
from .retries import RetryPolicy
from .v1 import unipic_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 3600.0
"""Seconds: a generation on a small machine takes minutes."""
HEALTH_POLL = 0.1
"""Seconds between two looks at a server that is waited for."""


class Connected:
    """A channel to a server. The clients differ in whose channels they open: `grpc`'s or `grpc.aio`'s."""

    _grpc: ClassVar[Any]

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
            self._channel = self._grpc.insecure_channel(target, options)
        else:
            self._channel = self._grpc.secure_channel(target, credentials, options)
        self._stub = unipic_pb2_grpc.UniPicStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)


def health_of(response: health_pb2.HealthCheckResponse) -> Health:
    """What a server's health service says."""
    return Health(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
