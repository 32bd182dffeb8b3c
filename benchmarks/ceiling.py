"""The in-process ceiling: decoding and detecting in a tight loop, with nothing around it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

from darknet.limits import available_cpus
from darknet.model import RgbImage
from darknet.network import Network
from yolo_service import benchmark
from yolo_service.images.decode import DecodeOptions, decode_image
from yolo_service.settings import Settings


def decode_and_detect(
    network: Network, settings: Settings, *images: bytes
) -> Callable[[int], object]:
    """Return a function that decodes so many of some images, in turn, and detects in them.

    Args:
        network: detects.
        settings: of decoding.
        images: encoded.
    """
    each = itertools.cycle(images)
    options = DecodeOptions.for_network(network, settings.decode)

    def decoded() -> RgbImage:
        return decode_image(next(each), options, max_pixels=settings.max_pixels).pixels

    return lambda count: network.detect(decoded() for _ in range(count))


def ceiling(call: Callable[[int], object], seconds: float) -> float:
    """Return images per second with the best number of threads, and of images in a call."""
    return max(
        count * benchmark.throughput(partial(call, count), seconds / 2, threads)
        for count in (1, 3)
        for threads in range(1, available_cpus() + 3)
    )
