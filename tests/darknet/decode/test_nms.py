"""Non-maximum suppression removes the same boxes as Darknet's loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from darknet.decode.nms import suppress

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Scene = tuple[FloatArray, FloatArray, IntArray]

A = (50, 50, 40, 40)
NEAR_A = (52, 50, 40, 40)
FAR = (200, 200, 40, 40)


def scene(*rows: tuple[tuple[float, ...], float, int]) -> Scene:
    """Make arrays of (box, score, class) rows."""
    boxes, scores, class_ids = zip(*rows, strict=True)
    return (
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.array(class_ids, np.int32),
    )


def crowd(count: int, classes: int, seed: int = 0) -> Scene:
    """Many overlapping boxes."""
    random = np.random.default_rng(seed)
    centres, sizes = random.uniform(0, 100, (count, 2)), random.uniform(5, 60, (count, 2))
    boxes = np.hstack((centres, sizes)).astype(np.float32)
    scores = random.permutation(count).astype(np.float32) / np.float32(count)
    return boxes, scores, random.integers(0, classes, count, np.int32)


def iou(a: FloatArray, b: FloatArray) -> float:
    left, right = max(a[0] - a[2] / 2, b[0] - b[2] / 2), min(a[0] + a[2] / 2, b[0] + b[2] / 2)
    top, bottom = max(a[1] - a[3] / 2, b[1] - b[3] / 2), min(a[1] + a[3] / 2, b[1] + b[3] / 2)
    if right - left < 0 or bottom - top < 0:
        return 0.0
    shared = (right - left) * (bottom - top)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return float(shared / union) if union else 0.0


def diou(a: FloatArray, b: FloatArray, beta: float) -> float:
    left, right = min(a[0] - a[2] / 2, b[0] - b[2] / 2), max(a[0] + a[2] / 2, b[0] + b[2] / 2)
    top, bottom = min(a[1] - a[3] / 2, b[1] - b[3] / 2), max(a[1] + a[3] / 2, b[1] + b[3] / 2)
    diagonal = (right - left) ** 2 + (bottom - top) ** 2
    if diagonal == 0:
        return iou(a, b)
    distance = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    return iou(a, b) - float((distance / diagonal) ** beta)


def by_loops(crowd: Scene, threshold: float, beta: float | None = None) -> BoolArray:
    """Darknet's loops over classes, ranks and the boxes after them."""
    boxes, scores, class_ids = crowd
    keep = np.ones(len(scores), np.bool_)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        ranked = members[np.argsort(-scores[members], kind="stable")]
        for rank, i in enumerate(ranked):
            for j in ranked[rank + 1 :] if keep[i] else ():
                a, b = boxes[i], boxes[j]
                if (iou(a, b) if beta is None else diou(a, b, beta)) > np.float32(threshold):
                    keep[j] = False
    return keep


def test_of_two_overlapping_boxes_the_more_confident_stays() -> None:
    assert suppress(*scene((A, 0.6, 0), (NEAR_A, 0.9, 0)), 0.45).tolist() == [False, True]


def test_boxes_of_different_classes_both_stay() -> None:
    assert suppress(*scene((A, 0.6, 0), (A, 0.9, 1)), 0.45).all()


def test_boxes_apart_both_stay() -> None:
    assert suppress(*scene((A, 0.6, 0), (FAR, 0.9, 0)), 0.01).all()


def test_a_removed_box_removes_nothing() -> None:
    chain = scene(
        ((50, 50, 40, 40), 0.9, 0), ((65, 50, 40, 40), 0.8, 0), ((80, 50, 40, 40), 0.7, 0)
    )
    assert suppress(*chain, 0.4).tolist() == [True, False, True]


def test_an_overlap_of_exactly_the_threshold_is_allowed() -> None:
    halves = scene(((50, 50, 40, 40), 0.9, 0), ((50, 50, 40, 20), 0.8, 0))
    assert suppress(*halves, 0.5).all()
    assert not suppress(*halves, 0.499).all()


def test_zero_turns_suppression_off() -> None:
    assert suppress(*scene((A, 0.6, 0), (A, 0.9, 0)), 0.0).all()


def test_of_equal_scores_the_first_stays() -> None:
    assert suppress(*scene((A, 0.6, 0), (A, 0.6, 0)), 0.45).tolist() == [True, False]


def test_no_boxes_give_no_boxes() -> None:
    empty = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32)
    keep = suppress(*empty, 0.45)
    assert keep.shape == (0,)
    assert keep.dtype == np.bool_


def test_a_box_with_a_distant_centre_is_kept_by_diou_only() -> None:
    beside = scene(((50, 50, 40, 40), 0.9, 0), ((62, 50, 40, 40), 0.8, 0))
    assert suppress(*beside, 0.45).tolist() == [True, False]
    assert suppress(*beside, 0.45, 0.6).tolist() == [True, True]


@pytest.mark.parametrize("beta", [None, 0.6, 1.0])
@pytest.mark.parametrize("count", [2, 40, 64, 65, 257, 400])
@pytest.mark.parametrize("classes", [1, 5])
def test_many_boxes_are_suppressed_as_by_darknets_loops(
    count: int, classes: int, beta: float | None
) -> None:
    boxes = crowd(count, classes)
    np.testing.assert_array_equal(suppress(*boxes, 0.45, beta), by_loops(boxes, 0.45, beta))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(4))
def test_a_box_that_is_no_box_changes_nothing_for_the_others(bad: float, column: int) -> None:
    boxes, scores, class_ids = crowd(120, 1)
    whole = np.arange(len(boxes)) % 3 > 0
    boxes[~whole, column] = bad
    expected = by_loops((boxes[whole], scores[whole], class_ids[whole]), 0.45)
    np.testing.assert_array_equal(suppress(boxes, scores, class_ids, 0.45)[whole], expected)


SIDES = st.integers(0, 30)
SCENES = st.lists(
    st.tuples(st.tuples(SIDES, SIDES, SIDES, SIDES), st.integers(1, 5), st.integers(0, 2)),
    min_size=1,
    max_size=25,
).map(lambda rows: scene(*[(box, score / 5, class_id) for box, score, class_id in rows]))


@given(boxes=SCENES, threshold=st.sampled_from([0.2, 0.45, 0.9]))
@settings(deadline=None)
def test_any_boxes_are_suppressed_as_by_darknets_loops(boxes: Scene, threshold: float) -> None:
    np.testing.assert_array_equal(suppress(*boxes, threshold), by_loops(boxes, threshold))


@given(boxes=SCENES, threshold=st.floats(0.01, 1), beta=st.sampled_from([None, 0.6]))
def test_suppressing_twice_changes_nothing(
    boxes: Scene, threshold: float, beta: float | None
) -> None:
    keep = suppress(*boxes, threshold, beta)
    survivors = boxes[0][keep], boxes[1][keep], boxes[2][keep]
    assert suppress(*survivors, threshold, beta).all()


@given(boxes=SCENES)
def test_the_best_of_each_class_stays(boxes: Scene) -> None:
    keep = suppress(*boxes, 0.01)
    _, scores, class_ids = boxes
    for class_id in np.unique(class_ids):
        mine = class_ids == class_id
        assert scores[mine & keep].max() == scores[mine].max()


@given(
    boxes=hnp.arrays(np.float32, (6, 4), elements=st.floats(width=32)),
    beta=st.sampled_from([None, 0.6]),
)
@settings(deadline=None)
def test_no_number_in_a_box_makes_it_fail_or_warn(boxes: FloatArray, beta: float | None) -> None:
    scores, class_ids = np.linspace(1, 0.5, 6, dtype=np.float32), np.zeros(6, np.int32)
    keep = suppress(boxes, scores, class_ids, 0.45, beta)
    assert keep[0]
    assert keep[np.isnan(boxes).any(axis=1)].all()
