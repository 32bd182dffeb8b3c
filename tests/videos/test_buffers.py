"""Images in buffers: as many as there may be, and never one in the place of another."""

from __future__ import annotations

import threading

import numpy as np

from darknet.model import RgbImage
from yolo_service.videos.buffers import Buffers

SECONDS = 20


def image(value: int, height: int = 4) -> RgbImage:
    return np.full((height, 6, 3), value, np.uint8)


def is_waiting(buffers: Buffers) -> bool:
    """Return whether the next image has to wait; if not, it is gone at once."""
    thread = threading.Thread(target=lambda: buffers.hold(image(99)), daemon=True)
    thread.start()
    thread.join(0.1)
    return thread.is_alive()


def test_there_are_no_more_than_fit() -> None:
    buffers = Buffers(3 * 72, 1)
    held = [buffers.hold(image(i)) for i in range(3)]
    assert is_waiting(buffers)
    assert [int(each[0, 0, 0]) for each in held] == [0, 1, 2]


def test_there_are_as_many_as_there_must_be_however_large_they_are() -> None:
    buffers = Buffers(1, 2)
    held = [buffers.hold(image(i)) for i in range(2)]
    assert is_waiting(buffers)
    held.pop()
    assert not is_waiting(Buffers(1, 2))


def test_a_buffer_is_used_again_when_its_image_is_gone() -> None:
    buffers = Buffers(72, 1)
    for value in range(100):
        assert (buffers.hold(image(value)) == value).all()


def test_a_part_of_an_image_keeps_its_buffer() -> None:
    buffers = Buffers(72, 1)
    part = buffers.hold(image(7))[1:3].transpose(1, 0, 2)[::2]
    assert is_waiting(buffers)
    assert (part == 7).all()


def test_images_may_have_several_sizes() -> None:
    buffers = Buffers(72, 1)
    for height in (4, 9, 2, 4):
        assert buffers.hold(image(height, height)).shape == (height, 6, 3)
