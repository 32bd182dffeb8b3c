"""Augmentation moves bounding boxes with the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darknet.cfg import parse_cfg
from darknet.training.augment import Augmentation, Sample
from tests.support.networks import TINY

SIZE = (64, 48)
NONE = Augmentation(
    size=SIZE,
    jitter=0,
    resize=1,
    hue=0,
    saturation=1,
    exposure=1,
    flip=False,
    flip_vertical=False,
    letter_box=False,
)


def square(size: tuple[int, int] = (160, 120), at: tuple[int, int] = (90, 40)) -> Sample:
    """A white square of 30 x 30 on black, and its box."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[at[1] : at[1] + 30, at[0] : at[0] + 30] = 255
    box = np.array([[at[0] + 15, at[1] + 15, 30, 30]], np.float32)
    return Sample(image, box, np.array([1], np.int32))


def white(sample: Sample) -> np.ndarray:
    """The box around what is white."""
    rows, columns = np.nonzero(sample.image.min(2) > 200)
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def test_without_settings_an_image_is_only_resized() -> None:
    done = NONE(square(), np.random.default_rng(0))
    np.testing.assert_allclose(done.boxes, [[42, 22, 12, 12]])
    np.testing.assert_allclose(white(done), done.boxes[0], atol=1.5)


def test_a_letterbox_keeps_the_aspect_ratio() -> None:
    done = replace(NONE, letter_box=True)(square((160, 60), (90, 20)), np.random.default_rng(0))
    np.testing.assert_allclose(done.boxes, [[42, 26, 12, 12]])
    np.testing.assert_allclose(white(done), done.boxes[0], atol=1.5)
    assert (done.image[:10] == 127).all()


@given(st.integers(0, 2**32))
def test_boxes_follow_the_pixels(seed: int) -> None:
    varied = replace(NONE, jitter=0.3, resize=1.3, flip=True, flip_vertical=True)
    done = varied(square(), np.random.default_rng(seed))
    assert done.image.shape == (48, 64, 3)
    if len(done.boxes):
        np.testing.assert_allclose(white(done), done.boxes[0], atol=2.5)


@given(st.integers(0, 2**32))
def test_boxes_follow_the_pixels_into_a_mosaic(seed: int) -> None:
    black = Sample(np.zeros((120, 160, 3), np.uint8), *_nothing())
    done = NONE.mosaic((black, square(), black, black), np.random.default_rng(seed))
    assert done.image.shape == (48, 64, 3)
    if len(done.boxes):
        np.testing.assert_allclose(white(done), done.boxes[0], atol=2)
        assert done.class_ids.tolist() == [1]


def test_an_object_that_is_hardly_left_has_no_box() -> None:
    shifted = square(at=(155 - 30, 40))
    moved = Sample(
        shifted.image, shifted.boxes + np.array((32, 0, 0, 0), np.float32), shifted.class_ids
    )
    assert len(NONE(shifted, np.random.default_rng(0)).boxes) == 1
    assert len(NONE(moved, np.random.default_rng(0)).boxes) == 0


def test_colours_change_and_shapes_do_not() -> None:
    grey = Sample(np.full((120, 160, 3), (120, 80, 60), np.uint8), *_nothing())
    varied = replace(NONE, hue=0.1, saturation=1.5, exposure=1.5)
    done = [varied(grey, np.random.default_rng(seed)).image[0, 0] for seed in range(20)]
    assert len({tuple(colour) for colour in done}) > 15
    np.testing.assert_allclose(
        NONE(grey, np.random.default_rng(0)).image[0, 0], (120, 80, 60), 0.02
    )


def test_the_settings_are_those_of_the_cfg() -> None:
    text = (
        TINY.replace("[net]", "[net]\nhue=.1\nsaturation=1.5\nexposure=1.2\nflip=0") + "jitter=.4"
    )
    settings = Augmentation.of(parse_cfg(text))
    assert settings == replace(NONE, jitter=0.4, hue=0.1, saturation=1.5, exposure=1.2)


def test_a_seed_gives_the_same_image() -> None:
    varied = replace(NONE, jitter=0.3, flip=True, hue=0.1)
    one, two = (varied(square(), np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.boxes, two.boxes)


@pytest.mark.parametrize("flips", [("flip", 0), ("flip_vertical", 1)])
def test_a_mirror_turns_every_other_image(flips: tuple[str, int]) -> None:
    name, axis = flips
    varied = replace(NONE, **{name: True})  # type: ignore[arg-type] # both are flags
    done = {
        float(varied(square(), np.random.default_rng(seed)).boxes[0, axis]) for seed in range(20)
    }
    assert done == {(42.0, 22.0)[axis], (22.0, 26.0)[axis]}


def _nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
