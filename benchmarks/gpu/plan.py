"""What to measure, for all parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from benchmarks.gpu.models import BenchModel, ModelMissingError, find_models
from benchmarks.gpu.results import Results
from darknet.model import Precision

T = TypeVar("T")

PRECISIONS: tuple[Precision, ...] = ("fp32", "fast")
JPEGS = ((640, 480), (1920, 1080))
"""Widths and heights of the images that are decoded."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        provider: ``cuda``; or ``cpu``, which stands in for it.
        names: of the models.
        cfgs: .cfg files of further models.
        batches: numbers of images, ascending.
        seconds: for each figure.
        docs: folder of the report.
        pytest: further arguments of the conformance suite.
        results: where the figures go.
    """

    provider: str
    names: tuple[str, ...]
    cfgs: tuple[Path, ...]
    batches: tuple[int, ...]
    seconds: float
    docs: Path
    pytest: tuple[str, ...]
    results: Results

    @property
    def on_gpu(self) -> bool:
        """Whether this is no stand-in."""
        return self.provider != "cpu"

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices of ONNX Runtime."""
        return ("cuda", "tensorrt") if self.on_gpu else ("cpu",)

    def models(self) -> list[BenchModel]:
        """Return the models, whose layers become part of the results; say which are missing."""
        found: list[BenchModel] = []
        for name in self.names:
            try:
                found += find_models([name], ())
            except ModelMissingError as error:
                print(f"bench-gpu: left out: {error}", file=sys.stderr)
        return [*found, *find_models((), self.cfgs)]


def progress(items: Sequence[T], label: str) -> Iterator[T]:
    """Show on a terminal how far a loop has come."""
    with click.progressbar(items, label=label, file=sys.stderr) as bar:
        yield from bar
