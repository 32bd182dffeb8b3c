"""Modules that are run in a process of their own, and what is told of their end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import IO

import pytest

from darknet.child_process import Ended, run_module


@pytest.fixture(autouse=True)
def _importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let modules be found in a folder that only this process's path has."""
    monkeypatch.syspath_prepend(tmp_path)


def run(folder: Path, code: str, *arguments: str, seconds: float = 60) -> Ended:
    (folder / "of_this_test.py").write_text(textwrap.dedent(code))
    return run_module("of_this_test", *arguments, seconds=seconds)


def test_a_module_gets_its_arguments_and_what_it_prints_is_kept(tmp_path: Path) -> None:
    ended = run(tmp_path, "import sys; print(sys.argv[1:]); sys.stderr.write('too')", "a", "b c")
    assert ended == Ended(None, "['a', 'b c']\ntoo")


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("import os; os.abort()", "ended with SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGFPE)", "ended with SIGFPE"),
    ],
)
def test_an_end_is_told_in_words(tmp_path: Path, code: str, how: str) -> None:
    assert run(tmp_path, code).how == how


def test_a_process_that_hangs_is_killed(tmp_path: Path) -> None:
    ended = run(tmp_path, "import time; time.sleep(600)", seconds=0.1)
    assert ended.how == "gave no answer within 0.1 seconds"


def test_a_process_that_does_not_read_what_it_is_sent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "of_this_test.py").write_text("import time; time.sleep(600)")
    ended = run_module("of_this_test", seconds=0.5, send=lambda stream: write(stream, 4_000_000))
    assert ended.how == "gave no answer within 0.5 seconds"


def write(stream: IO[bytes], count: int) -> None:
    stream.write(bytes(count))


def test_the_last_lines_have_no_control_characters(tmp_path: Path) -> None:
    code = r"""
    for number in range(9):
        print(f"\x1b[31m line {number}\x1b[0m\x07\n")
    """
    assert run(tmp_path, code).last_lines == "line 4 | line 5 | line 6 | line 7 | line 8"
    assert Ended(None, "").last_lines == "it printed nothing"


@pytest.mark.parametrize("code", ["import sys; sys.stdin.buffer.read()", "raise SystemExit(4)"])
def test_what_is_sent_may_be_more_than_is_read(tmp_path: Path, code: str) -> None:
    (tmp_path / "of_this_test.py").write_text(code)

    def send(stream: IO[bytes]) -> None:
        stream.write(bytes(1 << 22))

    ended = run_module("of_this_test", seconds=60, send=send)
    assert ended.how == (None if "read" in code else "ended with exit code 4")


def test_a_process_finds_the_modules_of_this_one_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "of_this_test.py").write_text("print('found')")
    code = "import sys; sys.path.insert(0, sys.argv[1]); "
    code += "from darknet.child_process import run_module; "
    code += "print(run_module('of_this_test', seconds=60).output)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    ended = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert ended.stdout == "found\n\n"
