"""The model that comes with the package: size, detections and average precision by engine."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from darknet import Detections, load_network
from darknet.cfg import read_cfg
from darknet.model import EngineName, RgbImage
from darknet.training.readers import read_dataset
from tests.support.smears import NAMES, render_smear

FOLDER = Path(__file__).resolve().parents[2] / "models" / "blood-cells"
FILES = tuple(FOLDER / f"blood-cells.{kind}" for kind in ("cfg", "weights", "names"))
SAMPLE_SEED = 463
"""What sample.jpg was rendered from."""


@pytest.fixture(scope="module")
def sample() -> RgbImage:
    image = cv2.imread(str(FOLDER / "sample.jpg"), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return np.asarray(image, np.uint8)


def detect(image: RgbImage, engine: EngineName) -> Detections:
    with load_network(*FILES, engine=engine) as network:
        (found,) = network.detect([image])
    return found.by_score()


def test_the_model_is_small() -> None:
    assert FILES[1].stat().st_size <= 2_000_000
    assert sum(layer.flops for layer in read_cfg(FILES[0]).layers) <= 1.5e9


def test_the_sample_is_what_the_renderer_draws(sample: RgbImage) -> None:
    image, _, _ = render_smear(SAMPLE_SEED)
    difference = np.abs(image.astype(int) - sample)
    assert difference.mean() < 3  # what JPEG and the noise in it come to


def test_the_model_counts_the_cells_of_the_sample(sample: RgbImage) -> None:
    _, _, class_ids = render_smear(SAMPLE_SEED)
    wanted = np.bincount(class_ids, minlength=3)
    counts = np.bincount(detect(sample, "openvino").class_ids, minlength=3)
    assert counts[NAMES.index("WBC")] == wanted[NAMES.index("WBC")]
    assert counts[NAMES.index("Platelets")] == wanted[NAMES.index("Platelets")]
    # Cells that the image's edge cuts have no label in most photographs; some are left out.
    assert abs(counts[NAMES.index("RBC")] - wanted[NAMES.index("RBC")]) <= 3


@pytest.mark.parametrize("engine", ["libdarknet", "onnxruntime"])
def test_every_engine_gives_the_same_answer(
    sample: RgbImage, engine: EngineName, request: pytest.FixtureRequest
) -> None:
    if engine == "libdarknet":
        request.getfixturevalue("libdarknet")
    wanted, found = detect(sample, "openvino"), detect(sample, engine)
    np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.5)


def test_the_average_precision_on_photographs_is_as_stated(shared: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    pytest.importorskip("matplotlib")
    from darknet.training.evaluate import evaluate

    dataset = read_dataset(shared / "datasets" / "bccd" / "val.json", NAMES)
    with load_network(*FILES, engine="openvino") as network:
        metrics = evaluate(network, dataset).metrics
    assert metrics.map50 >= 0.88
    assert metrics.ap50.min() >= 0.75
