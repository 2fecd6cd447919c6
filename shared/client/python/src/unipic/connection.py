"""Where a server is and how it is spoken to: address, TLS, key."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

# The server's own limit on an event; gRPC's default of 4 MiB is less than a large picture.
_MAX_RESPONSE_BYTES = 32 << 20
# A server that leaves a ping unanswered is gone; without pings a network partition hangs a call for ever.
_KEEPALIVE_MS = 10_000
_PING_TIMEOUT_MS = 5_000


def _version() -> str:
    try:
        return version("unipic")
    except PackageNotFoundError:
        return "source"


@dataclass(frozen=True)
class Tls:
    """How to speak TLS. Certificates and keys are PEM, as paths or as bytes."""

    ca: str | os.PathLike[str] | bytes | None = None
    """Authorities to trust instead of gRPC's built-in list."""
    certificate: str | os.PathLike[str] | bytes | None = None
    """This client's certificate chain, for mutual TLS."""
    key: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    """The certificate's key."""
    server_name: str | None = None
    """The name that the server's certificate has, where it is not the address's host."""

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC. Raises OSError where a file cannot be read, ValueError where one of certificate and key is missing."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs both `certificate` and `key`")
        ca, certificate, key = (_pem(part) for part in (self.ca, self.certificate, self.key))
        return grpc.ssl_channel_credentials(ca, key, certificate)


def _pem(source: str | os.PathLike[str] | bytes | None) -> bytes | None:
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()


@dataclass(frozen=True)
class Target:
    """A server's address, understood."""

    address: str
    """As gRPC takes it."""
    is_encrypted: bool

    @classmethod
    def parse(cls, address: str) -> "Target":
        """Reads `host:port`, `http://host:port`, `https://host:port` or `unix:/path`. Raises ValueError for others."""
        problem = f"the address must be host:port, http://host:port, https://host:port or unix:/path, got {address!r}"
        if address.startswith("unix:"):
            if len(address) == len("unix:"):
                raise ValueError(problem)
            return cls(address, False)
        parts = urlsplit(address if "://" in address else f"http://{address}")
        try:
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{problem} ({error})") from None
        is_plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
            raise ValueError(problem)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        is_encrypted = parts.scheme == "https"
        if port is None and not is_encrypted:
            raise ValueError(f"{problem}: the port is missing")
        return cls(f"{host}:{port or 443}", is_encrypted)


def channel_arguments(
    address: str, tls: Tls | None
) -> tuple[str, grpc.ChannelCredentials | None, Sequence[tuple[str, Any]]]:
    """What makes a channel: its target, credentials where it is encrypted, and options.

    Raises ValueError for a bad address, or for TLS without an `https://` one.
    """
    target = Target.parse(address)
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _MAX_RESPONSE_BYTES),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.primary_user_agent", f"unipic-python/{_version()}"),
        # Two clients of one process are two clients: closing one must not share a connection's fate with the other.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if not target.is_encrypted:
        if tls is not None:
            raise ValueError(f"TLS needs an https:// address, got {address!r}")
        return target.address, None, options
    settings = tls or Tls()
    if settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return target.address, settings.credentials(), options


class ApiKey:
    """A secret key, as `unipic key new` makes them. It is never shown: not by `repr`, not in an error."""

    def __init__(self, key: str) -> None:
        """Takes a key; white space around it is dropped. Raises ValueError for what no header can carry, and does not say
        what it was: a mistyped key is most of a key."""
        stripped = key.strip()
        if not stripped or not all("!" <= letter <= "~" for letter in stripped):
            raise ValueError("the API key is empty or has characters that no header can carry")
        self._header = f"Bearer {stripped}"

    def header(self) -> tuple[str, str]:
        """The header that carries it."""
        return ("authorization", self._header)

    def __repr__(self) -> str:
        return "ApiKey(hidden)"
