"""The real server in a process of its own, and a client for it."""

from __future__ import annotations

import functools
import http.client
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from darknet import load_network
from darknet.cfg import read_cfg
from darknet.detections import Detections
from darknet.weights import write_weights
from tests.support.networks import random_weights, write_model
from tests.support.paths import ROOT
from yolo_service.images.decode import decode

BOUNDARY = "----boundary"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
WARNINGS = ("-Werror", "-Wignore::DeprecationWarning")
"""Warnings are errors in the server, too, but connexion 2 imports what jsonschema deprecates."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; ``json`` is its document."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Part = tuple[str, str | bytes]
"""Name and value of a form field; bytes are sent as a file."""


def multipart(parts: list[Part]) -> bytes:
    """Write a multipart form."""
    lines = []
    for name, value in parts:
        is_file = isinstance(value, bytes)
        extra = f'; filename="{name}.bin"\r\nContent-Type: image/jpeg' if is_file else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        lines.append(head.encode() + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        self._connection.request(method, path, body, dict(headers or {}))
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())  # type: ignore[arg-type]  # a Message reads like a mapping

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, parts: list[Part], path: str = "/detect", **headers: str) -> Answer:
        """Send a form."""
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.request("POST", path, multipart(parts), kind | headers)

    def close(self) -> None:
        self._connection.close()


@dataclass
class ServerProcess:
    """``python app.py``, with everything that it has logged."""

    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    port: int = 0
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def client(self) -> Client:
        return Client(self.port)

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """Wait for a line of the log."""
        while (line := self._lines.get(timeout=seconds)) is not None:
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"ended without {pattern!r}:\n" + "".join(self.log))

    def wait_until_ready(self) -> None:
        """Wait until the default model is served."""
        self.port = int(self.wait_for(r"listening on http://[\d.]+:(\d+)").group(1))
        self.wait_for("serving ")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the process to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the process and of its log."""
        try:
            code = self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
        self._reader.join(STOP_SECONDS)
        return code

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as lines:
            for line in lines:
                self.log.append(line)
                self._lines.put(line)
        self._lines.put(None)


StartServer = Callable[..., ServerProcess]


def start_process(environment: Mapping[str, str], *command: str) -> ServerProcess:
    """Start ``python app.py`` on a free port, or another way, without waiting for it."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")}
    return ServerProcess(
        subprocess.Popen(
            [sys.executable, *WARNINGS, *(command or [str(ROOT / "app.py")])],
            env={**inherited, "YOLO_PORT": "0", **environment},
            cwd=ROOT if command else None,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with two small models and a broken one."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "a-tiny")
    _make_sure(folder / "a-tiny")
    write_model(folder / "b-shy")
    (folder / "b-shy" / "model.yaml").write_text("threshold: 1.0\nlicense: CC0-1.0\n")
    write_model(folder / "c-broken", names=("cat",))
    (folder / "d-empty").mkdir()
    return folder


def _make_sure(folder: Path) -> None:
    """Write weights whose confidences lie on both sides of every interface's threshold."""
    cfg = read_cfg(folder / "model.cfg")
    weights = random_weights(cfg, objectness=-2.0, head_gain=4.0)
    write_weights(folder / "model.weights", cfg, weights)


@pytest.fixture
def start_server(models: Path) -> Iterator[StartServer]:
    """Start servers with settings of a test's own (and variables without a prefix).

    They have to end without an error.
    """
    started: list[ServerProcess] = []

    def start(
        others: Mapping[str, str] | None = None, command: Sequence[str] = (), **settings: str
    ) -> ServerProcess:
        environment = {f"YOLO_{name.upper()}": value for name, value in settings.items()}
        given = {"YOLO_MODELS_DIR": str(models), **environment, **(others or {})}
        server = start_process(given, *command)
        started.append(server)
        server.wait_until_ready()
        return server

    yield start
    codes = [server.stop() for server in started]
    assert codes == [0] * len(codes), "".join(line for server in started for line in server.log)


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    """The folder whose files ``hang`` and ``fail`` rule over the engine."""
    return tmp_path


@pytest.fixture
def faulty(start_server: StartServer, faults: Path) -> StartServer:
    """Start servers whose engine obeys ``faults``; they have to end in order all the same."""
    command = ("-m", "tests.support.faulty")
    return functools.partial(start_server, {"FAULTS": str(faults)}, command)


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[ServerProcess]:
    """A server that tests share; they must leave it as it was."""
    process = start_process(
        {"YOLO_MODELS_DIR": str(models), "YOLO_URL_ALLOW_NETWORKS": "127.0.0.0/8"}
    )
    try:
        process.wait_until_ready()
        yield process
    finally:
        code = process.stop()
    log = "".join(process.log)
    assert code == 0, log
    assert "Traceback" not in log, log


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """A connection to the shared server."""
    connection = server.client()
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG of 96 x 64, noise in which the small models find something."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    encoded, data = cv2.imencode(".jpg", pixels)
    assert encoded
    return data.tobytes()


Find = Callable[[bytes, float], Detections]
"""Detects in an encoded image above a threshold; the most confident come first."""


@pytest.fixture(scope="session")
def find(models: Path) -> Iterator[Find]:
    """What the library itself finds with the default model of the shared server."""
    folder = models / "a-tiny"
    files = (folder / "model.cfg", folder / "model.weights", folder / "model.names")
    with load_network(*files) as network:

        def detect(data: bytes, threshold: float) -> Detections:
            image = decode(data, max_pixels=10**6)
            return network.detect([image], threshold)[0].by_score()

        yield detect


class Photos(BaseHTTPRequestHandler):
    """Answers every path with the class's photo, but /missing."""

    photo: bytes
    requested: list[str]

    def do_GET(self) -> None:
        self.requested.append(self.path)
        found = self.path != "/missing"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "image/jpeg")
        self.end_headers()
        if found:
            self.wfile.write(self.photo)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def requested() -> list[str]:
    """The targets of the requests to the server of photos."""
    return []


@pytest.fixture
def photos(photo: bytes, requested: list[str]) -> Iterator[str]:
    """The address of a server of photos."""
    handler = type("Handler", (Photos,), {"photo": photo, "requested": requested})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
