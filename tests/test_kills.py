"""A run that is killed at any call leaves what the next one completes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@pytest.mark.parametrize("sink", ["out.jsonl", "out.json", "out"])
@pytest.mark.parametrize(("source", "is_elsewhere"), [("", False), ("*.png", True)])
def test_a_run_that_is_killed_at_any_call_is_completed_by_the_next_one(
    tmp_path: Path, sink: str, source: str, is_elsewhere: bool
) -> None:
    shared = Path("/dev/shm")
    is_elsewhere &= shared.is_dir()
    with tempfile.TemporaryDirectory(dir=shared if is_elsewhere else tmp_path) as folder:
        setting = {"root": str(tmp_path / "root"), "done": f"{folder}/done"}
        setting |= {"source": source, "sink": sink}
        command = [sys.executable, "-m", "tests.support.killed_runs", json.dumps(setting)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    assert int(re.findall(r"\d+", lines[0])[0]) > 20
