"""Debian's redis-server on a port of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SECONDS = 20


class RedisServer:
    """A server that can be killed and started again, on the same port.

    Attributes:
        port: of it; of TLS, if it has a certificate.
        address: without a query.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        self._arguments = ["--save", "", "--loglevel", "warning", *arguments]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.address = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        ports = ["--port", str(self.port)]
        if "--tls-cert-file" in self._arguments:
            ports = ["--port", "0", "--tls-port", str(self.port)]
        with (self._folder / "redis.log").open("a") as log:
            self._process = subprocess.Popen(
                ["redis-server", "--bind", "127.0.0.1", *ports, *self._arguments],
                cwd=self._folder,
                stdout=log,
            )
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + SECONDS
        while True:
            assert self._process.poll() is None, (self._folder / "redis.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait(SECONDS)

    def client(self, **more: Any) -> Any:
        """Return a client that tries nothing twice."""
        return redis.Redis(
            port=self.port,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=SECONDS,
            **more,
        )


MakeRedis = Callable[..., RedisServer]
"""Starts a server with arguments of redis-server."""
