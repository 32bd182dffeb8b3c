"""What the protocol's own client gets, as JSON: ``run_open_inference.py PORT PHOTO``."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.types import InferenceRequest, RequestInput

MODEL = "a-tiny"
SHAPE = [1, 64, 96, 3]


def request(name: str, datatype: str, shape: list[int], data: list[Any]) -> InferenceRequest:
    """Make a request with one input; the client sends whole numbers as 7.0."""
    tensor = RequestInput(name=name, datatype=datatype, shape=shape, data=data)
    return InferenceRequest(inputs=[tensor], parameters={"threshold": 0.01})


def boxes(answer: Any) -> Any:
    """Return the boxes of an answer."""
    (output,) = (output for output in answer.outputs if output.name == "boxes")
    return json.loads(output.data.json())


def main(port: str, path: str) -> None:
    """Print everything."""
    client = OpenInferenceClient(base_url=f"http://127.0.0.1:{port}")
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness(MODEL)
    client.check_model_version_readiness(MODEL, "1")
    text = base64.b64encode(Path(path).read_bytes()).decode()
    encoded = request("image", "BYTES", [1], [text])
    numbers = request("image_uint8", "UINT8", SHAPE, [7] * (64 * 96 * 3))
    found = {
        "server": client.read_server_metadata().name,
        "versions": client.read_model_metadata(MODEL).versions,
        "version": client.read_model_version_metadata(MODEL, "1").name,
        "encoded": boxes(client.model_infer(MODEL, request=encoded)),
        "encoded by version": boxes(client.model_version_infer(MODEL, "1", request=encoded)),
        "numbers": boxes(client.model_infer(MODEL, request=numbers)),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
