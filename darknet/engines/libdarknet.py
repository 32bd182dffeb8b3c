"""Darknet's own C library: the reference that the other engines are held to.

It computes one picture at a time, on one thread, under one lock for the whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darknet.detections import Detections
from darknet.engines.base import Model, Precision, Resize, RgbImage, Thresholds
from darknet.engines.libdarknet_abi import LOCK, Library, cuda_devices, open_library
from darknet.engines.libdarknet_files import check_model
from darknet.errors import DeviceUnavailableError, InferenceError
from darknet.image import check_image, placement, resize_into
from darknet.layers import Region, Yolo

FloatArray = npt.NDArray[np.float32]


def load(
    model: Model, *, library: Path | None, device: str | None, precision: Precision
) -> LibdarknetEngine:
    """Load a model into the C library.

    Args:
        model: what to compute.
        library: path of libdarknet.so; None to look for it.
        device: ``cpu``, ``cuda`` or ``cuda:1``; None for what the library was built for.
        precision: the library computes in fp32, whatever is asked for; see the attribute.

    Raises:
        EngineUnavailableError: the library is missing or of an unknown make.
        DeviceUnavailableError: the library was not built for the device, or it is missing.
        UnsupportedError: this library would get the model wrong.
    """
    del precision
    c = open_library(library)
    number = _device_number(c, device)
    check_model(model, c.family)
    return LibdarknetEngine(model, c, number)


def _device_number(library: Library, device: str | None) -> int | None:
    """Return the number of a CUDA device, or None for the CPU."""
    kind, _, number = (device or ("cuda" if library.on_gpu else "cpu")).lower().partition(":")
    if kind == "cpu" and not number and not library.on_gpu:
        return None
    if kind == "cuda" and library.on_gpu and (number or "0").isdecimal():
        if (index := int(number or 0)) < (count := cuda_devices()):
            return index
        raise DeviceUnavailableError(f"device {device}: this machine has {count} CUDA devices")
    has = "cuda" if library.on_gpu else "cpu"
    raise DeviceUnavailableError(
        f"device {device}: {library.path} was built for {has} only; ask for device {has} or give "
        "another build of libdarknet"
    )


class LibdarknetEngine:
    """An engine as described by ``Engine``."""

    name = "libdarknet"
    precision = "fp32"

    def __init__(self, model: Model, library: Library, device_number: int | None) -> None:
        self.device = "CPU" if device_number is None else f"CUDA:{device_number}"
        self._model = model
        self._library = library
        head = model.cfg.heads[-1]
        self._class_map = head.class_map if model.use_map and isinstance(head, Region) else ()
        diou = isinstance(head, Yolo) and head.nms_kind == "diounms"
        self._diou_beta = head.beta_nms if isinstance(head, Yolo) and diou else None
        regions = [head for head in model.cfg.heads if isinstance(head, Region)]
        self._order = _cells_first(regions) if regions and library.is_pjreddie else None
        with LOCK:
            if device_number is not None:
                library.set_device(device_number)
            self._network: int | None = library.load(model, library.dialect)

    def detect(self, images: Sequence[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """See ``Engine``; pictures are computed one after the other."""
        for image in images:
            check_image(image)
        return [self._detect(image, thresholds) for image in images]

    def close(self) -> None:
        """Free the C network."""
        with LOCK:
            if self._network is not None:
                self._library.free(self._network)
                self._network = None

    def _detect(self, image: RgbImage, thresholds: Thresholds) -> Detections:
        boxes, scores = (self._ask if self._resized_by_c(image) else self._ask_resized)(
            image, thresholds
        )
        if self._order is not None:
            boxes, scores = boxes[self._order], scores[self._order]
        rows, class_ids = np.nonzero(scores)
        return Detections(
            boxes[rows], scores[rows, class_ids], class_ids.astype(np.int32), self._model.names
        )

    def _resized_by_c(self, image: RgbImage) -> bool:
        """Whether the C code resizes as the model asks, and not to nothing.

        pjreddie's fork only letterboxes. Of a picture that is much longer than wide, a letterbox
        leaves no pixel, and the C code divides by 0.
        """
        height, width, _ = image.shape
        net = self._model.cfg.net.input
        if self._model.resize == "stretch":
            return not self._library.is_pjreddie
        return bool(height * net.width >= width and width * net.height >= height)

    def _ask(self, image: RgbImage, thresholds: Thresholds) -> tuple[FloatArray, FloatArray]:
        """Return boxes in pixels and scores of a picture that the C code resizes."""
        picture = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
        picture /= np.float32(255)
        letterbox = self._model.resize == "letterbox"
        with LOCK:
            self._library.predict_image(self._open(), picture, letterbox)
            return self._found(image.shape[1::-1], thresholds, letterbox=letterbox)

    def _ask_resized(
        self, image: RgbImage, thresholds: Thresholds
    ) -> tuple[FloatArray, FloatArray]:
        """Return boxes in pixels and scores of a picture that we resize."""
        net, resize = self._model.cfg.net.input, self._model.resize
        picture = np.empty(net, np.float32)
        resize_into(image, picture, resize)
        with LOCK:
            self._library.predict(self._open(), picture)
            boxes, scores = self._found((net.width, net.height), thresholds, letterbox=False)
        return _undo_resize(boxes, image, (net.height, net.width), resize), scores

    def _found(
        self, size: tuple[int, int], thresholds: Thresholds, *, letterbox: bool
    ) -> tuple[FloatArray, FloatArray]:
        return self._library.detections(
            self._open(),
            size,
            thresholds,
            letterbox=letterbox,
            classes=len(self._model.names),
            class_map=self._class_map,
            diou_beta=self._diou_beta,
        )

    def _open(self) -> int:
        if self._network is None:
            raise InferenceError("the network was closed; load it again")
        return self._network


def _undo_resize(
    boxes: FloatArray, image: RgbImage, network: tuple[int, int], resize: Resize
) -> FloatArray:
    """Bring boxes from pixels of the network's input to pixels of the picture.

    As correct_yolo_boxes does, with half pixels of padding where the C code's letterbox, and
    ``placement``, has whole ones.
    """
    (net_height, net_width), (height, width) = network, image.shape[:2]
    place = placement((height, width), network, resize)
    offset = ((net_width - place.width) / 2, (net_height - place.height) / 2, 0, 0)
    scale = (width / place.width, height / place.height) * 2
    pixels: FloatArray = (boxes - np.array(offset, np.float32)) * np.array(scale, np.float32)
    return pixels


def _cells_first(heads: Sequence[Region]) -> npt.NDArray[np.intp]:
    """Return where the candidates are, cell by cell, if they come anchor by anchor."""
    order, start = [], 0
    for head in heads:
        anchors, cells = len(head.anchors), head.input.height * head.input.width
        order.append(start + np.arange(anchors * cells).reshape(anchors, cells).T.ravel())
        start += anchors * cells
    return np.concatenate(order)
