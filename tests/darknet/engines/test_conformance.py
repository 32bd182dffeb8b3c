"""One suite for all engines: the same protocol, and the same answers as Darknet's own C code."""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from darknet import load_network
from darknet.cfg import InputSize, read_cfg
from darknet.detections import Detections, FloatArray
from darknet.errors import ImageError
from darknet.model import Dialect, Resize, RgbImage
from darknet.network import Network
from darknet.weights import write_weights
from tests.support.networks import random_weights, write_model
from tests.support.targets import EXACT, GRAPHS, TARGETS, Target, Tolerance, assert_agree

LIBDARKNET, OPENVINO = Target("libdarknet"), Target("openvino")
PHOTOS = ["dog", "eagle", "giraffe", "horses", "kite", "person"]
DETECTORS = [
    *("yolov2", "yolov2-tiny", "yolov2-tiny-voc", "yolov2-voc", "yolo9000"),
    *("yolov3", "yolov3-openimages", "yolov3-spp", "yolov3-tiny", "yolov3-voc"),
]
SLOW = {"yolov2", "yolov3", "yolov3-openimages", "yolov3-spp", "yolov3-voc"}
"""The C library takes seconds for one image, so they are asked once, with suppression."""


@pytest.fixture(params=TARGETS, ids=str)
def target(request: pytest.FixtureRequest) -> Target:
    target: Target = request.param
    if target.engine == "libdarknet":
        request.getfixturevalue("libdarknet")
    return target


def load(
    folder: Path,
    target: Target,
    dialect: Dialect,
    resize: Resize,
    size: InputSize | None = None,
) -> Network:
    """Load the model that a folder holds, with the overlap of the Python wrappers."""
    cfg, weights, names = (next(folder.glob(f"*.{end}")) for end in ("cfg", "weights", "names"))
    with target.runtime():
        return load_network(
            cfg,
            weights,
            names,
            dialect=dialect,
            resize=resize,
            input_size=size,
            nms_kind="iou",
            **target.arguments(),
        )


def photo(data: Path, name: str) -> RgbImage:
    image = cv2.imread(str(data / "data" / f"{name}.jpg"))
    assert image is not None
    return np.ascontiguousarray(image[:, :, ::-1], np.uint8)


# The protocol


@pytest.fixture(params=["letterbox", "stretch"])
def network(target: Target, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    """A tiny network with random weights."""
    with load(write_model(tmp_path / "tiny"), target, "pjreddie", request.param) as network:
        yield network


@pytest.fixture(scope="module")
def samples() -> list[RgbImage]:
    random = np.random.default_rng(3)
    sizes = [(48, 64), (31, 17), (1, 1), (100, 333), (200, 64)]
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def test_an_engine_says_what_it_is(network: Network, target: Target) -> None:
    assert (network.engine_name, network.device) == (target.engine, target.runs_on)
    assert network.precision == target.number_type


def test_no_images_give_no_detections(network: Network) -> None:
    assert network.detect([]) == []


def test_answers_come_in_the_order_of_the_images_whatever_their_sizes(
    network: Network, target: Target, samples: list[RgbImage]
) -> None:
    together = network.detect(samples, threshold=0.01)
    for sample, found in zip(samples, together, strict=True):
        (alone,) = network.detect([sample], threshold=0.01)
        assert len(found)
        assert_agree(found, alone, target.again)


def test_an_image_of_a_generator_is_freed_before_the_next_one_is_made(
    network: Network, target: Target, samples: list[RgbImage]
) -> None:
    made: list[weakref.ref[RgbImage]] = []

    def images() -> Iterator[RgbImage]:
        for sample in samples:
            assert not any(image() is not None for image in made)
            image = sample.copy()
            made.append(weakref.ref(image))
            yield image
            del image

    found = network.detect(images(), threshold=0.01)
    for each, expected in zip(found, network.detect(samples, threshold=0.01), strict=True):
        assert_agree(each, expected, target.again)


def test_an_answer_has_the_types_it_promises(network: Network, samples: list[RgbImage]) -> None:
    for threshold in (0.01, 1.0):
        (found,) = network.detect(samples[:1], threshold=threshold)
        assert {found.boxes.dtype, found.scores.dtype} == {np.dtype(np.float32)}
        assert found.class_ids.dtype == np.dtype(np.int32)
        assert (len(found) > 0) == (threshold < 1)


def test_scores_are_above_the_threshold_and_no_box_overlaps_a_better_one_of_its_class(
    network: Network, samples: list[RgbImage]
) -> None:
    (every,) = network.detect(samples[3:4], threshold=0.02, nms=0)
    (found,) = network.detect(samples[3:4], threshold=0.02, nms=0.4)
    assert found.scores.min() > 0.02
    assert len(found) < len(every)
    for class_id in range(2):
        overlaps = pairwise_overlaps(found.boxes[found.class_ids == class_id])
        assert overlaps[~np.eye(len(overlaps), dtype=bool)].max(initial=0) < 0.4 + 1e-5


def test_views_of_arrays_are_seen_as_they_are(
    network: Network, target: Target, samples: list[RgbImage]
) -> None:
    mirrored = samples[3][:, ::-1, ::-1]
    view, copy = network.detect([mirrored, mirrored.copy()], threshold=0.01)
    assert_agree(view, copy, target.again)


def test_a_fourth_channel_is_not_looked_at(
    network: Network, target: Target, samples: list[RgbImage]
) -> None:
    fourth = np.random.default_rng(0).integers(0, 256, (*samples[3].shape[:2], 1), np.uint8)
    with_it = np.concatenate((samples[3], fourth), axis=2)
    three, four = network.detect([samples[3], with_it], threshold=0.01)
    assert_agree(three, four, target.again)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        [[[0, 0, 0]]],
    ],
    ids=["grey", "two channels", "float", "empty", "list"],
)
def test_an_array_that_is_no_image_is_an_error(network: Network, wrong: object) -> None:
    with pytest.raises(ImageError, match=r"uint8\[height, width, 3\]"):
        network.detect([wrong])  # type: ignore[list-item]  # that is the point


def test_a_network_goes_on_after_an_array_that_is_no_image(
    network: Network, target: Target, samples: list[RgbImage]
) -> None:
    (expected,) = network.detect(samples[3:4], threshold=0.01)
    with pytest.raises(ImageError):
        network.detect([samples[0], samples[3], np.zeros((8, 8), np.uint8)])
    (found,) = network.detect(samples[3:4], threshold=0.01)
    assert_agree(found, expected, target.again)


@pytest.mark.parametrize("limits", [(-0.1, 0.45, 0.5), (0.25, 1.1, 0.5), (0.25, 0.45, np.nan)])
def test_limits_outside_their_range_are_an_error(
    network: Network, samples: list[RgbImage], limits: tuple[float, float, float]
) -> None:
    with pytest.raises(ImageError, match="from 0 to 1"):
        network.detect(samples, *limits)


def test_threads_get_the_answers_to_their_own_images(
    network: Network, target: Target, samples: list[RgbImage]
) -> None:
    expected = network.detect(samples, threshold=0.01)
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(network.detect, [sample], 0.01) for sample in samples * 8]
    for number, job in enumerate(jobs):
        assert_agree(job.result()[0], expected[number % len(samples)], target.again)


def test_closing_twice_is_allowed(network: Network) -> None:
    network.close()
    network.close()


# Darknet's own answers


def test_every_detector_that_debian_ships_is_compared(darknet_data: Path) -> None:
    shipped = {
        path.stem
        for pattern in ("yolov[23]*", "yolo9*")
        for path in (darknet_data / "cfg").glob(pattern)
    }
    assert shipped == set(DETECTORS)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for hundreds of megabytes, which pytest's own would keep for three runs."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("name", "use_map"), [*((name, False) for name in DETECTORS), ("yolo9000", True)]
)
@pytest.mark.usefixtures("libdarknet")
def test_random_networks_of_every_published_shape_agree(
    name: str, use_map: bool, darknet_data: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(darknet_data)  # class trees and maps are named from there
    path, weights = darknet_data / "cfg" / f"{name}.cfg", scratch / "random.weights"
    cfg = read_cfg(path)
    write_weights(weights, cfg, random_weights(cfg, head_gain=0.2))
    labels = [f"class {i}" for i in range(80 if use_map else cfg.classes)]
    sample = [photo(darknet_data, "dog")]

    def network(target: Target) -> Network:
        options = target.arguments()
        return load_network(path, weights, labels, dialect="pjreddie", use_map=use_map, **options)

    with network(OPENVINO) as graph:
        threshold, nms = clear_limits(graph.detect(sample, threshold=1e-4, nms=0)[0])
    limits = [nms] if name in SLOW else [0, nms]
    with network(LIBDARKNET) as c:
        expected = [c.detect(sample, threshold, limit)[0] for limit in limits]
    assert 20 <= len(expected[0]) <= 300
    for target in EXACT:
        with network(target) as graph:
            for limit, answer in zip(limits, expected, strict=True):
                found = graph.detect(sample, threshold, limit)[0]
                assert_agree(found, answer, Tolerance(1e-3, 0.5))


@pytest.mark.parametrize("dialect", ["alexeyab", "pjreddie"])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("name", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
@pytest.mark.usefixtures("libdarknet")
def test_trained_networks_agree_on_photos(
    name: str, resize: Resize, dialect: Dialect, shared: Path, darknet_data: Path
) -> None:
    folder = shared / "models" / name
    photos = [photo(darknet_data, name) for name in PHOTOS]
    with load(folder, LIBDARKNET, dialect, resize) as c:
        expected = c.detect(photos, threshold=0.1)
    assert sum(map(len, expected)) > 30
    for target in GRAPHS:
        with load(folder, target, dialect, resize) as graph:
            for found, answer in zip(graph.detect(photos, threshold=0.1), expected, strict=True):
                assert_agree(found, answer, target.darknet)


@pytest.mark.parametrize("size", [(224, 224), (416, 320), (512, 512)])
@pytest.mark.usefixtures("libdarknet")
def test_engines_agree_at_other_input_sizes(
    size: tuple[int, int], darknet_data: Path, xl: Path
) -> None:
    photos = [photo(darknet_data, name) for name in PHOTOS]
    found: dict[Target, list[Detections]] = {}
    for target in (LIBDARKNET, *GRAPHS):
        with load(xl, target, "pjreddie", "letterbox", size) as network:
            assert network.input_size == size
            found[target] = network.detect(photos, threshold=0.1)
    assert sum(map(len, found[LIBDARKNET])) > 15
    for target in GRAPHS:
        for each, expected in zip(found[target], found[LIBDARKNET], strict=True):
            assert_agree(each, expected, target.darknet)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_dialect_alexeyab_answers_as_that_fork_did(
    target: Target, resize: Resize, shared: Path, darknet_data: Path, xl: Path
) -> None:
    recorded = json.loads((shared / "reference" / "alexeyab-yolo-fastest-1.1-xl.json").read_text())
    with load(xl, target, "alexeyab", resize) as network:
        for name, answer in recorded[resize].items():
            (found,) = network.detect([photo(darknet_data, name)])
            expected = recorded_detections(answer["library_order"], found.names)
            # That fork's JPEG decoder differs from OpenCV's by up to 3 levels.
            allowed = Tolerance(0.02, 0.8) | target.darknet
            assert_agree(sort_rows(found), sort_rows(expected), allowed)


def test_dialect_pjreddie_finds_what_its_command_finds_in_the_dog_photo(
    target: Target, darknet_data: Path, xl: Path
) -> None:
    with load(xl, target, "pjreddie", "letterbox") as network:
        found = network.detect([photo(darknet_data, "dog")], threshold=0.25)[0].by_score()
    assert found.labels == ["dog", "car", "bicycle", "cat", "dog", "truck"]
    expected = [0.9355, 0.8762, 0.8568, 0.4503, 0.3463, 0.2622]
    np.testing.assert_allclose(found.scores, expected, rtol=0, atol=target.darknet.score)


def clear_limits(every: Detections) -> tuple[float, float]:
    """Return a threshold for 100 to 300 rows and an overlap, both far from every row's own."""
    threshold = gap(np.sort(every.scores)[-300:-100])
    overlaps = pairwise_overlaps(every.boxes[every.scores > threshold])
    return threshold, gap(np.array([0.2, *overlaps[(overlaps > 0.2) & (overlaps < 0.7)], 0.7]))


def gap(values: FloatArray) -> float:
    """Return the middle of the widest gap: a limit there is clear to every engine."""
    ordered = np.sort(values)
    widest = np.argmax(np.diff(ordered))
    assert ordered[widest + 1] > ordered[widest] * (1 + 1e-4)
    return float(ordered[widest] + ordered[widest + 1]) / 2


def sort_rows(found: Detections) -> Detections:
    """By class, then from left to right: for answers of another order."""
    order = np.lexsort((found.boxes[:, 0], found.class_ids))
    return Detections(found.boxes[order], found.scores[order], found.class_ids[order], found.names)


def recorded_detections(rows: list[dict[str, object]], names: tuple[str, ...]) -> Detections:
    return Detections(
        np.array([row["box_cxcywh"] for row in rows], np.float32),
        np.array([row["confidence"] for row in rows], np.float32),
        np.array([names.index(str(row["label"])) for row in rows], np.int32),
        names,
    )


def pairwise_overlaps(boxes: FloatArray) -> FloatArray:
    """Return intersection over union of each two boxes, float32[n, n]."""
    first, second = boxes[:, None].astype(np.float64), boxes[None].astype(np.float64)
    low = np.maximum(first[..., :2] - first[..., 2:] / 2, second[..., :2] - second[..., 2:] / 2)
    high = np.minimum(first[..., :2] + first[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2)
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(first[..., 2:], axis=-1) + np.prod(second[..., 2:], axis=-1)
    result: FloatArray = (shared / (areas - shared)).astype(np.float32)
    return result
