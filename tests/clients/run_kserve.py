"""What KServe's client gets from the service, as JSON: ``run_kserve.py PORT PHOTO``."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "a-tiny"
PIXELS = np.full((1, 64, 96, 3), 7, np.uint8)


def tensor(name: str, values: Any, kind: str, binary: bool) -> InferInput:
    """Make an input, in the JSON or as bytes behind it."""
    made = InferInput(name, list(values.shape), kind)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def inputs(photo: bytes) -> dict[str, InferInput]:
    """Make an input in each way."""
    text = base64.b64encode(photo).decode()
    encoded = np.array([photo], dtype=object)
    return {
        "encoded": tensor("image", encoded, "BYTES", True),
        "base64": InferInput("image", [1], "BYTES", data=[text]),
        "bytes": tensor("image_uint8", PIXELS, "UINT8", True),
        "numbers": tensor("image_uint8", PIXELS, "UINT8", False),
        "floats": InferInput(
            "image_uint8", [1, 64, 96, 3], "UINT8", data=PIXELS.astype(float).ravel().tolist()
        ),
    }


async def main(port: str, path: str) -> None:
    """Print everything."""
    client, url = InferenceRESTClient(RESTConfig(protocol="v2")), f"http://127.0.0.1:{port}"
    boxes: dict[str, Any] = {}
    for way, each in inputs(Path(path).read_bytes()).items():
        request = InferRequest(MODEL, infer_inputs=[each], parameters={"threshold": 0.01})
        answer = await client.infer(url, request, model_name=MODEL)
        (output,) = (output for output in answer.outputs if output.name == "boxes")
        boxes[way] = output.as_numpy().reshape(-1, 4).tolist()
    states = [
        await client.is_server_live(url),
        await client.is_server_ready(url),
        await client.is_model_ready(url, MODEL),
    ]
    await client.close()
    sys.stdout.write(json.dumps({"states": states, "boxes": boxes}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
