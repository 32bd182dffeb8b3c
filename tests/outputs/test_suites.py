"""Folders and files are outputs like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.output_suite import OutputSuite, Sink
from tests.support.sinks import (
    AlexeyAB,
    Annotations,
    Coco,
    Folder,
    JsonLines,
    JsonList,
    Labels,
    Parquet,
    Rows,
)
from yolo_service.outputs import Output
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.tee import Tee


class Drawn(Folder):
    """A folder of results with another one of annotated images."""

    def open(self, resume: bool = False) -> Output:
        drawing = OutputOptions(draw=True, resume=resume)
        drawn = open_output(str(self.path.with_name("drawn")), drawing)
        return Tee([super().open(resume), drawn])

    def results(self) -> Mapping[str, list[str]]:
        results = super().results()
        drawn = self.path.with_name("drawn")
        assert all((drawn / name).exists() for name in results)
        return results


SINKS = {
    "folder": (Folder, "out"),
    "labels": (Labels, "out"),
    "annotations": (Annotations, "out"),
    "drawn": (Drawn, "out"),
    "lines": (JsonLines, "out.jsonl"),
    "list": (JsonList, "out.json"),
    "alexeyab": (AlexeyAB, "out.json"),
    "coco": (Coco, "out.json"),
    "csv": (Rows, "out.csv"),
    "parquet": (Parquet, "out.parquet"),
}


class TestOutputs(OutputSuite):
    @pytest.fixture(params=SINKS)
    def sink(self, tmp_path: Path, request: pytest.FixtureRequest) -> Sink:
        kind, name = SINKS[request.param]
        return kind(tmp_path / name)
