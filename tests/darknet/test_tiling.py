from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from darknet import load_network
from darknet.decode import MAX_CANDIDATES
from darknet.detections import Detections, FloatArray, IntArray
from darknet.errors import ImageError
from darknet.model import RgbImage
from darknet.network import Network
from darknet.tiling import Area, Tiling, merge
from tests.support.paths import ROOT
from tests.support.smears import NAMES, render_smear

NETWORK = (100, 100)
WHOLE, LEFT, RIGHT = Area(0, 0, 180, 100), Area(0, 0, 100, 100), Area(80, 0, 180, 100)
BLOOD_CELLS = ROOT / "models" / "blood-cells"


def found(*rows: tuple[float, ...]) -> Detections:
    """Make detections of rows (left, top, right, bottom, score, class)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    low, high = table[:, :2], table[:, 2:4]
    boxes = np.concatenate(((low + high) / 2, high - low), axis=1)
    return Detections(boxes, table[:, 4], table[:, 5].astype(np.int32), ("cat", "dog"))


def merged(whole: Detections, left: Detections, right: Detections) -> list[list[float]]:
    """Merge detections in an image and its two tiles to rows of corners and score."""
    every = merge([WHOLE, LEFT, RIGHT], [whole, left, right], 0.45)
    rows = np.concatenate((every.corners, every.scores[:, None]), axis=1)
    return [[round(float(value), 3) for value in row] for row in rows]


# How an image is cut


@pytest.mark.parametrize(
    ("text", "tiling"),
    [
        ("auto", Tiling(0, 0)),
        ("2x3", Tiling(2, 3, 0.2)),
        ("1x1:0", Tiling(1, 1, 0)),
        ("auto:0.5", Tiling(0, 0, 0.5)),
    ],
)
def test_tilings_are_read_from_texts(text: str, tiling: Tiling) -> None:
    assert Tiling.parse(text) == tiling


@pytest.mark.parametrize(
    "text", ["", "2", "2x", "0x2", "20x20", "2x2:0.6", "2x2:1", "Auto", "2x2 "]
)
def test_other_texts_are_an_error(text: str) -> None:
    with pytest.raises(ImageError, match=r"expected .*found"):
        Tiling.parse(text)


@pytest.mark.parametrize("overlap", [0, 0.2, 0.5])
@pytest.mark.parametrize("size", [(1920, 1080), (101, 7), (3, 2), (1, 1)])
def test_tiles_cover_every_pixel_overlap_and_stay_inside(
    size: tuple[int, int], overlap: float
) -> None:
    whole, *tiles = Tiling(4, 3, overlap).areas(size, NETWORK)
    assert whole == (0, 0, *size)
    assert len(tiles) == 12
    seen = np.zeros(size[::-1], int)
    for tile in tiles:
        assert 0 <= tile.left < tile.right <= size[0]
        assert 0 <= tile.top < tile.bottom <= size[1]
        seen[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert seen.min() >= 1
    if size[0] > 100 and overlap:
        shared = tiles[0].right - tiles[1].left
        assert shared / (tiles[0].right - tiles[0].left) == pytest.approx(overlap, abs=0.05)


def test_auto_makes_tiles_of_twice_the_networks_input_at_most() -> None:
    areas = Tiling.parse("auto").areas((1000, 300), NETWORK)
    assert len(areas) == 1 + 6 * 2
    assert all(area.right - area.left <= 201 for area in areas[1:])
    assert Tiling.parse("auto").areas((200, 150), NETWORK) == (Area(0, 0, 200, 150),)


def test_auto_makes_larger_tiles_of_an_image_that_would_get_too_many() -> None:
    for most in (1, 2, 7, 40):
        tiles = Tiling.parse("auto").areas((20_000, 10_000), NETWORK, most)[1:]
        assert len(tiles) <= most


def test_one_tile_is_the_whole_image() -> None:
    assert Tiling.parse("1x1").areas((50, 40), NETWORK) == (Area(0, 0, 50, 40),)


# How detections are put together


def test_an_object_that_both_tiles_see_whole_is_found_once() -> None:
    rows = merged(found(), found((82, 10, 96, 30, 0.6, 0)), found((3, 11, 16, 30, 0.8, 0)))
    assert rows == [[83, 11, 96, 30, 0.8]]


def test_an_object_that_is_cut_for_one_tile_is_as_the_other_sees_it() -> None:
    rows = merged(found(), found((85, 10, 100, 30, 0.9, 0)), found((5, 10, 30, 30, 0.7, 0)))
    assert rows == [[85, 10, 110, 30, 0.7]]


def test_an_object_that_is_cut_for_both_tiles_is_joined() -> None:
    rows = merged(found(), found((60, 10, 100, 30, 0.9, 0)), found((0, 10, 50, 30, 0.7, 0)))
    assert rows == [[60, 10, 130, 30, 0.7]]


def test_an_object_over_both_tiles_is_as_the_whole_image_has_it() -> None:
    whole = found((20, 5, 160, 95, 0.5, 0))
    left, right = found((20, 5, 100, 95, 0.9, 0)), found((0, 5, 80, 95, 0.9, 0))
    assert merged(whole, left, right) == [[20, 5, 160, 95, 0.5]]


def test_a_part_without_a_counterpart_is_dropped() -> None:
    assert merged(found(), found((60, 10, 100, 30, 0.9, 0)), found()) == []


def test_neighbours_classes_and_the_edges_of_the_image_are_no_doubles() -> None:
    rows = merged(
        found((40, 10, 60, 30, 0.9, 0)),
        found((0, 0, 20, 20, 0.8, 0), (40, 10, 60, 30, 0.7, 1), (84, 50, 98, 60, 0.6, 0)),
        found((4, 62, 18, 72, 0.5, 0), (80, 80, 100, 100, 0.4, 0)),
    )
    assert [row[4] for row in rows] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


def test_two_that_only_meet_at_the_edge_of_what_both_see_are_two() -> None:
    rows = merged(found(), found((60, 10, 82, 30, 0.9, 0)), found((0, 12, 3, 30, 0.8, 0)))
    assert rows[0] == [60, 10, 82, 30, 0.9]


def test_parts_of_three_tiles_are_joined() -> None:
    areas = [Area(0, 0, 260, 100), LEFT, RIGHT, Area(160, 0, 260, 100)]
    parts = [
        found(),
        found((50, 10, 100, 30, 0.9, 0)),
        found((0, 10, 100, 30, 0.5, 0)),
        found((0, 10, 40, 30, 0.8, 0)),
    ]
    every = merge(areas, parts, 0.45)
    np.testing.assert_allclose(every.corners, [[50, 10, 200, 30]])
    np.testing.assert_allclose(every.scores, [0.5])


def test_without_suppression_every_box_stays() -> None:
    left, right = found((60, 10, 100, 30, 0.9, 0)), found((0, 10, 50, 30, 0.7, 0))
    assert len(merge([WHOLE, LEFT, RIGHT], [found(), left, right], 0)) == 2


def test_nothing_found_is_nothing() -> None:
    assert merged(found(), found(), found()) == []


def test_the_time_of_merging_is_bounded() -> None:
    random = np.random.default_rng(0)
    areas = Tiling.parse("5x5").areas((4000, 3000), (320, 320))

    def many(area: Area) -> Detections:
        n = 1000
        centres = random.uniform(0, 1, (n, 2)) * (area.right - area.left, area.bottom - area.top)
        boxes = np.concatenate((centres, random.uniform(5, 60, (n, 2))), 1).astype(np.float32)
        scores = random.uniform(0, 1, n).astype(np.float32)
        return Detections(boxes, scores, np.zeros(n, np.int32), ("cell",))

    every = [many(area) for area in areas]
    began = time.process_time()
    assert 1000 < len(merge(areas, every, 0.45)) <= MAX_CANDIDATES
    assert time.process_time() - began < 10


# What a real network finds


@pytest.fixture(scope="module")
def blood_cells() -> Iterator[Network]:
    files = [BLOOD_CELLS / f"blood-cells.{kind}" for kind in ("cfg", "weights", "names")]
    with load_network(*files, engine="openvino") as network:
        yield network


def detect_in_tiles(network: Network, image: RgbImage, text: str) -> Detections:
    size = (image.shape[1], image.shape[0])
    areas = Tiling.parse(text).areas(size, network.input_size)
    return merge(areas, network.detect([area.view(image) for area in areas], 0.5), 0.45)


def hits(detections: Detections, truth: FloatArray, class_ids: IntArray) -> list[int]:
    """Return how often each true box was found with its class, at an IoU of 0.5."""
    low = np.maximum(truth[:, None, :2], detections.corners[None, :, :2])
    high = np.minimum(truth[:, None, 2:], detections.corners[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    sides = truth[:, 2:] - truth[:, :2]
    union = sides.prod(axis=1)[:, None] + detections.boxes[:, 2:].prod(axis=1) - shared
    found_ones = (shared > 0.5 * union) & (class_ids[:, None] == detections.class_ids)
    return [int(count) for count in found_ones.sum(axis=1)]


def corners(boxes: FloatArray) -> FloatArray:
    return np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1)


def test_a_cell_on_a_seam_is_found_once(blood_cells: Network) -> None:
    """A red cell is moved across both seams of 2 x 2 tiles."""
    red = np.array([NAMES.index("RBC")], np.int32)
    cell, background = cut_out_a_red_cell()
    height, width = cell.shape[:2]
    for shift in range(-96, 97, 8):
        image = np.full((960, 1280, 3), background, np.uint8)
        top, left = (960 - height + shift) // 2, (1280 - width) // 2 + shift
        image[top : top + height, left : left + width] = cell
        detections = detect_in_tiles(blood_cells, image, "2x2")
        assert detections.labels == ["RBC"], shift
        true = np.array([[left, top, left + width, top + height]], np.float32)
        assert hits(detections, true, red) == [1], shift


def cut_out_a_red_cell() -> tuple[RgbImage, RgbImage]:
    """Return a red cell that is inside of a smear, and the colour of the background."""
    smear, boxes, class_ids = render_smear(3)
    inside = (corners(boxes) > 0).all(1) & (corners(boxes)[:, 2:] < (640, 480)).all(1)
    reds = boxes[inside & (class_ids == NAMES.index("RBC"))]
    left, top, right, bottom = corners(reds)[np.argsort(reds[:, 2])[len(reds) // 2]].astype(int)
    background = np.percentile(smear.reshape(-1, 3), 90, axis=0).astype(np.uint8)
    return smear[top:bottom, left:right], background


def test_cells_are_found_once_wherever_the_seams_are(blood_cells: Network) -> None:
    image, boxes, class_ids = render_smear(5, (1536, 1152))
    truth = corners(boxes)
    whole = hits(blood_cells.detect([image], 0.5)[0], truth, class_ids)
    tiled = hits(detect_in_tiles(blood_cells, image, "3x3:0.3"), truth, class_ids)
    assert max(tiled) == 1
    assert sum(tiled) > 80
    assert sum(whole) < 10
