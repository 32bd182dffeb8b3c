"""A process that detects from a source to a sink, with the bundled model, until it is killed.

    python -m tests.support.detecting SOURCE SINK [LIMIT]

It prints a line when it has opened both.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs.opening import OutputOptions, open_output
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options, open_predictor
from yolo_service.settings import load_settings

SECONDS = 60


def main(source: str, sink: str) -> None:
    logging.basicConfig(level=logging.INFO)
    settings = load_settings(model="blood-cells", queue_seconds=float("inf"))
    with open_predictor(settings) as predictor:
        predictor.models.get()
        opened = open_input([source], InputOptions())
        output = open_output(sink, OutputOptions())
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        Pipeline(opened, predictor, output, Options()).run()


@contextmanager
def detecting(source: str, sink: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the process; it is ready, and is killed at the end."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.detecting", source, sink],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
        )
    with process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n", log.read_text()
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
