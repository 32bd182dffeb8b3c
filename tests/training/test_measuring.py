"""Learning rates, anchors and average precision, against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from darknet.cfg import parse_cfg
from darknet.cfg.layers import Shape
from darknet.cfg.net import Net
from darknet.detections import Detections
from darknet.errors import DataError
from darknet.training.anchors import compute_anchors
from darknet.training.dataset import Dataset, LabelledImage
from darknet.training.schedule import learning_rate
from tests.support.networks import TINY

NAMES = ("cat", "dog", "bird")


def net(options: str) -> Net:
    return parse_cfg(TINY.replace("[net]", f"[net]\nlearning_rate=0.1\n{options}")).net


@pytest.mark.parametrize(
    ("options", "batch", "rate"),
    [
        ("policy=constant", 500, 0.1),
        ("policy=steps\nsteps=100,200\nscales=.1,.5", 99, 0.1),
        ("policy=steps\nsteps=100,200\nscales=.1,.5", 100, 0.01),
        ("policy=steps\nsteps=100,200\nscales=.1,.5", 300, 0.005),
        ("policy=exp\ngamma=.9", 2, 0.081),
        ("policy=poly\npower=2\nmax_batches=100", 50, 0.025),
        ("policy=sgdr\nmax_batches=100", 0, 0.1),
        ("policy=sgdr\nmax_batches=100", 50, 0.05),
        ("policy=sgdr\nmax_batches=100", 100, 0.0),
        ("policy=constant\nburn_in=10\npower=2", 4, 0.025),
        ("policy=constant\nburn_in=10\npower=2", 10, 0.1),
    ],
)
def test_the_learning_rate_follows_the_policy(options: str, batch: int, rate: float) -> None:
    assert learning_rate(net(options), batch) == pytest.approx(rate)


def test_a_policy_that_is_not_known_is_refused() -> None:
    with pytest.raises(DataError, match=r"sig.*steps"):
        learning_rate(net("policy=sig"), 0)


def image(boxes: list[list[float]], class_ids: list[int], crowd: bool = False) -> LabelledImage:
    return LabelledImage(
        Path("none.jpg"),
        100,
        100,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(class_ids, np.int32),
        np.full(len(class_ids), crowd),
    )


def found(boxes: list[list[float]], scores: list[float], class_ids: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(class_ids, np.int32),
        NAMES,
    )


CAT, DOG = [20.0, 20, 20, 20], [70.0, 70, 30, 30]
TRUTH = Dataset(NAMES, (image([CAT, DOG], [0, 1]), image([CAT], [0])))


def test_anchors_are_the_middles_of_the_groups_at_the_networks_size() -> None:
    sizes: list[list[float]] = [
        [50, 50, 10, 10],
        [50, 50, 12, 12],
        [50, 50, 60, 30],
        [50, 50, 62, 30],
    ]
    dataset = Dataset(NAMES, (image(sizes, [0, 0, 1, 1]),))
    anchors, fit = compute_anchors(dataset, Shape(3, 200, 300), 2)
    np.testing.assert_allclose(anchors, [[33, 22], [183, 60]])
    assert 0.9 < fit < 1
    with pytest.raises(DataError, match="5 anchors"):
        compute_anchors(dataset, Shape(3, 200, 300), 5)


metrics = pytest.importorskip("darknet.training.metrics")
pytest.importorskip("faster_coco_eval")


def test_perfect_detections_have_an_average_precision_of_one() -> None:
    result = metrics.coco_metrics(
        TRUTH, [found([CAT, DOG], [0.9, 0.8], [0, 1]), found([CAT], [0.7], [0])]
    )
    assert result.map50 == pytest.approx(1)
    assert result.map == pytest.approx(1)
    assert np.isnan(result.ap50[2])
    assert result.precision.shape == (101, 3)


def test_nothing_found_is_zero_and_not_an_error() -> None:
    nothing = found([], [], [])
    result = metrics.coco_metrics(TRUTH, [nothing, nothing])
    assert (result.map50, result.map) == (0, 0)
    assert np.isnan(result.ap50[2])


def test_a_box_that_overlaps_half_counts_at_half_only() -> None:
    wide = [20.0, 20, 32, 20]  # IoU 0.625
    result = metrics.coco_metrics(
        TRUTH, [found([wide, DOG], [0.9, 0.8], [0, 1]), found([wide], [0.7], [0])]
    )
    assert result.ap50[0] == pytest.approx(1)
    assert result.ap[0] == pytest.approx(0.3)  # of 0.50, 0.55 ... 0.95 the first three


def test_crowd_boxes_do_not_change_average_precision() -> None:
    truth = Dataset(NAMES, (*TRUTH.images, image([DOG], [1], crowd=True)))
    hits = [found([CAT, DOG], [0.9, 0.8], [0, 1]), found([CAT], [0.7], [0])]
    for last in (found([], [], []), found([DOG], [0.99], [1])):
        assert metrics.coco_metrics(truth, [*hits, last]).map50 == pytest.approx(1)


def test_the_confusion_matrix_counts_hits_mix_ups_and_misses() -> None:
    first = found([CAT, DOG, [90, 10, 5, 5]], [0.9, 0.8, 0.6], [0, 2, 1])
    weak = found([CAT], [0.2], [0])
    counts = metrics.confusion_matrix(TRUTH, [first, weak])
    wanted = np.zeros((4, 4), int)
    wanted[0, 0] = 1  # a cat was found
    wanted[1, 2] = 1  # the dog was taken for a bird
    wanted[3, 1] = 1  # a dog was seen where nothing is
    wanted[0, 3] = 1  # the weak cat is below the threshold
    np.testing.assert_array_equal(counts, wanted)
