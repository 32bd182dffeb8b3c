"""The measured models, with random weights: these take as long to compute as trained ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.gpu.networks import yolov3_cfg, yolov4_cfg
from benchmarks.serving import ROOT
from darknet.cfg import Cfg, parse_cfg
from darknet.model import Model
from darknet.weights import write_weights
from tests.support.networks import random_weights
from yolo_service.models.folder import ModelFiles, ModelOptions

XL = "yolo-fastest-xl"
_OBJECTNESS = -12.0
"""So low that random weights find nothing: boxes are not what is measured here."""


class ModelMissingError(Exception):
    """A model's .cfg is not on this machine; the message says how to get it."""


def _xl_cfg() -> str:
    shared = Path(os.environ.get("YOLO_TEST_SHARED", ROOT.parent / "shared"))
    folders = (ROOT / "models" / "yolo_fastest_xl_coco", shared / "models" / "yolo-fastest-1.1-xl")
    for path in (folder / "yolo-fastest-1.1-xl.cfg" for folder in folders):
        if path.exists():
            return path.read_text("utf-8")
    raise ModelMissingError(
        f"{XL}: yolo-fastest-1.1-xl.cfg is missing; "
        "run: yolo-service models pull yolo_fastest_xl_coco"
    )


_TEXTS: dict[str, Callable[[], str]] = {XL: _xl_cfg, "yolov3": yolov3_cfg, "yolov4": yolov4_cfg}
NAMES = tuple(_TEXTS)


class BenchModel:
    """A network to measure.

    Args:
        name: in the tables.
        text: of the .cfg.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name, self._text = name, text
        self.cfg: Cfg = parse_cfg(text)

    def load(self) -> Model:
        """Return it with random weights, which are the same every time."""
        weights = random_weights(self.cfg, objectness=_OBJECTNESS)
        names = tuple(f"class {number}" for number in range(self.cfg.classes))
        return Model(self.cfg, weights, names, "alexeyab", "stretch")

    def write(self, models: Path) -> ModelFiles:
        """Write it as a folder of a models folder."""
        folder = models / self.name
        folder.mkdir(parents=True)
        cfg, weights, names = (folder / f"model.{kind}" for kind in ("cfg", "weights", "names"))
        cfg.write_text(self._text, "utf-8")
        model = self.load()
        write_weights(weights, self.cfg, model.weights)
        names.write_text("\n".join(model.names) + "\n", "utf-8")
        return ModelFiles(self.name, cfg, weights, names, ModelOptions())


def find_models(names: Sequence[str], cfgs: Sequence[Path]) -> Iterator[BenchModel]:
    """Yield models by name, then those of .cfg files.

    Raises:
        ModelMissingError: see there.
    """
    for name in names:
        yield BenchModel(name, _TEXTS[name]())
    for path in cfgs:
        yield BenchModel(path.stem, path.read_text("utf-8"))
