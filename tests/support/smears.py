"""The rendered blood smears of ``models/blood-cells/render_smears.py`` as test data."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "models" / "blood-cells" / "render_smears.py"
sys.path.append(str(SCRIPT.parent))  # the script is in no package

from render_smears import NAMES, render_smear, write_dataset  # noqa: E402

__all__ = ["NAMES", "SCRIPT", "render_smear", "write_smears"]


def write_smears(labels: Path, count: int, seed: int = 0) -> Path:
    """Write a COCO JSON with ``count`` labelled smears and return its path."""
    write_dataset(labels, range(seed, seed + count))
    return labels
