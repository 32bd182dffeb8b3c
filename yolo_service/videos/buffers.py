"""A bounded number of images in buffers that are used again."""

from __future__ import annotations

import queue
import weakref

import numpy as np

from darknet.model import RgbImage


class Buffers:
    """Holds images, as many as fit into a number of bytes; who wants more waits for one to be free.

    A buffer is free when nothing refers to its image or to a part of it. Without buffers memory
    grows with time: the C library does not find the memory of freed frames again, because theirs
    begins at round addresses, while other threads allocate.

    Args:
        most_bytes: of all images.
        least: how many images there may be, however large they are.
    """

    def __init__(self, most_bytes: int, least: int) -> None:
        self._most_bytes, self._least, self._made = most_bytes, least, 0
        # Not a semaphore: a finalizer may run within any call, also within one of its own.
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()

    def hold(self, image: RgbImage) -> RgbImage:
        """Return a copy of an image, when there is memory for it; called by one thread.

        Args:
            image: uint8[height, width, 3].
        """
        buffer = self._take(image.nbytes)
        if len(buffer) != image.nbytes:  # a video may change its size
            buffer = bytearray(image.nbytes)
        array = np.frombuffer(buffer, np.uint8)
        # All arrays that are made of this one refer to its base, also when it is gone itself.
        weakref.finalize(array.base, self._free.put, buffer).atexit = False
        held = array.reshape(image.shape)
        held[:] = image
        return held

    def _take(self, size: int) -> bytearray:
        if self._free.empty() and self._made < max(self._least, self._most_bytes // size):
            self._made += 1
            return bytearray(size)
        return self._free.get()
