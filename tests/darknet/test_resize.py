"""The resize equals Darknet's within the precision of float32."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from darknet.errors import DarknetError, ImageError
from darknet.model import Resize
from darknet.resize import Placement, check_image, placement, resize_into, resize_pixels_into

FloatArray = npt.NDArray[np.float32]
RgbImage = npt.NDArray[np.uint8]

TOLERANCE = 1e-6
MODES: tuple[Resize, ...] = ("letterbox", "stretch")
SIDES = st.integers(1, 60)
SIZES = st.tuples(SIDES, SIDES)


def noise(height: int, width: int, seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def resized(image: RgbImage, network: tuple[int, int], resize: Resize = "stretch") -> FloatArray:
    out = np.full((3, *network), np.nan, np.float32)
    resize_into(image, out, resize)
    return out


def two_passes(image: RgbImage, height: int, width: int) -> FloatArray:
    """Darknet's loops, line by line: float32[3, height, width]."""
    planes = (image.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)
    _, in_height, in_width = planes.shape
    part = np.empty((3, in_height, width), np.float32)
    for column in range(width):
        if column == width - 1 or in_width == 1:
            part[:, :, column] = planes[:, :, -1]
            continue
        x = np.float32(column) * (np.float32(in_width - 1) / np.float32(width - 1))
        left, dx = int(x), x - np.float32(int(x))
        part[:, :, column] = (1 - dx) * planes[:, :, left] + dx * planes[:, :, left + 1]
    out = np.empty((3, height, width), np.float32)
    for row in range(height):
        # One row: Darknet divides by zero; ours is the last one, as with columns.
        scale = np.float32(in_height - 1) / np.float32(max(height - 1, 1))
        y = np.float32(row) * scale if height > 1 else np.float32(in_height - 1)
        upper, dy = int(y), y - np.float32(int(y))
        out[:, row] = (1 - dy) * part[:, upper]
        if row < height - 1 and in_height > 1:
            out[:, row] += dy * part[:, upper + 1]
    return out


class CImage(ctypes.Structure):
    """``image`` of darknet.h: planes of floats, 0..1."""

    _fields_ = (
        ("w", ctypes.c_int),
        ("h", ctypes.c_int),
        ("c", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_float)),
    )


def by_darknet(
    library: Path, image: RgbImage, network: tuple[int, int], resize: Resize
) -> FloatArray:
    """Let the C library do it."""
    lib = ctypes.CDLL(str(library))
    function: Any = lib.letterbox_image if resize == "letterbox" else lib.resize_image
    function.argtypes, function.restype = (CImage, ctypes.c_int, ctypes.c_int), CImage
    lib.free_image.argtypes = (CImage,)
    planes = np.ascontiguousarray((image.astype(np.float32) / np.float32(255)).transpose(2, 0, 1))
    pointer = planes.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    made = function(CImage(image.shape[1], image.shape[0], 3, pointer), network[1], network[0])
    copy = np.ctypeslib.as_array(made.data, (3, *network)).copy()
    lib.free_image(made)
    return copy


@pytest.mark.parametrize(
    "image",
    [
        None,
        [[[0, 0, 0]]],
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_what_is_not_an_image_is_refused(image: object) -> None:
    with pytest.raises(
        ImageError, match=r"expected .*uint8\[height, width, 3\].*; found "
    ) as error:
        check_image(image)
    assert isinstance(error.value, DarknetError)


def test_the_smallest_image_is_accepted() -> None:
    check_image(np.zeros((1, 1, 3), np.uint8))


def test_the_message_says_what_was_found() -> None:
    with pytest.raises(ImageError, match=r"found float64\[5, 7, 3\]"):
        check_image(np.zeros((5, 7, 3)))


@pytest.mark.parametrize(
    ("size", "network", "expected"),
    [
        ((576, 768), (320, 320), Placement(0, 40, 320, 240)),
        ((768, 576), (320, 320), Placement(40, 0, 240, 320)),
        ((424, 640), (416, 416), Placement(0, 70, 416, 275)),
        ((100, 100), (416, 608), Placement(96, 0, 416, 416)),
        ((1, 1), (320, 320), Placement(0, 0, 320, 320)),
    ],
)
def test_a_letterboxed_image_keeps_its_proportions(
    size: tuple[int, int], network: tuple[int, int], expected: Placement
) -> None:
    assert placement(size, network, "letterbox") == expected


def test_a_stretched_image_fills_the_input() -> None:
    assert placement((10, 1000), (320, 416), "stretch") == Placement(0, 0, 416, 320)


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1)])
def test_a_very_long_image_keeps_one_line(size: tuple[int, int]) -> None:
    place = placement(size, (320, 320), "letterbox")
    assert min(place.width, place.height) == 1
    assert np.isfinite(resized(noise(*size), (320, 320), "letterbox")).all()


@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)), network=SIZES)
def test_a_letterboxed_image_lies_inside_and_touches_two_sides(
    size: tuple[int, int], network: tuple[int, int]
) -> None:
    place = placement(size, network, "letterbox")
    assert 1 <= place.height <= network[0]
    assert 1 <= place.width <= network[1]
    assert place.height == network[0] or place.width == network[1]
    assert 0 <= network[0] - (place.height + 2 * place.y) <= 1
    assert 0 <= network[1] - (place.width + 2 * place.x) <= 1


@given(size=SIZES, network=SIZES, seed=st.integers(0, 9))
@example(size=(1, 1), network=(5, 7), seed=0)
@example(size=(7, 5), network=(1, 1), seed=0)
@example(size=(40, 1), network=(3, 3), seed=0)
@example(size=(59, 3), network=(2, 50), seed=0)
@settings(deadline=None)
def test_the_resize_equals_darknets_two_passes(
    size: tuple[int, int], network: tuple[int, int], seed: int
) -> None:
    image = noise(*size, seed)
    np.testing.assert_allclose(
        resized(image, network), two_passes(image, *network), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("network", [(320, 320), (608, 416)])
@pytest.mark.parametrize("size", [(1080, 1920), (1500, 1000), (576, 768), (200, 100), (2, 700)])
def test_large_and_small_images_are_exact(size: tuple[int, int], network: tuple[int, int]) -> None:
    image = noise(*size)
    np.testing.assert_allclose(
        resized(image, network), two_passes(image, *network), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("network", [(320, 320), (416, 416), (608, 320), (33, 47)])
def test_a_photo_equals_what_the_c_library_makes_of_it(
    libdarknet: Path, darknet_data: Path, network: tuple[int, int], resize: Resize
) -> None:
    photo = cv2.imread(str(darknet_data / "data" / "dog.jpg"), cv2.IMREAD_COLOR_RGB)
    assert photo is not None
    image = photo.astype(np.uint8, copy=False)
    expected = by_darknet(libdarknet, image, network, resize)
    np.testing.assert_allclose(resized(image, network, resize), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("resize", MODES)
def test_odd_sizes_equal_what_the_c_library_makes_of_them(libdarknet: Path, resize: Resize) -> None:
    random = np.random.default_rng(7)
    for _ in range(40):
        height, width, *network = (int(side) for side in random.integers(8, 300, 4))
        image, into = noise(height, width), (network[0], network[1])
        expected = by_darknet(libdarknet, image, into, resize)
        np.testing.assert_allclose(resized(image, into, resize), expected, rtol=0, atol=TOLERANCE)


def test_a_last_row_that_darknet_darkens_is_dark_here_too(libdarknet: Path) -> None:
    white = np.full((480, 640, 3), 255, np.uint8)
    ours, theirs = (
        resized(white, (240, 320)),
        by_darknet(libdarknet, white, (240, 320), "stretch"),
    )
    assert theirs[:, -1].max() < 0.01
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@given(size=SIZES, network=SIZES, colour=st.tuples(*[st.integers(0, 255)] * 3))
@settings(deadline=None)
def test_a_plain_image_stays_plain_but_for_the_last_row(
    size: tuple[int, int], network: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    out = resized(np.full((*size, 3), colour, np.uint8), network)
    expected = np.array(colour, np.float32)[:, None, None] / 255
    np.testing.assert_allclose(out[:, :-1] - expected, 0, rtol=0, atol=TOLERANCE)


@given(size=SIZES, network=SIZES)
@settings(deadline=None)
def test_around_a_letterboxed_image_all_is_grey_and_within_it_all_is_image(
    size: tuple[int, int], network: tuple[int, int]
) -> None:
    image = noise(*size)
    out = resized(image, network, "letterbox")
    place = placement(size, network, "letterbox")
    rows = slice(place.y, place.y + place.height)
    columns = slice(place.x, place.x + place.width)
    inside = two_passes(image, place.height, place.width)
    np.testing.assert_allclose(out[:, rows, columns], inside, rtol=0, atol=TOLERANCE)
    out[:, rows, columns] = 0.5
    assert (out == 0.5).all()


@pytest.mark.parametrize("size", [(50, 70), (50, 700), (500, 70), (500, 700)])
def test_any_view_of_an_image_will_do(size: tuple[int, int]) -> None:
    image = noise(*size)
    view = image[::-1, ::2, ::-1]
    view.flags.writeable = False
    np.testing.assert_array_equal(resized(view, (32, 48)), resized(view.copy(), (32, 48)))


@pytest.mark.parametrize("size", [(50, 70), (50, 700), (500, 70), (500, 700)])
def test_a_fourth_channel_is_not_looked_at(size: tuple[int, int]) -> None:
    image = noise(*size)
    for fourth in (noise(*size, seed=1)[..., :1], np.zeros((*size, 1), np.uint8)):
        planes = np.concatenate((image, fourth), axis=2)
        check_image(planes)
        for view, same in ((planes, image), (planes[::-1, 1:-1], image[::-1, 1:-1])):
            np.testing.assert_array_equal(resized(view, (32, 48)), resized(same, (32, 48)))


def test_pixels_are_the_planes_interleaved_and_not_yet_scaled() -> None:
    pixels = np.full((32, 48, 3), np.nan, np.float32)
    resize_pixels_into(noise(50, 70), pixels, "letterbox")
    planes = resized(noise(50, 70), (32, 48), "letterbox")
    np.testing.assert_array_equal(pixels.transpose(2, 0, 1) * np.float32(1 / 255), planes)


@settings(deadline=None)
@given(size=SIZES, network=SIZES, resize=st.sampled_from(MODES), channels=st.sampled_from([3, 4]))
def test_rounded_pixels_are_the_exact_ones_in_whole_numbers(
    size: tuple[int, int], network: tuple[int, int], resize: Resize, channels: int
) -> None:
    image = np.dstack((noise(*size), noise(*size, seed=1)))[..., :channels]
    exact, rounded = (np.full((*network, 3), np.nan, np.float32) for _ in range(2))
    resize_pixels_into(image, exact, resize)
    resize_pixels_into(image, rounded, resize, exact=False)
    assert np.abs(rounded - exact).max() <= 0.51


def test_only_the_output_given_is_written() -> None:
    batch = np.full((3, 3, 32, 48), 7, np.float32)
    resize_into(noise(50, 70), batch[1], "letterbox")
    assert (batch[[0, 2]] == 7).all()
    assert (batch[1] <= 1).all()


def test_threads_do_not_disturb_each_other() -> None:
    images = [noise(40 + 10 * i, 90, seed=i) for i in range(40)]
    expected = [resized(image, (64, 64), "letterbox") for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: resized(image, (64, 64), "letterbox"), images))
    np.testing.assert_array_equal(found, expected)
