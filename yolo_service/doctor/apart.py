"""Run a check in another process, because native code may end, crash or hang its process."""

from __future__ import annotations

import json
from typing import Any

from darknet.child_process import run_module

SECONDS = 120.0
"""Timeout of the other process; loading a large model from a slow disk takes long."""


def run_apart(probe: str, argument: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Run one of ``yolo_service.doctor.probes`` in a process of its own, for at most ``seconds``.

    Returns:
        The probe's result; with the key ``error`` if the probe or its process failed.
    """
    ended = run_module("yolo_service.doctor.probes", probe, argument, seconds=seconds)
    if ended.how:
        return {"error": f"the process that tried it {ended.how}: {ended.last_lines}"}
    # What C code printed is written when its process exits, behind the result.
    lines = reversed(ended.output.splitlines())
    result = next((line for line in lines if line.startswith("{")), None)
    if result is None:
        return {"error": f"the process that tried it ended with exit code 0: {ended.last_lines}"}
    return dict(json.loads(result))
