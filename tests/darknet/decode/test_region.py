"""``[region]`` heads, YOLO9000's tree included, are decoded as Darknet's loops decode them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darknet.cfg.layers import Region
from darknet.cfg.tree import Tree
from darknet.decode import Decoder
from darknet.detections import FloatArray
from darknet.errors import UnsupportedError
from darknet.model import Dialect, Model, Resize, Thresholds
from tests.support.heads import (
    DIALECTS,
    Box,
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
)

TREE = "animal -1\nthing -1\ncat 0\ndog 0\nfish 0\nchair 1\ncar 1\npoodle 3\nbeagle 3\n"
CLASS_MAP = "8\n2\n6\n"


@pytest.fixture
def tree_folder(tmp_path: Path) -> Path:
    (tmp_path / "nine.tree").write_text(TREE, encoding="utf-8")
    (tmp_path / "three.map").write_text(CLASS_MAP, encoding="utf-8")
    return tmp_path


def region_with_tree(*options: str) -> str:
    return region("tree=nine.tree", "map=three.map", "softmax=1", *options, classes=9)


def softmax(values: Sequence[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


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
def test_pjreddie_descends_the_tree_while_the_probability_exceeds_the_threshold(
    tree_folder: Path, hier_threshold: float
) -> None:
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
    lib: Any = ctypes.CDLL(library)
    address, integer = ctypes.c_void_p, ctypes.c_int
    lib.read_tree.argtypes, lib.read_tree.restype = (ctypes.c_char_p,), address
    lib.hierarchy_predictions.argtypes = (address, integer, address, integer, integer)
    lib.hierarchy_top_prediction.argtypes = (address, address, ctypes.c_float, integer)
    return lib, lib.read_tree(path.encode())
