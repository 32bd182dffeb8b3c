"""Runs of ``yolo-service detect`` with and without a cluster, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.command import COMMAND
from tests.support.ray_serve import free_port
from tests.support.waiting import wait_until

SECONDS = 120
VOLATILE = ("timings", "inference_ms")

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(models: Path) -> Iterator[Start]:
    """Start ``detect --cluster local``, or another cluster; what still runs is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: object, cluster: str | None = "local", **extra: str
    ) -> subprocess.Popen[str]:
        words = [str(COMMAND), "detect", "--models-dir", str(models), *map(str, arguments)]
        words += ["--cluster", cluster] if cluster else []
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "RAY_"))}
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**inherited, "RAY_AUTH_MODE": "disabled", **extra},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a run; returns the exit code and what it wrote to standard error."""
    _, errors = process.communicate(timeout=SECONDS)
    assert "Traceback" not in errors, errors
    return process.returncode, errors


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def rows(path: Path) -> list[Any]:
    """Return the documents of a file of JSON lines, without what differs from run to run."""
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in each.items() if k not in VOLATILE} for each in documents]


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], Path]:
    """Make a folder of images, of which each hundredth is broken."""

    def make(count: int) -> Path:
        images = [noise(seed) for seed in range(50)]
        path = tmp_path / "in"
        path.mkdir()
        for i in range(count):
            (path / f"{i:05}.png").write_bytes(b"broken" if i % 100 == 7 else images[i % 50])
        return path

    return make


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Start a Ray cluster of one machine; returns its address for clients."""
    program = Path(sys.executable).with_name("ray")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    started: list[subprocess.Popen[bytes]] = []

    def make(cpus: int) -> str:
        words = [program, "start", "--head", "--block", "--port", "0", "--num-cpus", str(cpus),
                 "--include-dashboard", "false",
                 "--object-store-memory", "200000000", "--ray-client-server-port"]  # fmt: skip
        port = free_port()
        log = tmp_path / "head.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*map(str, words), str(port)],
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        started.append(process)
        wait_until(lambda: b"Ray runtime started" in log.read_bytes() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return f"ray://127.0.0.1:{port}"

    yield make
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)  # SIGTERM takes half a minute
        process.wait(SECONDS)
