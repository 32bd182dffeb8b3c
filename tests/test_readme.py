"""Every command and program of the README is run as it stands there, and prints what it says."""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import darknet
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]
PORT = 8080


def environment() -> dict[str, str]:
    """The environment of somebody who has just cloned the repository and activated .venv."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "MAKE", "MFLAGS"))}
    return {**clean, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True)
class Running:
    """``make run`` and the lines it has printed until it was ready."""

    log: str


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.fail(f"port {PORT} is in use; stop what listens there")
    virtual = Path(sys.prefix)
    process = subprocess.Popen(
        ["make", "run", f"VENV={virtual}"],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    log = ""
    for line in process.stderr:
        log += line
        if "serving " in line:
            break
    try:
        yield Running(log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


def run(*command: str) -> str:
    """Run a line of shell, or a program with its arguments, and return what it prints."""
    answer = subprocess.run(
        command[0] if len(command) == 1 else command,
        shell=len(command) == 1,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, f"{command}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


def close(found: Any, expected: Any) -> bool:
    """Compare JSON documents; CPUs differ in the last digits of their arithmetic."""
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, abs=0.5 if expected > 1 else 0.002))
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    return bool(found == expected)


def test_make_run_serves_the_model_that_comes_along(service: Running) -> None:
    assert "serving blood-cells" in service.log
    assert f"http://127.0.0.1:{PORT}/" in service.log


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("curl ")])
def test_curl_lines_are_answered(service: Running, command: str) -> None:
    answer = run(command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1))
    assert answer


def test_the_first_curl_answers_what_is_shown_below_it(service: Running) -> None:
    index = [kind for kind, _ in BLOCKS].index("json")
    command, shown = BLOCKS[index - 1][1].strip(), shown_rows(BLOCKS[index][1])
    counts = re.search(r"the first (\d+) of (\d+) detections", README)
    answer = json.loads(run(f"{command} --silent"))
    assert counts
    assert [len(shown), len(answer)] == [int(count) for count in counts.groups()]
    assert close(answer[: len(shown)], shown)


def shown_rows(block: str) -> Any:
    """Read a JSON list that ends with ``...`` instead of its other rows."""
    rows, left_out, end = block.rpartition(",\n ...\n")
    assert left_out, "the answer is cut by a line of three dots"
    return json.loads(rows + end)


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_programs_detect_in_the_sample(service: Running, program: str) -> None:
    printed = ast.literal_eval(run(sys.executable, "-c", program))
    labels = [row if isinstance(row, str) else row[0] for row in printed]
    assert set(labels) == {"RBC", "WBC", "Platelets"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("yolo-service ")])
def test_commands_end_well(command: str) -> None:
    assert run(command)


def test_the_place_of_the_command_is_said_before_it_is_used() -> None:
    place = README.index("`.venv/bin/yolo-service`")
    assert place < README.index("\nyolo-service ")


def test_the_example_of_the_library_loads_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testmod(darknet)
    assert result.attempted >= 5
    assert result.failed == 0


def test_make_test_is_what_runs_these_tests() -> None:
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "make test" in COMMANDS
    assert re.search(r"^test:.*\n\t.*pytest", rules, re.MULTILINE)


def test_no_command_of_the_readme_is_left_out() -> None:
    known = ("make run", "make test", "curl ", "yolo-service ")
    assert all(command.startswith(known) for command in COMMANDS)


def test_pulling_a_model_of_the_catalog_says_what_it_needs(tmp_path: Path) -> None:
    """With a mirror that has nothing; no test downloads from the internet."""
    found = re.search(r"`(YOLO_MODEL=\w+) make run`", README)
    assert found
    variable, _, model = found[1].partition("=")
    answer = subprocess.run(
        [*shlex.split("make run"), f"VENV={sys.prefix}"],
        cwd=ROOT,
        env=environment()
        | {variable: model, "YOLO_MODELS_MIRROR": str(tmp_path), "YOLO_MODELS_DIR": "models"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode != 0
    assert model in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_settings_of_the_readme_are_those_of_the_service() -> None:
    from yolo_service.settings import Settings

    listed = set(re.findall(r"`((?:YOLO_|ML_)[A-Z_]+|\w+_file)`", README)) - {"image_file"}
    known = {
        field.validation_alias
        if isinstance(field.validation_alias, str)
        else f"YOLO_{name.upper()}"
        for name, field in Settings.model_fields.items()
    }
    assert listed == known
