"""``[yolo]`` heads are decoded as Darknet's loops decode them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet.cfg.layers import Yolo
from darknet.decode import MAX_CANDIDATES, Decoder
from darknet.detections import FloatArray, IntArray
from darknet.model import Dialect, Model, NmsKind, Resize, Thresholds
from darknet.resize import placement
from tests.support.heads import (
    DIALECTS,
    NET,
    NO_NMS,
    SIZE,
    YOLO,
    Row,
    assert_same,
    decode,
    every,
    heads_of,
    logistic,
    model_of,
    places,
    region,
    to_pixels,
    yolo,
)


def yolo_rows(model: Model, heads: Sequence[FloatArray], threshold: float) -> Iterator[Row]:
    """get_yolo_detections for all heads."""
    net = model.cfg.net.input
    for layer, raw in zip(model.cfg.heads, heads, strict=True):
        assert isinstance(layer, Yolo)
        activate: Callable[[float], float] = float if layer.new_coords else logistic
        _, grid_height, grid_width = raw.shape
        for row, column, anchor, v in places(layer, raw):
            if activate(v[4]) <= threshold:
                continue
            shift = 0.5 * (layer.scale_x_y - 1)
            x, y = (activate(value) * layer.scale_x_y - shift for value in v[:2])
            w, h = (4 * s * s if layer.new_coords else math.exp(s) for s in v[2:4])
            box = (
                (column + x) / grid_width,
                (row + y) / grid_height,
                w * anchor[0] / net.width,
                h * anchor[1] / net.height,
            )
            scores = [activate(v[4]) * activate(value) for value in v[5:]]
            yield from every(to_pixels(box, model), scores, threshold)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("options", [(), ("scale_x_y=1.2",), ("scale_x_y=2", "new_coords=1")])
def test_yolo_heads_are_decoded_in_darknets_order(options: tuple[str, ...], resize: Resize) -> None:
    model = model_of(yolo(*options), resize=resize)
    heads = heads_of(model)
    expected = list(yolo_rows(model, heads, 0.3))
    assert len(expected) > 20
    assert_same(decode(model, heads), expected)


@given(
    seed=st.integers(0, 100),
    threshold=st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0]),
    resize=st.sampled_from(["stretch", "letterbox"]),
)
@settings(deadline=None, max_examples=40)
def test_any_threshold_lets_through_what_darknets_loops_let_through(
    seed: int, threshold: float, resize: Resize
) -> None:
    model = model_of(yolo(), resize=resize)
    heads = [head * 3 for head in heads_of(model, seed)]
    found = decode(model, heads, Thresholds(threshold, nms=0))
    assert_same(found, list(yolo_rows(model, heads, threshold)))


def one_box(model: Model, objectness: float) -> list[FloatArray]:
    """One box of class 1 in the middle cell of the first head, nothing elsewhere."""
    heads = [np.full(head.input, -50, np.float32) for head in model.cfg.heads]
    heads[0][4, 3, 2], heads[0][:4, 3, 2], heads[0][6, 3, 2] = objectness, 0, 50
    return heads


def test_a_score_of_exactly_the_threshold_is_left_out() -> None:
    model = model_of(yolo())
    heads = one_box(model, 0.0)  # logistic(0) is one half
    assert len(decode(model, heads, Thresholds(0.5))) == 0
    assert decode(model, heads, Thresholds(0.499)).scores.tolist() == [0.5]


def test_a_box_lies_in_the_pixels_of_the_image() -> None:
    model = model_of(yolo())
    found = decode(model, one_box(model, 50.0))
    assert found.labels == ["class 1"]
    assert found.scores.tolist() == [1.0]
    # Cell (2, 3) of 4 x 6 and the anchor 8 x 8 of 64 x 96, in an image of 200 x 120.
    np.testing.assert_allclose(found.boxes, [[125, 70, 25, 10]], rtol=1e-6)


@pytest.mark.parametrize("size", [(120, 200), (200, 120), (7, 9), (3000, 4001), (1, 1)])
def test_a_box_around_the_whole_letterboxed_image_is_the_whole_image(
    size: tuple[int, int],
) -> None:
    model = model_of(yolo("new_coords=1"), resize="letterbox")
    place = placement(size, (96, 64), "letterbox")
    heads = [np.zeros(head.input, np.float32) for head in model.cfg.heads]
    centre = heads[1][:, 1, 0]  # cell (0, 1) of 2 x 3, whose right middle is the input's centre
    centre[:] = [1, 0.5, math.sqrt(place.width / 200), math.sqrt(place.height / 240), 1, 1, 0] * 3
    found = Decoder(model).decode(heads, size, NO_NMS).boxes
    np.testing.assert_allclose(found[0], [size[1] / 2, size[0] / 2, size[1], size[0]], rtol=1e-5)


def test_nothing_found_is_empty_arrays_of_the_right_types() -> None:
    model = model_of(yolo())
    found = decode(model, [np.full(head.input, -9, np.float32) for head in model.cfg.heads])
    assert_same(found, [])
    assert found.names == ("class 0", "class 1")


def test_overlapping_boxes_of_a_class_are_suppressed_and_the_order_stays() -> None:
    model = model_of(yolo())
    heads = heads_of(model)
    every_box, kept = decode(model, heads), decode(model, heads, Thresholds(0.3, nms=0.3))
    assert 0 < len(kept) < len(every_box)
    places = [every_box.boxes.tolist().index(box) for box in kept.boxes.tolist()]
    assert places == sorted(places)


def test_the_last_head_decides_between_plain_and_diou_suppression() -> None:
    heads = heads_of(model_of(yolo()))
    kinds = ("default", "diounms")
    counts = {
        (first, last): len(
            decode(
                model_of(yolo("nms_kind={}", "beta_nms=0.6").format(first, last)),
                heads,
                Thresholds(0.1, nms=0.3),
            )
        )
        for first in kinds
        for last in kinds
    }
    plain, diou = counts["default", "default"], counts["diounms", "diounms"]
    assert plain < diou
    assert counts == {(first, last): diou if last == "diounms" else plain for first, last in counts}


@pytest.mark.parametrize(
    ("dialect", "kind", "beta"),
    [
        ("alexeyab", None, 0.6),
        ("alexeyab", "iou", None),
        ("pjreddie", None, None),
        ("pjreddie", "cfg", 0.6),
    ],
)
def test_greedynms_is_what_the_command_line_computes_or_what_the_wrappers_do(
    dialect: Dialect, kind: NmsKind | None, beta: float | None
) -> None:
    """box_diou of AlexeyAB's fork, of boxes in parts of the image's sides."""
    model = replace(model_of(yolo("nms_kind=greedynms", "beta_nms=3")), nms_kind=kind)
    model = replace(model, dialect=dialect)
    heads = heads_of(model)
    every_row = decode(model, heads)
    sides: FloatArray = np.array((SIZE[1], SIZE[0]) * 2, np.float32)
    parts = np.divide(every_row.boxes, sides, dtype=np.float32)
    kept = greedily(parts, every_row.scores, every_row.class_ids, 0.3, beta)
    assert 0 < len(kept) < len(every_row)
    assert decode(model, heads, Thresholds(0.3, nms=0.3)).scores.tolist() == [
        every_row.scores[row] for row in sorted(kept)
    ]


def greedily(
    boxes: FloatArray, scores: FloatArray, classes: IntArray, limit: float, beta: float | None
) -> list[int]:
    """Keep, by falling score, each box that overlaps no kept one of its class too much."""
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        same = [other for other in kept if classes[other] == classes[row]]
        if all(overlap(boxes[row], boxes[other], beta) <= limit for other in same):
            kept.append(row)
    return kept


def overlap(a: FloatArray, b: FloatArray, beta: float | None) -> float:
    low = [np.minimum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)]
    low.append(np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2))
    high = [np.maximum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)]
    high.append(np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2))
    shared = float(np.prod(np.maximum(high[1] - low[1], 0)))
    iou = shared / (float(np.prod(a[2:]) + np.prod(b[2:])) - shared)
    distance = float(np.sum((a[:2] - b[:2]) ** 2) / np.sum((high[0] - low[0]) ** 2))
    return iou if beta is None else iou - distance**beta


@pytest.mark.parametrize("text", [yolo(), yolo("new_coords=1"), region("softmax=1"), region()])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -1e30])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_diverged_network_neither_fails_nor_warns(
    text: str, value: float, dialect: Dialect
) -> None:
    model = model_of(text, dialect=dialect)
    found = decode(model, [np.full(head.input, value, np.float32) for head in model.cfg.heads])
    assert not np.isnan(found.scores).any()


def test_threads_may_share_a_decoder() -> None:
    model = model_of(yolo())
    decoder = Decoder(model)
    heads = [heads_of(model, seed) for seed in range(40)]
    expected = [decoder.decode(each, SIZE, NO_NMS).scores.tolist() for each in heads]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: decoder.decode(each, SIZE, NO_NMS), heads))
    assert [each.scores.tolist() for each in found] == expected


def test_a_threshold_of_zero_keeps_the_best_candidates_and_ends_soon() -> None:
    model = model_of(NET + YOLO.format(stride=1, mask="0,1,2", options=""))
    heads = heads_of(model)
    found = Decoder(model).decode(heads, SIZE, Thresholds(threshold=0.0, nms=0.0))
    best = Decoder(model).decode(heads, SIZE, Thresholds(threshold=0.6, nms=0.0))
    assert len(found) == MAX_CANDIDATES
    assert 0 < len(best) < MAX_CANDIDATES
    assert set(best.scores.tolist()) <= set(found.scores.tolist())
