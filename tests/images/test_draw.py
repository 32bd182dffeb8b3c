from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet.detections import Detections, FloatArray, IntArray
from darknet.model import RgbImage
from tests.support.sample_images import quarters
from yolo_service.images import decode as images
from yolo_service.images import draw as render
from yolo_service.images.draw import Colour, class_colour

GREY = np.full((240, 320, 3), 100, np.uint8)
NAMES = ("person", "bicycle", "car", "犬", "кошка")


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Detections from (centre x, centre y, width, height, score, class) each."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int32),
        NAMES,
    )


def area(image: RgbImage, colour: Colour) -> int:
    return int((image == colour).all(axis=2).sum())


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour (WCAG 2)."""
    c = np.array(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_drawing_does_not_change_the_image_given() -> None:
    original = GREY.copy()
    drawn = render.draw(original, found((160, 120, 100, 80, 0.9, 0)))
    np.testing.assert_array_equal(original, GREY)
    assert drawn.shape == GREY.shape
    assert (drawn != GREY).any()


def test_without_detections_the_image_is_the_same() -> None:
    np.testing.assert_array_equal(render.draw(GREY, found()), GREY)


def test_a_read_only_image_can_be_drawn_on() -> None:
    original = GREY[::-1]
    original.flags.writeable = False
    assert area(render.draw(original, found((160, 120, 100, 80, 0.9, 0))), class_colour(0)) > 0


def test_a_box_is_drawn_at_its_sides() -> None:
    drawn = render.draw(GREY, found((160, 120, 100, 80, 0.9, 1)))
    for x, y in [(110, 120), (210, 120), (160, 160)]:
        assert tuple(drawn[y, x]) == class_colour(1)
    assert tuple(drawn[120, 160]) == (100, 100, 100)


def test_the_box_of_higher_confidence_is_drawn_over_the_other() -> None:
    box = (160, 120, 100, 80)
    for scores in [(0.9, 0.3), (0.3, 0.9)]:
        drawn = render.draw(GREY, found((*box, scores[0], 0), (*box, scores[1], 1)))
        assert tuple(drawn[160, 160]) == class_colour(int(scores[1] > scores[0]))


@pytest.mark.parametrize("ground", [0, 255])
def test_a_box_is_visible_on_black_and_on_white(ground: int) -> None:
    for class_id in range(80):
        names = tuple(map(str, range(80)))
        boxes = np.array([[32, 32, 20, 20]], np.float32)
        one = Detections(boxes, np.array([0.5], np.float32), np.array([class_id], np.int32), names)
        drawn = render.draw(np.full((64, 64, 3), ground, np.uint8), one)
        lit = [luminance((int(r), int(g), int(b))) for r, g, b in drawn[32, 18:27]]
        assert max(lit) - min(lit) > 0.15


@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (320, 0), (0, 240), (320, 240), (160, -500), (-500, 120), (900, 900)]
)
def test_a_label_stays_in_the_image_wherever_its_box_is(x: float, y: float) -> None:
    inside = area(render.draw(GREY, found((160, 120, 30, 30, 0.9, 0))), class_colour(0))
    drawn = render.draw(GREY, found((x, y, 30, 30, 0.9, 0)))
    assert area(drawn, class_colour(0)) > 0.6 * inside


def test_labels_of_equal_boxes_do_not_hide_each_other() -> None:
    box = (160, 120, 200, 80)
    together = render.draw(GREY, found(*[(*box, 0.9 - i / 10, i) for i in range(5)]))
    for i in range(5):
        alone = render.draw(GREY, found((*box, 0.9 - i / 10, i)))
        frame = 2 * (200 + 80)  # covered by the box of highest confidence
        assert area(together, class_colour(i)) >= area(alone, class_colour(i)) - frame


def test_labels_have_the_contrast_that_wcag_asks_for() -> None:
    for colour in map(class_colour, range(1000)):
        light, dark = sorted((luminance(colour), luminance(render._contrast(colour))))[::-1]
        assert (light + 0.05) / (dark + 0.05) > 4.5, "WCAG's contrast for text"


def test_neighbouring_classes_have_different_colours() -> None:
    colours = np.array([class_colour(i) for i in range(80)])
    assert len({tuple(c) for c in colours}) == 80
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 150


@pytest.mark.parametrize("side", [24, 64, 640, 4000])
def test_letters_grow_with_the_image(side: int) -> None:
    size = render._font_size(side, side)
    assert size == max(11, round(side / 30))


def test_a_million_detections_are_drawn_as_the_best_thousand() -> None:
    boxes = np.tile(np.array([[16, 16, 8, 8]], np.float32), (1_000_000, 1))
    scores = np.linspace(0, 1, 1_000_000, dtype=np.float32)
    many = Detections(boxes, scores, np.zeros(1_000_000, np.int32), NAMES)
    assert area(render.draw(quarters(), many), class_colour(0)) > 0


numbers = st.floats(-(2.0**40), 2.0**40, width=32)


@given(
    st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=4),
    st.integers(1, 80),
    st.integers(1, 80),
)
@settings(deadline=None)
def test_boxes_of_any_size_and_place_can_be_drawn(
    boxes: list[tuple[float, float, float, float]], width: int, height: int
) -> None:
    drawn = render.draw(quarters(width, height), found(*[(*box, 0.5, 0) for box in boxes]))
    assert drawn.shape == (height, width, 3)


@given(st.text(st.characters(exclude_categories=()), max_size=60))
@settings(deadline=None)
def test_names_of_any_characters_can_be_drawn(name: str) -> None:
    one = found((100, 100, 50, 50, 0.5, 0))
    named = Detections(one.boxes, one.scores, one.class_ids, (name,))
    assert area(render.draw(GREY, named), class_colour(0)) > 0


def test_names_beyond_ascii_are_written_and_not_replaced() -> None:
    drawn = [
        render.draw(GREY, Detections(*_one(), (name,))) for name in ("犬", "猫", "?", "ш", "щ")
    ]
    assert len({original.tobytes() for original in drawn}) == 5


def _one() -> tuple[FloatArray, FloatArray, IntArray]:
    one = found((100, 100, 50, 50, 0.5, 0))
    return one.boxes, one.scores, one.class_ids


def test_png_is_lossless_and_jpeg_nearly_so() -> None:
    png = images.decode(render.encode(quarters(), "png"), max_pixels=10_000)
    np.testing.assert_array_equal(png, quarters())
    jpeg = images.decode(render.encode(quarters(), "jpeg"), max_pixels=10_000)
    assert np.abs(jpeg[4, 4].astype(int) - quarters()[4, 4]).max() < 10
