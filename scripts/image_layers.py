"""Prints the size of every layer of an image and holds their sum to a limit.

    python3 scripts/image_layers.py STORAGE LIMIT_MB < inspected.json

STORAGE is the --root of the buildah that built the image; sizes are uncompressed. The last layer,
which holds the model, does not count.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def layer_sizes(storage: Path) -> dict[str, int]:
    """Return the bytes of every layer in a storage, by digest."""
    files = storage.glob("*-layers/layers.json")
    layers = [layer for file in files for layer in json.loads(file.read_text())]
    return {layer["diff-digest"]: layer["diff-size"] for layer in layers if "diff-digest" in layer}


def table(image: dict[str, Any], sizes: dict[str, int]) -> list[tuple[str, int]]:
    """Return (what made it, bytes) for every layer of an image, from the bottom up."""
    digests = image["rootfs"]["diff_ids"]
    made_by = [
        step.get("created_by", "") for step in image["history"] if not step.get("empty_layer")
    ]
    return [(_short(step), sizes[digest]) for step, digest in zip(made_by, digests, strict=True)]


def _short(step: str) -> str:
    return " ".join(step.replace("/bin/sh -c", "").replace("#(nop)", "").split())[:60]


def main(storage: str, limit_mb: str) -> None:
    """Print the table of the image that ``buildah inspect`` described on standard input."""
    layers = table(json.load(sys.stdin)["Docker"], layer_sizes(Path(storage)))
    for step, size in layers:
        print(f"{size / 1e6:8.1f} MB  {step}")
    total = sum(size for _, size in layers[:-1]) / 1e6
    print(f"{total:8.1f} MB  without the model; at most {limit_mb} allowed")
    if total > float(limit_mb):
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
