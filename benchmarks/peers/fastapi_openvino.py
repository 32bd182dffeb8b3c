"""FastAPI and OpenVINO: each of FastAPI's threads has its own request, OpenVINO the streams."""

from __future__ import annotations

import os
import threading
from typing import Any

import openvino
import uvicorn
from detector import MODEL, Detector
from fastapi import FastAPI, File

app = FastAPI()
settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": os.environ["PEER_TYPE"]}
compiled = openvino.Core().compile_model(str(MODEL), "CPU", settings)
local = threading.local()


def infer(tensor: Any) -> list[Any]:
    """Compute with the thread's own request."""
    if not hasattr(local, "request"):
        local.request = compiled.create_infer_request()
    return list(local.request.infer([tensor]).values())


detector = Detector(infer)


@app.post("/detect")
def detect(image_file: bytes = File()) -> list[Any]:
    """Answer an upload; FastAPI calls it in a thread."""
    return detector.detect(image_file)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PEER_PORT"]), log_level="warning")
