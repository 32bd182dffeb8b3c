"""The curl lines of docs/interfaces.md are answered."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.fixtures import ServerProcess
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:curl|printf) .*(?:\n  .*)*", DOCUMENT, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the images that the document names."""
    image = (ROOT / "models" / "blood-cells" / "sample.jpg").read_bytes()
    for name in ("dog.jpg", "eagle.jpg"):
        (tmp_path / name).write_bytes(image)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_is_answered(server: ServerProcess, folder: Path, command: str) -> None:
    line = command.replace("HOST:8080", f"127.0.0.1:{server.port}")
    line = line.replace("NAME", "a-tiny").replace("yolov4_coco", "a-tiny")
    line = line.replace("curl ", "curl --silent --show-error --fail-with-body ")
    answer = subprocess.run(
        ["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_lines_are_found() -> None:
    for address in ("/detect", "/annotate", "/invocations", "/infer"):
        assert any(address in command for command in COMMANDS)
