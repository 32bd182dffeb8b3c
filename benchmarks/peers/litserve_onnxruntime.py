"""LitServe and ONNX Runtime: one worker process per CPU, each with one thread."""

import os
from typing import Any

import litserve
from detector import Detector, onnxruntime_infer
from fastapi import Request


class Api(litserve.LitAPI):
    """One model in each worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe passes it
        """Load it."""
        self.detector = Detector(onnxruntime_infer(1))

    def decode_request(self, request: Request) -> bytes:
        """Take the file out of the form."""
        data: bytes = request["image_file"].file.read()
        return data

    def predict(self, data: bytes) -> list[Any]:
        """Find objects."""
        return self.detector.detect(data)

    def encode_response(self, output: list[Any]) -> list[Any]:
        """Leave the writing to LitServe."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(api_path="/detect"), accelerator="cpu", workers_per_device=os.cpu_count() or 1
    )
    server.run(port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")
