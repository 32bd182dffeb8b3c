"""The command ``yolo-service`` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("yolo-service")


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command without the YOLO_ variables of this process."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")}
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=inherited | environment,
        check=False,
        timeout=120,
    )
