"""BentoML and ONNX Runtime: one worker process per CPU, each with one thread.

Started by ``bentoml serve bentoml_onnxruntime:Service --port PORT``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
from detector import Detector, onnxruntime_infer


@bentoml.service(workers=os.cpu_count() or 1)
class Service:
    """One model in each worker."""

    def __init__(self) -> None:
        self.detector = Detector(onnxruntime_infer(1))

    @bentoml.api
    def detect(self, image_file: Path) -> list[Any]:
        """Answer an upload, which BentoML hands over as a file."""
        return self.detector.detect(image_file.read_bytes())
