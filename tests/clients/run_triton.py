"""What Triton's client gets from the service, as JSON: ``run_triton.py PORT PHOTO``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton

MODEL = "a-tiny"
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "version": {"model_version": "1"},
    "gzip": {"request_compression_algorithm": "gzip"},
    "deflate": {"request_compression_algorithm": "deflate"},
    "gzip answers": {"response_compression_algorithm": "gzip", "model_version": "1"},
}


def boxes(client: Any, photo: bytes, **options: Any) -> Any:
    """Detect in an encoded image; returns the boxes."""
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([photo], dtype=object))
    return client.infer(MODEL, [tensor], **options).as_numpy("boxes").tolist()


def numbers(client: Any) -> Any:
    """Detect in an image of numbers in the JSON."""
    tensor = triton.InferInput("image_uint8", [1, 64, 96, 3], "UINT8")
    tensor.set_data_from_numpy(np.full((1, 64, 96, 3), 7, np.uint8), binary_data=False)
    answer = client.infer(MODEL, [tensor], parameters={"threshold": 0.01})
    return answer.as_numpy("boxes").tolist()


def main(port: str, path: str) -> None:
    """Print everything."""
    client, photo = triton.InferenceServerClient(f"127.0.0.1:{port}"), Path(path).read_bytes()
    found = {
        "live": client.is_server_live(),
        "ready": [client.is_model_ready(MODEL), client.is_model_ready(MODEL, "1")],
        "other version": client.is_model_ready(MODEL, "2"),
        "server": client.get_server_metadata(),
        "metadata": [client.get_model_metadata(MODEL), client.get_model_metadata(MODEL, "1")],
        "config": [client.get_model_config(MODEL), client.get_model_config(MODEL, "1")],
        "index": client.get_model_repository_index(),
        "boxes": {way: boxes(client, photo, **options) for way, options in WAYS.items()},
        "numbers": numbers(client),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
