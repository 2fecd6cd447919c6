"""Servers for the tests: real ones, and a scripted one for what a real one does not do on command."""

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import unipic

# The command that serves, such as `target/debug/unipic-node`; what it is told comes in a configuration file.
COMMAND = "UNIPIC_TEST_SERVER"
# Cheap settings: the tests are about calls, not pictures.
CHEAP = {"iterations": 2, "head_steps": 2, "guidance_scale": 1.0}
START_LIMIT_S = 120


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running server of ours."""

    def __init__(self, folder: Path, config: str) -> None:
        self.port, http_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        lines = [f'listen = "{self.address}"', f'http.listen = "127.0.0.1:{http_port}"']
        file, self.log = folder / f"{self.port}.toml", folder / f"{self.port}.log"
        file.write_text("\n".join([*lines, config]) + "\n")
        command = [*shlex.split(os.environ[COMMAND]), "--config", str(file)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait(self) -> None:
        """Waits until it listens; its clients wait until it serves."""
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the server does not listen after {START_LIMIT_S} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()


StartServer = Callable[[str], Server]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts servers with a configuration; they are stopped at the end."""
    if COMMAND not in os.environ:
        pytest.skip(f"{COMMAND} names no server to test against, such as target/debug/unipic-node")
    running: list[Server] = []

    def start(config: str) -> Server:
        server = Server(tmp_path_factory.mktemp("server"), config)
        running.append(server)
        server.wait()
        return server

    yield start
    for server in running:
        server.kill()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Server:
    """A server without keys or TLS, which all tests share."""
    started = start_server("")
    with unipic.Client(started.address) as client:
        client.wait_until_serving(timeout=START_LIMIT_S)
    return started


@pytest.fixture
def client(server: Server) -> Iterator[unipic.Client]:
    """A client of the shared server."""
    with unipic.Client(server.address, timeout=300) as connected:
        yield connected
