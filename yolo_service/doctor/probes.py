"""Checks that may crash their process: ``python -m yolo_service.doctor.probes library PATH``.

The last line of the output is a JSON object, which ``run_apart`` reads.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from darknet import DarknetError
from darknet.engines.libdarknet import faults_of
from darknet.engines.libdarknet_abi import open_library
from yolo_service.errors import ConfigurationError, ServiceError
from yolo_service.models.opening import default_files, load_files
from yolo_service.settings import load_settings


def library(path: str) -> dict[str, str]:
    """Load libdarknet and run its test networks; an empty path: the library of the system."""
    found = open_library(Path(path) if path else None)
    build = "CUDA" if found.on_gpu else "CPU"
    return {"family": found.family, "build": build, "faults": " and ".join(faults_of(found))}


def model(models_dir: str) -> dict[str, str]:
    """Load the default model as the service would, and time a detection."""
    settings = load_settings(**({"models_dir": Path(models_dir)} if models_dir else {}))
    files = default_files(settings)
    image = np.zeros((480, 640, 3), np.uint8)
    with load_files(files, settings) as network:
        network.detect([image])
        before = time.perf_counter()
        network.detect([image])
        milliseconds = (time.perf_counter() - before) * 1000
        engine = f"{network.engine_name} on {network.device} in {network.precision}"
    return {"answer": f"{files.name} answers in {milliseconds:.1f} ms with {engine}"}


PROBES: Mapping[str, Callable[[str], dict[str, str]]] = {"library": library, "model": model}


def main(probe: str, argument: str) -> None:
    """Print the result of a probe, or its ``error``."""
    try:
        found = PROBES[probe](argument)
    except (DarknetError, ServiceError, ConfigurationError) as error:
        found = {"error": str(error)}
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
