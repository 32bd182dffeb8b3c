"""``yolo-service detect`` on a folder of copies of a photo, in turns with the in-process ceiling.

Usage: python -m benchmarks.folder MODELS_DIR IMAGE [IMAGES] [ROUNDS]

``images/s`` counts from the first line of output to the last, ``with start`` from the start of the
process: imports and loading the model are a constant of a second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.ceiling import ceiling, decode_and_detect
from yolo_service import process
from yolo_service.models.opening import default_files, load_files
from yolo_service.settings import load_settings


def main(models: str, image: str, images: int = 500, rounds: int = 3) -> None:
    """Print the median of each figure."""
    process.tune()
    settings = load_settings(models_dir=Path(models))
    data = Path(image).read_bytes()
    ceilings, rates, totals = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        load_files(default_files(settings), settings, settings.workers) as network,
    ):
        for number in range(images):
            (Path(folder) / f"{number:06}{Path(image).suffix}").write_bytes(data)
        call = decode_and_detect(network, settings, data)
        for _ in range(rounds):
            ceilings.append(ceiling(call, 2.0))
            rate, total = _detect(models, folder, images)
            rates.append(rate)
            totals.append(total)
    share = median(rate / most for rate, most in zip(rates, ceilings, strict=True))
    print(f"{images} images of {len(data)} bytes, medians of {rounds} rounds in turns")
    print(f"ceiling {median(ceilings):8.1f} images/s")
    print(f"detect  {median(rates):8.1f} images/s, {share:.0%} of the ceiling")
    print(f"        {median(totals):8.1f} images/s with start")


def _detect(models: str, folder: str, images: int) -> tuple[float, float]:
    """Return images per second between the first and the last line, and of the whole command."""
    command = [sys.executable, "-m", "yolo_service.cli.main", "detect", folder]
    began = time.monotonic()
    with subprocess.Popen(
        [*command, "--models-dir", models], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        assert running.stdout
        times = [time.monotonic() for _ in running.stdout]
    assert running.returncode == 0
    assert len(times) == images
    return (images - 1) / (times[-1] - times[0]), images / (time.monotonic() - began)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))
