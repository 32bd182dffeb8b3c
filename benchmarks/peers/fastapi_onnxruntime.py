"""FastAPI and ONNX Runtime: FastAPI's threads share a session."""

from __future__ import annotations

import os
from typing import Any

import uvicorn
from detector import Detector, onnxruntime_infer
from fastapi import FastAPI, File

app = FastAPI()
detector = Detector(onnxruntime_infer())


@app.post("/detect")
def detect(image_file: bytes = File()) -> list[Any]:
    """Answer an upload; FastAPI calls it in a thread."""
    return detector.detect(image_file)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PEER_PORT"]), log_level="warning")
