"""Rendered blood smears: reproducible from a seed, with a label on every cell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from darknet.training.readers import read_dataset
from tests.support.smears import NAMES, SCRIPT, render_smear

SEEDS = range(6)


def test_a_seed_gives_the_same_smear_and_another_another() -> None:
    one, two, other = render_smear(1), render_smear(1), render_smear(2)
    for mine, same in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (333, 481)])
def test_boxes_lie_within_the_image(size: tuple[int, int]) -> None:
    for seed in SEEDS:
        image, boxes, class_ids = render_smear(seed, size)
        assert image.shape == (size[1], size[0], 3)
        assert image.dtype == np.uint8
        assert (boxes[:, :2] - boxes[:, 2:] / 2 >= 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] / 2 <= np.array(size)).all()
        assert len(boxes) == len(class_ids)


def test_all_kinds_of_cells_appear() -> None:
    seen = np.concatenate([render_smear(seed)[2] for seed in range(12)])
    counts = np.bincount(seen, minlength=3)
    assert counts.min() >= 3
    assert counts.argmax() == NAMES.index("RBC")


def test_what_is_inside_a_box_is_darker_than_the_empty_slide() -> None:
    for seed in SEEDS:
        image, boxes, _ = render_smear(seed)
        green = image[..., 1].astype(float)  # where both stains absorb
        slide = np.percentile(green, 95)
        for x, y, width, height in boxes:
            rows = slice(int(y - height / 2), int(y + height / 2))
            inside = green[rows, int(x - width / 2) : int(x + width / 2)]
            assert inside.mean() < slide - 5


def test_white_cells_are_large_and_violet_and_platelets_small() -> None:
    found = {name: [] for name in NAMES}  # type: dict[str, list[float]]
    for seed in range(12):
        _, boxes, class_ids = render_smear(seed)
        for box, class_id in zip(boxes, class_ids, strict=True):
            found[NAMES[class_id]].append(float(box[2:].max()))
    median = {name: np.median(sizes) for name, sizes in found.items()}
    assert median["Platelets"] < 60 < median["RBC"] < 130 < median["WBC"]


def test_the_script_writes_data_sets_that_are_read_without_a_problem(tmp_path: Path) -> None:
    counts = ("--count", "3", "--val-count", "2", "--seed", "5")
    command = [sys.executable, str(SCRIPT), *counts, "--output", str(tmp_path / "smears")]
    subprocess.run(command, check=True, capture_output=True)
    train, val = (
        read_dataset(tmp_path / "smears" / f"{name}.json", strict=True) for name in ("train", "val")
    )
    assert train.names == val.names == NAMES
    assert (len(train.images), len(val.images)) == (3, 2)
    assert not {image.path for image in train.images} & {image.path for image in val.images}
    _, boxes, class_ids = render_smear(5)
    np.testing.assert_allclose(train.images[0].boxes, boxes, atol=1e-3)
    np.testing.assert_array_equal(train.images[0].class_ids, class_ids)
