"""The arrays, labels, corners and order of detections."""

from __future__ import annotations

import numpy as np
import pytest

from darknet.detections import Detections

NAMES = ("cat", "dog")


def detections() -> Detections:
    return Detections(
        np.array([[50, 40, 20, 10], [10, 10, 4, 4], [5, 5, 2, 2]], np.float32),
        np.array([0.5, 0.9, 0.5], np.float32),
        np.array([1, 0, 0], np.int32),
        NAMES,
    )


def test_labels_are_the_names_of_the_classes() -> None:
    assert detections().labels == ["dog", "cat", "cat"]


def test_corners_are_left_top_right_bottom() -> None:
    assert detections().corners[0].tolist() == [40, 35, 60, 45]
    assert detections().corners.dtype == np.float32


def test_by_score_puts_the_best_first_and_keeps_the_order_of_equals() -> None:
    ranked = detections().by_score()
    assert ranked.scores.tolist() == [np.float32(0.9), 0.5, 0.5]
    assert ranked.labels == ["cat", "dog", "cat"]
    assert ranked.boxes[0].tolist() == [10, 10, 4, 4]


def test_the_length_is_the_number_of_rows() -> None:
    assert len(detections()) == 3


@pytest.mark.parametrize(
    ("boxes", "class_ids"), [((2, 4), (3,)), ((3, 5), (3,)), ((3, 4), (2,)), ((12,), (3,))]
)
def test_arrays_of_different_lengths_are_refused(
    boxes: tuple[int, ...], class_ids: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="for 3 scores, found"):
        Detections(
            np.zeros(boxes, np.float32),
            np.zeros(3, np.float32),
            np.zeros(class_ids, np.int32),
            NAMES,
        )


def test_no_detections_are_empty_arrays() -> None:
    none = Detections(
        np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), NAMES
    )
    assert len(none.by_score()) == 0
    assert none.corners.shape == (0, 4)
    assert none.labels == []
