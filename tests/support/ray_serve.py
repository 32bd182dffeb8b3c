"""Ray Serve in a process of its own, which ends with whoever has started it.

Run as a module it starts Ray on loopback, deploys what it is told line by line on standard input,
and ends at the end of that: also when the tests were killed. Ray's own processes end with it.
"""

from __future__ import annotations

import json
import os
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.fixtures import Client
from tests.support.paths import ROOT

START_SECONDS = 120.0
HOST = "127.0.0.1"

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_REPLY = "reply: "
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}


@dataclass
class RayServe:
    """Ray Serve, with everything that it has logged."""

    process: subprocess.Popen[str]
    port: int
    folder: str
    log: list[str] = field(default_factory=list)
    _replies: queue.Queue[Any] = field(default_factory=queue.Queue)
    _lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def client(self) -> Client:
        return Client(self.port)

    def deploy(self, name: str, prefix: str, **options: Any) -> None:
        """Deploy an application, and wait until it runs."""
        assert self.process.stdin
        print(json.dumps([name, prefix, options]), file=self.process.stdin, flush=True)
        reply = self._replies.get(timeout=START_SECONDS)
        assert reply == name, "\n".join(self.log[-100:])

    def replica_of(self, request_id: str) -> int:
        """Return the process that has answered a request, which its line of log tells."""
        pattern = re.compile(rf"\(ServeReplica\S* pid=(\d+)\).* {request_id}$")
        seen = (match[1] for line in list(self.log) if (match := pattern.search(line)))
        found = next(seen, None)
        while found is None:
            match = pattern.search(self._lines.get(timeout=30))
            found = match[1] if match else None
        return int(found)

    def stop(self) -> int:
        """End Ray; returns the exit code of the process that has started it."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self._reader.join(10)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for raw in lines:
                line = _COLOURS.sub("", raw).rstrip()
                self.log.append(line)
                self._lines.put(line)
                if line.startswith(_REPLY):
                    self._replies.put(json.loads(line.removeprefix(_REPLY)))
        self._replies.put(None)


def start_ray_serve(environment: Mapping[str, str]) -> RayServe:
    """Start Ray and its proxy with variables for the application; nothing is deployed yet."""
    port = free_port()
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets in it, whose paths must be short
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "RAY_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ray_serve", str(port), folder],
        env={**inherited, **_QUIET, **environment},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return RayServe(process, port, folder)


def free_port() -> int:
    """Return a port that nobody gets by asking for any: Ray's processes open dozens of those."""
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server((HOST, port)):
            return port


def _main(port: int, folder: str) -> None:
    import ray
    from ray import serve

    from yolo_service.cluster.serve import app

    app({})  # sets the variable of the proxies, as ``serve run`` does before it starts Ray
    ray.init(
        num_cpus=8,  # as many as are asked for: the tests need places, not speed
        include_dashboard=False,
        object_store_memory=100_000_000,
        _temp_dir=folder,
        _node_ip_address=HOST,
    )
    serve.start(http_options={"host": HOST, "port": port})
    for line in sys.stdin:
        name, prefix, options = json.loads(line)
        serve.run(app(options), name=name, route_prefix=prefix)
        sys.stdout.write(f"{_REPLY}{json.dumps(name)}\n")
        sys.stdout.flush()
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2])
