from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from darknet.model import RgbImage
from tests.support import sample_images
from tests.support.sample_images import HEIGHT, WIDTH, chunk, encode, grey, quarters
from yolo_service.errors import (
    ImageTooLarge,
    ServiceError,
    UndecodableImage,
    UnsupportedImageType,
)
from yolo_service.images import decode as images
from yolo_service.images import image_header, png
from yolo_service.images.decode import DecodeOptions

MAX_PIXELS = 1_000_000
BLACK_WHITE = np.where(grey() > 127, 255, 0).astype(np.uint8)

PLAIN = {
    "JPEG": sample_images.jpeg(),
    "progressive JPEG": sample_images.jpeg(progressive=True),
    "CMYK JPEG": encode(quarters(), "JPEG", "CMYK", quality=95, subsampling=0),
    "PNG": sample_images.png(),
    "palette PNG": sample_images.png(mode="P"),
    "16-bit PNG": sample_images.png16(3),
    "16-bit PNG with alpha": sample_images.png16(4),
    "PNG with alpha": sample_images.transparent("PNG"),
    "GIF": encode(quarters(), "GIF"),
    "WebP": encode(quarters(), "WEBP", quality=95),
    "lossless WebP": encode(quarters(), "WEBP", lossless=True),
    "WebP with alpha": sample_images.transparent("WEBP", lossless=True, exact=True),
    "BMP": encode(quarters(), "BMP"),
    "palette BMP": encode(quarters(), "BMP", "P"),
    "TIFF": encode(quarters(), "TIFF"),
    "LZW TIFF": encode(quarters(), "TIFF", compression="tiff_lzw"),
    "JPEG TIFF": encode(quarters(), "TIFF", compression="jpeg", quality=95),
    "CMYK TIFF": encode(quarters(), "TIFF", "CMYK"),
}
GREY = {
    "grey JPEG": encode(quarters(), "JPEG", "L", quality=95),
    "grey PNG": sample_images.png(mode="L"),
    "grey PNG with alpha": sample_images.transparent("PNG", "L"),
    "16-bit grey PNG": sample_images.png16(1),
    "grey GIF": encode(quarters(), "GIF", "L"),
    "grey BMP": encode(quarters(), "BMP", "L"),
    "grey TIFF": encode(quarters(), "TIFF", "L"),
}
ONE_BIT = {
    "1-bit PNG": encode(BLACK_WHITE, "PNG", "1"),
    "1-bit BMP": encode(BLACK_WHITE, "BMP", "1"),
    "fax TIFF": encode(BLACK_WHITE, "TIFF", "1", compression="group4"),
}
ANIMATED = ("GIF", "WEBP", "PNG", "TIFF")
KINDS = {**PLAIN, **GREY, **ONE_BIT}

LARGE = {  # headers of 40,000 x 30,000 pixels with next to nothing behind them
    "PNG": sample_images.png_claiming(40_000, 30_000),
    "GIF": b"GIF89a" + struct.pack("<HH", 40_000, 30_000) + bytes(20),
    "BMP": b"BM" + bytes(12) + struct.pack("<Iii", 40, 40_000, -30_000) + bytes(28),
    "old BMP": b"BM" + bytes(12) + struct.pack("<IHH", 12, 40_000, 30_000) + bytes(28),
    "JPEG": b"\xff\xd8\xff\xc0"
    + struct.pack(">HBHHB", 17, 8, 30_000, 40_000, 3)
    + bytes(9)
    + b"\xff\xda\0\x0c\x03"
    + bytes(9),
    "WebP": b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<IIHBHB", 10, 0, 39_999, 0, 29_999, 0),
    "TIFF": sample_images.tiff([(256, 4, 1, 40_000), (257, 3, 1, 30_000)]),
}


def decode(data: bytes) -> RgbImage:
    return images.decode(data, max_pixels=MAX_PIXELS)


def assert_shows(pixels: RgbImage, expected: RgbImage) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    rows, columns = (np.abs(np.arange(n) - n / 2) > 8 for n in expected.shape[:2])
    difference = np.abs(pixels.astype(int) - expected)
    assert difference[rows][:, columns].max() <= 6, "lossy formats blur edges, not the quarters"


@pytest.mark.parametrize("kind", PLAIN)
def test_every_kind_of_colour_image_becomes_the_same_rgb(kind: str) -> None:
    assert_shows(decode(PLAIN[kind]), quarters())


@pytest.mark.parametrize("kind", GREY)
def test_grey_images_get_three_equal_channels(kind: str) -> None:
    assert_shows(decode(GREY[kind]), grey())


@pytest.mark.parametrize("kind", ONE_BIT)
def test_images_of_one_bit_become_black_and_white(kind: str) -> None:
    assert_shows(decode(ONE_BIT[kind]), BLACK_WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    assert_shows(
        decode(sample_images.oriented(kind, orientation)), sample_images.upright(orientation)
    )


@pytest.mark.parametrize("kind", ANIMATED)
def test_the_first_image_of_several_is_taken(kind: str) -> None:
    assert_shows(decode(sample_images.animation(kind)), quarters())


def test_an_image_of_one_pixel_is_decoded() -> None:
    one = np.full((1, 1, 3), (1, 2, 3), np.uint8)
    np.testing.assert_array_equal(decode(encode(one, "PNG")), one)


def test_bytes_after_an_image_are_ignored() -> None:
    data = sample_images.jpeg()
    np.testing.assert_array_equal(decode(data + b"PK\x03\x04<html>"), decode(data))


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_read_from_the_header(kind: str) -> None:
    header = image_header.read(KINDS[kind])
    assert (header.width, header.height) == (WIDTH, HEIGHT)
    assert header.format in kind or kind == "fax TIFF"


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_image_is_refused_by_its_header(kind: str) -> None:
    with pytest.raises(ImageTooLarge, match=r"40000 x 30000 pixels.*YOLO_MAX_PIXELS"):
        decode(LARGE[kind])


def test_as_many_pixels_as_allowed_are_decoded_and_one_more_is_not() -> None:
    data = sample_images.png(100, 10)
    assert images.decode(data, max_pixels=1000).shape == (10, 100, 3)
    with pytest.raises(ImageTooLarge):
        images.decode(data, max_pixels=999)


@pytest.mark.parametrize(("width", "height"), [(1, 65_000), (65_000, 1)])
def test_a_side_too_long_for_opencv_is_refused(width: int, height: int) -> None:
    with pytest.raises(ImageTooLarge, match="32767 a side"):
        decode(sample_images.png_claiming(width, height))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(UndecodableImage, match="at least 1 x 1"):
        decode(sample_images.png_claiming(0, 10))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"just some text", "no image of a known format"),
        (b"\n <!DOCTYPE html><html>", "HTML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b'{"error": "not found"}', "JSON"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (bytes(1000), "no image of a known format"),
    ],
)
def test_the_error_for_another_format_names_it_and_those_supported(data: bytes, found: str) -> None:
    with pytest.raises(UnsupportedImageType, match=f"{found}.*JPEG, PNG, GIF, WebP, BMP, TIFF"):
        decode(data)


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(UndecodableImage, match="empty"):
        decode(b"")


@given(st.sampled_from(sorted(KINDS)), st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_an_image_that_is_cut_off_is_never_taken(kind: str, part: float) -> None:
    data = KINDS[kind]
    with pytest.raises((UndecodableImage, UnsupportedImageType)):
        decode(data[: int(len(data) * part)])


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(5, 100),
            "subsampling": st.integers(0, 2),
            "progressive": st.booleans(),
            "restart_marker_blocks": st.integers(0, 3),
            "comment": st.binary(max_size=20),
        }
    ),
    seed=st.integers(0, 99),
)
def test_a_jpeg_has_the_same_pixels_as_from_opencv(
    size: tuple[int, int], mode: str, options: dict[str, Any], seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    data = encode(noise, "JPEG", mode, **options)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode(data), expected)
    for_network = images.decode_image(
        data, DecodeOptions(keep_image=False), max_pixels=MAX_PIXELS
    ).pixels
    np.testing.assert_array_equal(for_network[..., :3], expected)


EXIF_FIELDS = st.lists(
    st.tuples(
        st.sampled_from([0x0112, 0x010F, 0x0132]),
        st.sampled_from([1, 3, 3, 3, 4]),
        st.sampled_from([0, 1, 1, 1, 2]),
        st.integers(0, 9),
    ),
    max_size=3,
)


@settings(deadline=None)
@given(
    order=st.sampled_from("<>"), fields=EXIF_FIELDS, more=st.integers(0, 200), cut=st.integers(0, 9)
)
def test_a_jpeg_is_turned_as_opencv_does_whatever_its_exif_says(
    order: str, fields: list[tuple[int, int, int, int]], more: int, cut: int
) -> None:
    entries = b"".join(struct.pack(f"{order}HHIHH", *field, 0) for field in fields)
    about = struct.pack(f"{order}IH", 8, len(fields) + max(0, more - 100))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + about
    exif = (b"Exif\0\0" + head + entries + bytes(4))[: -cut or None]
    plain = sample_images.jpeg()
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode(data), expected)


def test_chroma_that_is_not_smoothed_is_nearly_the_same() -> None:
    photo = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8), (0, 0), 4
    )
    data = encode(np.asarray(photo, np.uint8), "JPEG", quality=95, subsampling=2)
    rough = images.decode_image(
        data, DecodeOptions(keep_image=False, smooth=False), max_pixels=MAX_PIXELS
    ).pixels
    difference = np.abs(rough[..., :3].astype(int) - decode(data))
    assert 0 < difference.mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_has_the_same_pixels_as_from_opencv(
    orientation: int, progressive: bool
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = sample_images.jpeg(2500, 2000, exif=exif, progressive=progressive)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(images.decode(data, max_pixels=5_000_000), expected)


def test_a_reduced_jpeg_has_the_same_pixels_as_from_opencv() -> None:
    data = sample_images.jpeg(5000, 3300)
    reduced = images.decode_image(data, DecodeOptions(min_size=(1500, 1200)), max_pixels=17_000_000)
    flags = cv2.IMREAD_REDUCED_COLOR_2
    expected = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    np.testing.assert_array_equal(reduced.pixels, expected[..., ::-1])
    assert reduced.size == (5000, 3300)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.99])
def test_a_large_jpeg_that_is_cut_off_is_never_taken(part: float, progressive: bool) -> None:
    data = sample_images.jpeg(2500, 2000, progressive=progressive)
    with pytest.raises(UndecodableImage):
        images.decode(data[: int(part * len(data))], max_pixels=5_000_000)


def test_bytes_after_a_large_jpeg_are_ignored() -> None:
    data = sample_images.jpeg(2500, 2000)
    plain = images.decode(data, max_pixels=5_000_000)
    np.testing.assert_array_equal(images.decode(data + b"more", max_pixels=5_000_000), plain)


def test_opencv_logs_nothing_about_damaged_images(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in ("GIF", "TIFF", "LZW TIFF", "BMP"):
        with pytest.raises(UndecodableImage):
            decode(KINDS[kind][:-5])
    assert capfd.readouterr().err == ""


@pytest.mark.timeout(30)
class TestFilesMadeToExhaustADecoder:
    def test_a_jpeg_of_millions_of_comments(self) -> None:
        data = sample_images.jpeg()
        with pytest.raises(UndecodableImage, match="more than 1024 segments"):
            decode(data[:2] + b"\xff\xfe\0\2" * 2_000_000 + data[2:])

    def test_a_jpeg_of_millions_of_fill_bytes_is_only_padded(self) -> None:
        data = sample_images.jpeg()
        assert decode(data[:2] + b"\xff" * 4_000_000 + data[2:]).shape == (HEIGHT, WIDTH, 3)

    def test_a_jpeg_with_two_sizes(self) -> None:
        data = sample_images.jpeg()
        at = data.index(b"\xff\xc0")
        frame = data[at : at + 19]
        with pytest.raises(UndecodableImage, match="2 frame headers"):
            decode(data[:at] + frame + data[at:])

    def test_a_png_that_expands_beyond_its_size(self) -> None:
        bomb = zlib.compress(bytes(400_000_000), 9)
        with pytest.raises(UndecodableImage, match="more data than its size needs"):
            decode(sample_images.png_claiming(WIDTH, HEIGHT, chunk(b"IDAT", bomb)))

    def test_a_png_of_millions_of_chunks(self) -> None:
        with pytest.raises(UndecodableImage, match="more than 65536 chunks"):
            decode(sample_images.png_claiming(WIDTH, HEIGHT, chunk(b"teSt") * 1_000_000))

    def test_a_png_whose_chunk_claims_gigabytes(self) -> None:
        data = bytearray(sample_images.png())
        data[data.index(b"IDAT") - 4] = 0x7F
        with pytest.raises(UndecodableImage, match="cut off"):
            decode(bytes(data))

    def test_a_png_whose_animation_crashes_opencv(self) -> None:
        data = sample_images.animation("PNG")
        first, last = data.index(b"fcTL"), data.rindex(b"fcTL")
        data = data[:first] + b"fcTE" + data[first + 4 : last] + b"fcTE" + data[last + 4 :]
        assert_shows(decode(data), quarters())

    def test_a_png_that_ends_before_its_data(self) -> None:
        data = sample_images.png_claiming(WIDTH, HEIGHT, chunk(b"IEND"), b"\x7f\0\0\0IDAT")
        with pytest.raises(UndecodableImage, match="no pixels"):
            decode(data)

    def test_a_tiff_that_says_its_width_twice(self) -> None:
        fields = [(256, 4, 1, 10), (256, 4, 1, 60_000), (257, 4, 1, HEIGHT)]
        with pytest.raises(UndecodableImage, match="each once"):
            decode(sample_images.tiff(fields))

    def test_a_tiff_whose_tags_overlap(self) -> None:
        fields = [(256, 4, 1, WIDTH), (257, 4, 1, HEIGHT)]
        fields += [(tag, 1, 1_000_000, 8) for tag in range(40_000, 41_000)]
        with pytest.raises(UndecodableImage, match="overlap"):
            decode(sample_images.tiff(fields, bytes(2_000_000)))


def test_a_large_valid_png_passes_the_check_of_its_data() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    data = encode(noise, "PNG")
    assert len(data) > png.UNCHECKED_BYTES
    np.testing.assert_array_equal(decode(data), noise)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_service_errors(data: bytes) -> None:
    with pytest.raises(ServiceError):
        decode(data)


@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_damaged_images_decode_to_what_their_header_says_or_raise_service_errors(
    kind: str, changes: list[tuple[float, int]], at_start: bool
) -> None:
    data = bytearray(KINDS[kind])
    reach = 64 if at_start else len(data)  # the first bytes hold sizes, so they are hit more often
    for place, value in changes:
        data[int(place * reach)] = value
    try:
        pixels = decode(bytes(data))
    except ServiceError:
        return
    header = image_header.read(bytes(data))
    assert sorted(pixels.shape[:2]) == sorted((header.width, header.height))
