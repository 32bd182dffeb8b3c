"""Clients that others have written, each run in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from darknet.detections import Detections
from tests.support.fixtures import Client, Find, Part, ServerProcess

GREY = np.full((64, 96, 3), 7, np.uint8)
"""What the programs send as numbers."""

Run = Callable[[str], Any]


@pytest.fixture
def run(clients_python: Path, server: ServerProcess, photo: bytes, tmp_path: Path) -> Run:
    """Run a program of this folder against the shared server; returns what it prints."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo)

    def run(name: str) -> Any:
        program = Path(__file__).with_name(name)
        command = [str(clients_python), str(program), str(server.port), str(path)]
        others = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, env=others, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def same(boxes: list[list[float]], expected: Detections) -> None:
    assert len(expected)
    np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), expected.boxes, atol=0.1)


def png(pixels: Any) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def test_tritonclient(run: Run, photo: bytes, find: Find) -> None:
    found = run("run_triton.py")
    assert found["live"]
    assert (found["ready"], found["other version"]) == ([True, True], False)
    assert found["server"]["name"] == "yolo-service"
    for name in ("metadata", "config"):
        plain, version = found[name]
        assert (plain, plain["name"]) == (version, "a-tiny")
    states = {entry["name"]: entry["state"] for entry in found["index"]}
    assert (states["a-tiny"], states["d-empty"]) == ("READY", "UNAVAILABLE")
    assert len(found["boxes"]) == 5
    for boxes in found["boxes"].values():
        same(boxes, find(photo, 0.25))
    same(found["numbers"], find(png(GREY), 0.01))


def test_kserve(run: Run, photo: bytes, find: Find) -> None:
    found = run("run_kserve.py")
    assert found["states"] == [True, True, True]
    for way, boxes in found["boxes"].items():
        same(boxes, find(photo if way in ("encoded", "base64") else png(GREY), 0.01))


def test_open_inference_openapi(run: Run, photo: bytes, find: Find) -> None:
    found = run("run_open_inference.py")
    assert found["server"] == "yolo-service"
    assert (found["versions"], found["version"]) == (["1"], "a-tiny")
    for name in ("encoded", "encoded by version"):
        same(found[name], find(photo, 0.01))
    same(found["numbers"], find(png(GREY), 0.01))


def test_deepstack_python(run: Run, client: Client, photo: bytes) -> None:
    found = run("run_deepstack.py")
    for name, path, sent in (
        ("default", "detection", "0.45"),
        ("custom", "custom/b-shy", "0.45"),
        ("low", "detection", "0.1"),
    ):
        form: list[Part] = [("image", photo), ("min_confidence", sent)]
        assert found[name] == client.post(form, f"/v1/vision/{path}").json["predictions"]
    assert len(found["low"]) > len(found["default"]) > 0
    assert "404" in found["error"]
