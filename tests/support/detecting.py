"""The command ``yolo-service detect`` in a process that serves until it is killed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import COMMAND


@contextmanager
def detecting(source: str, sink: str, log: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command with the bundled model; what it logs goes to a file."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("YOLO_")}
    with log.open("a") as errors:
        process = subprocess.Popen(
            [COMMAND, "detect", source, "--to", sink, "--model", "blood-cells", *more],
            stderr=errors,
            env=clean,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()
