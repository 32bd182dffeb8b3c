"""Run a check in another process, because native code may end, crash or hang its process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

SECONDS = 120.0
"""Timeout of the other process; loading a large model from a slow disk takes long."""


def run_apart(probe: str, argument: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Run one of ``yolo_service.doctor.probes`` in a process of its own, for at most ``seconds``.

    Returns:
        The probe's result; with the key ``error`` if the probe or its process failed.
    """
    command = [sys.executable, "-m", "yolo_service.doctor.probes", probe, argument]
    try:
        ended = subprocess.run(  # noqa: S603 - this Python with a module of this package
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {seconds:g} seconds"}
    if ended.returncode == 0:
        return dict(json.loads(ended.stdout.splitlines()[-1]))
    last = (ended.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    return {"error": f"the process that tried it ended with {_end(ended.returncode)}: {last}"}


def _end(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name
