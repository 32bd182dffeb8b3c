"""Heads are decoded as Darknet's loops decode them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet.cfg import parse_cfg
from darknet.decode import Decoder
from darknet.detections import Detections
from darknet.engines.base import Dialect, Model, Resize, Thresholds
from darknet.errors import UnsupportedError
from darknet.image import placement
from darknet.layers import Region, Yolo
from darknet.tree import Tree
from tests.networks import random_weights

FloatArray = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

NET = """
[net]
width=64
height=96
channels=3
"""
YOLO = """
[convolutional]
filters=21
size=1
stride={stride}
activation=linear

[yolo]
mask={mask}
anchors=8,8, 16,24, 30,12, 50,60
classes=2
num=4
{options}
"""
REGION = """
[convolutional]
filters={filters}
size=1
stride=16
activation=linear

[region]
anchors=1.5,2, 3,1
classes={classes}
num=2
{options}
"""
TREE = "animal -1\nthing -1\ncat 0\ndog 0\nfish 0\nchair 1\ncar 1\npoodle 3\nbeagle 3\n"
CLASS_MAP = "8\n2\n6\n"
SIZE = (120, 200)
NO_NMS = Thresholds(threshold=0.3, nms=0.0)
DIALECTS: tuple[Dialect, ...] = ("alexeyab", "pjreddie")


class Row(NamedTuple):
    box: Box
    score: float
    class_id: int


def yolo(*options: str) -> str:
    """Heads on grids of 4 x 6 and 2 x 3 cells, the masks in no order."""
    heads = zip((16, 2), ("0,1,2", "3,1,0"), strict=True)
    lines = "\n".join(options)
    return NET + "".join(YOLO.format(stride=s, mask=m, options=lines) for s, m in heads)


def region(*options: str, classes: int = 3) -> str:
    """One head on a grid of 4 x 6 cells."""
    lines = "\n".join(options)
    return NET + REGION.format(filters=2 * (classes + 5), classes=classes, options=lines)


@pytest.fixture
def tree_folder(tmp_path: Path) -> Path:
    (tmp_path / "nine.tree").write_text(TREE, encoding="utf-8")
    (tmp_path / "three.map").write_text(CLASS_MAP, encoding="utf-8")
    return tmp_path


def region_with_tree(*options: str) -> str:
    return region("tree=nine.tree", "map=three.map", "softmax=1", *options, classes=9)


def model_of(
    text: str,
    *,
    dialect: Dialect = "alexeyab",
    resize: Resize = "stretch",
    use_map: bool = False,
    folder: Path | None = None,
) -> Model:
    cfg = parse_cfg(text, folder=folder)
    names = tuple(f"class {i}" for i in range(3 if use_map else cfg.classes))
    return Model(cfg, random_weights(cfg), names, dialect, resize, use_map)


def heads_of(model: Model, seed: int = 0) -> list[FloatArray]:
    random = np.random.default_rng(seed)
    return [random.normal(0, 1.5, head.input).astype(np.float32) for head in model.cfg.heads]


def decode(
    model: Model, heads: Sequence[FloatArray], thresholds: Thresholds = NO_NMS
) -> Detections:
    return Decoder(model).decode(heads, SIZE, thresholds)


def assert_same(found: Detections, expected: Sequence[Row]) -> None:
    assert found.class_ids.tolist() == [row.class_id for row in expected]
    np.testing.assert_allclose(found.scores, [row.score for row in expected], rtol=0, atol=1e-6)
    boxes = np.array([row.box for row in expected]).reshape(-1, 4)
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-5, atol=1e-3)
    dtypes = [array.dtype.name for array in (found.boxes, found.scores, found.class_ids)]
    assert dtypes == ["float32", "float32", "int32"]


# Darknet's loops


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: Sequence[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def places(
    layer: Yolo | Region, raw: FloatArray
) -> Iterator[tuple[int, int, tuple[float, float], list[float]]]:
    """Row, column, anchor and channels of every box, by cell, then anchor."""
    values = raw.reshape(len(layer.anchors), -1, *raw.shape[1:])
    for row in range(raw.shape[1]):
        for column in range(raw.shape[2]):
            for number, anchor in enumerate(layer.anchors):
                yield row, column, anchor, values[number, :, row, column].tolist()


def to_pixels(box: Box, model: Model) -> Box:
    """correct_yolo_boxes."""
    x, y, w, h = box
    (height, width), net = SIZE, model.cfg.net.input
    place = placement(SIZE, (net.height, net.width), model.resize)
    x = (x - (net.width - place.width) / 2 / net.width) / (place.width / net.width)
    y = (y - (net.height - place.height) / 2 / net.height) / (place.height / net.height)
    w *= net.width / place.width
    h *= net.height / place.height
    return (x * width, y * height, w * width, h * height)


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


def every(box: Box, scores: Sequence[float], threshold: float) -> Iterator[Row]:
    for class_id, score in enumerate(scores):
        if score > threshold:
            yield Row(box, score, class_id)


Classify = Callable[[Box, list[float]], Iterator[Row]]


def region_rows(model: Model, raw: FloatArray, classify: Classify) -> Iterator[Row]:
    """get_region_detections; ``classify`` makes rows of a box and its channels."""
    layer = model.cfg.heads[0]
    _, grid_height, grid_width = raw.shape
    for row, column, anchor, v in places(layer, raw):
        box = (
            (column + logistic(v[0])) / grid_width,
            (row + logistic(v[1])) / grid_height,
            math.exp(v[2]) * anchor[0] / grid_width,
            math.exp(v[3]) * anchor[1] / grid_height,
        )
        yield from classify(to_pixels(box, model), v)


def tree_of(model: Model) -> Tree:
    layer = model.cfg.heads[0]
    assert isinstance(layer, Region)
    assert layer.tree is not None
    return layer.tree


def probabilities(tree: Tree, values: list[float]) -> list[float]:
    """Softmax of siblings, then every node times its parent."""
    nodes: list[float] = []
    for offset, size in zip(tree.group_offset, tree.group_size, strict=True):
        nodes += softmax(values[offset : offset + size])
    for node, parent in enumerate(tree.parent):
        nodes[node] *= nodes[parent] if parent >= 0 else 1
    return nodes


def top_prediction(tree: Tree, nodes: list[float], threshold: float) -> int:
    """hierarchy_top_prediction."""
    sure, group = 1.0, 0
    while True:
        offset, size = int(tree.group_offset[group]), int(tree.group_size[group])
        best = max(range(offset, offset + size), key=lambda node: (nodes[node], -node))
        if sure * nodes[best] <= threshold:
            return best if group == 0 else int(tree.parent[offset])
        sure, group = sure * nodes[best], int(tree.child[best])
        if group < 0:
            return best


# [yolo]


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


def test_a_box_lies_in_the_pixels_of_the_picture() -> None:
    model = model_of(yolo())
    found = decode(model, one_box(model, 50.0))
    assert found.labels == ["class 1"]
    assert found.scores.tolist() == [1.0]
    # Cell (2, 3) of 4 x 6 and the anchor 8 x 8 of 64 x 96, in a picture of 200 x 120.
    np.testing.assert_allclose(found.boxes, [[125, 70, 25, 10]], rtol=1e-6)


@pytest.mark.parametrize("size", [(120, 200), (200, 120), (7, 9), (3000, 4001), (1, 1)])
def test_a_box_around_the_whole_letterboxed_picture_is_the_whole_picture(
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
    kinds = ("default", "greedynms", "diounms")
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


# [region]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_region_heads_are_decoded_with_a_softmax(dialect: Dialect, resize: Resize) -> None:
    model = model_of(region("softmax=1"), dialect=dialect, resize=resize)
    heads = heads_of(model)
    expected = region_rows(
        model,
        heads[0],
        lambda box, v: every(box, [logistic(v[4]) * p for p in softmax(v[5:])], 0.3),
    )
    assert_same(decode(model, heads), list(expected))


@pytest.mark.parametrize(("dialect", "activate"), [("pjreddie", logistic), ("alexeyab", float)])
def test_without_softmax_the_classes_are_logistic_or_as_they_are(
    dialect: Dialect, activate: Callable[[float], float]
) -> None:
    model = model_of(region(), dialect=dialect)
    heads = heads_of(model)
    expected = region_rows(
        model,
        heads[0],
        lambda box, v: every(box, [logistic(v[4]) * activate(c) for c in v[5:]], 0.3),
    )
    assert_same(decode(model, heads), list(expected))


def test_with_a_background_pjreddie_has_no_objectness() -> None:
    model = model_of(region("softmax=1", "background=1"), dialect="pjreddie")
    heads = heads_of(model)
    expected = region_rows(model, heads[0], lambda box, v: every(box, softmax(v[4:])[1:], 0.3))
    assert_same(decode(model, heads), list(expected))


def test_alexeyab_takes_no_notice_of_a_background() -> None:
    heads = heads_of(model_of(region("softmax=1")))
    plain, other = (
        decode(model_of(region("softmax=1", option)), heads)
        for option in ("background=0", "background=1")
    )
    np.testing.assert_array_equal(plain.scores, other.scores)


# YOLO9000's tree


@pytest.mark.parametrize("hier_threshold", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_pjreddie_goes_down_the_tree_while_sure(tree_folder: Path, hier_threshold: float) -> None:
    model = model_of(region_with_tree(), dialect="pjreddie", folder=tree_folder)
    heads, tree = heads_of(model), tree_of(model)

    def classify(box: Box, v: list[float]) -> Iterator[Row]:
        if logistic(v[4]) > 0.3:
            node = top_prediction(tree, probabilities(tree, v[5:]), hier_threshold)
            yield Row(box, logistic(v[4]), node)

    found = decode(model, heads, Thresholds(0.3, 0, hier_threshold))
    expected = list(region_rows(model, heads[0], classify))
    assert len(expected) > 20
    assert_same(found, expected)


def test_alexeyab_takes_the_last_node_above_one_half(tree_folder: Path) -> None:
    model = model_of(region_with_tree(), dialect="alexeyab", folder=tree_folder)
    heads, tree = heads_of(model), tree_of(model)

    def classify(box: Box, v: list[float]) -> Iterator[Row]:
        nodes = probabilities(tree, v[5:])
        above = [node for node, probability in enumerate(nodes) if probability > 0.5]
        if above and logistic(v[4]) > 0.3:
            yield Row(box, nodes[above[-1]], above[-1])

    expected = list(region_rows(model, heads[0], classify))
    assert len(expected) > 10
    assert_same(decode(model, heads, Thresholds(0.3, 0, 0.9)), expected)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_with_the_map_the_classes_of_the_maps_list_are_answered(
    tree_folder: Path, dialect: Dialect
) -> None:
    model = model_of(region_with_tree(), dialect=dialect, use_map=True, folder=tree_folder)
    heads, tree = heads_of(model), tree_of(model)

    def classify(box: Box, v: list[float]) -> Iterator[Row]:
        nodes = probabilities(tree, v[5:])
        return every(box, [logistic(v[4]) * nodes[node] for node in (8, 2, 6)], 0.1)

    expected = list(region_rows(model, heads[0], classify))
    assert {row.class_id for row in expected} == {0, 1, 2}
    assert_same(decode(model, heads, Thresholds(0.1, 0)), expected)


def test_a_tree_with_a_background_is_refused(tree_folder: Path) -> None:
    model = model_of(region_with_tree("background=1"), dialect="pjreddie", folder=tree_folder)
    with pytest.raises(UnsupportedError, match=r"layer 1 \[region\] .*background and a tree"):
        Decoder(model)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_diverged_tree_answers_classes_that_exist(
    tree_folder: Path, value: float, dialect: Dialect
) -> None:
    model = model_of(region_with_tree(), dialect=dialect, folder=tree_folder)
    raw = np.full(model.cfg.heads[0].input, value, np.float32)
    raw[4], raw[18] = 3, 3  # the objectness of both anchors
    found = decode(model, [raw])
    assert ((found.class_ids >= 0) & (found.class_ids < 9)).all()


def test_yolo9000s_own_tree_is_walked_as_the_c_library_walks_it(
    libdarknet: Path, darknet_data: Path
) -> None:
    path = darknet_data / "data" / "9k.tree"
    text = region(f"tree={path}", "softmax=1", classes=9418)
    model = model_of(text, dialect="pjreddie")
    heads = [head * 3 for head in heads_of(model)]
    found = decode(model, heads)
    assert len(found) > 20
    values = heads[0].reshape(2, 9423, -1).transpose(2, 0, 1).reshape(-1, 9423)
    values = values[values[:, 4] > -math.log(1 / 0.3 - 1)]
    expected = [walked_by_darknet(libdarknet, path, tree_of(model), row[5:]) for row in values]
    assert found.class_ids.tolist() == expected
    assert len(set(expected)) > 5


def walked_by_darknet(library: Path, path: Path, tree: Tree, values: FloatArray) -> int:
    """hierarchy_predictions and hierarchy_top_prediction of one box; the softmax is ours."""
    nodes = np.empty(len(tree), np.float32)
    for offset, size in zip(tree.group_offset, tree.group_size, strict=True):
        nodes[offset : offset + size] = softmax(values[offset : offset + size].tolist())
    lib, c_tree = read_c_tree(str(library), str(path))
    lib.hierarchy_predictions(nodes.ctypes.data, len(tree), c_tree, 0, 1)
    return int(lib.hierarchy_top_prediction(nodes.ctypes.data, c_tree, 0.5, 1))


@lru_cache
def read_c_tree(library: str, path: str) -> tuple[Any, int]:
    with ThreadPoolExecutor(1) as thread:  # loading it changes how its thread treats tiny numbers
        lib: Any = thread.submit(ctypes.CDLL, library).result()
    address, integer = ctypes.c_void_p, ctypes.c_int
    lib.read_tree.argtypes, lib.read_tree.restype = (ctypes.c_char_p,), address
    lib.hierarchy_predictions.argtypes = (address, integer, address, integer, integer)
    lib.hierarchy_top_prediction.argtypes = (address, address, ctypes.c_float, integer)
    return lib, lib.read_tree(path.encode())
