"""What loading and unloading leaves behind: ten models, one after the other, and all again.

Usage: python -m benchmarks.memory [MODEL_FOLDER]

The first model warms up libraries and caches. Resident memory of this process in MB.
"""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from darknet.model import Thresholds
from yolo_service import process
from yolo_service.models.opening import load_files
from yolo_service.models.repository import ModelRepository
from yolo_service.settings import load_settings

MODELS = 10


def resident() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main(folder: Path) -> None:
    """Print a line for each round."""
    process.tune()
    settings = load_settings()
    image = np.random.default_rng(0).integers(0, 256, (576, 768, 3), np.uint8)
    with tempfile.TemporaryDirectory() as models:
        for number in range(MODELS):
            shutil.copytree(folder, Path(models) / f"model-{number}")
        repository = ModelRepository([Path(models)], lambda files: load_files(files, settings, 2))

        def use(name: str) -> None:
            repository.get(name).detect([image], Thresholds())

        use("model-0")
        repository.unload("model-0")
        for number in range(1, 4):
            before = _settled()
            for name in (f"model-{i}" for i in range(MODELS)):
                use(name)
            full = _settled()
            for name in (f"model-{i}" for i in range(MODELS)):
                repository.unload(name)
            after = _settled()
            print(
                f"round {number}: {before:.0f} MB before, {full:.0f} with {MODELS} models, "
                f"{after:.0f} after: {100 * (after / before - 1):+.1f} %"
            )


def _settled() -> float:
    gc.collect()
    process.return_freed_memory()
    return resident()


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "models/blood-cells"))
