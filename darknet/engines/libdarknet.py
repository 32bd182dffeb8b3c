"""Darknet's own C library: the reference for the other engines.

It computes one image at a time, under one lock for the whole process.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darknet.cfg.layers import Head, Region
from darknet.decode import Decoder, above, diou_beta, suppress_in_image
from darknet.detections import Detections, FloatArray
from darknet.engines.cache import GraphCache
from darknet.engines.libdarknet_abi import (
    LOCK,
    Library,
    cuda_devices,
    floats_at,
    library_name,
    open_library,
)
from darknet.engines.libdarknet_faults import FAULTS, example_model
from darknet.engines.libdarknet_files import check_model, has_tree
from darknet.engines.libdarknet_trial import require_survival
from darknet.errors import DeviceUnavailableError, InferenceError, UnsupportedError
from darknet.model import Model, RgbImage, Thresholds
from darknet.resize import check_image, resize_into, undo_resize
from darknet.weights import Weights


def load(
    model: Model,
    *,
    library: Path | None,
    device: str | None,
    cache: GraphCache | None = None,
) -> LibdarknetEngine:
    """Load a model into the C library, which always computes in fp32.

    The first time, that is tried in a process of its own, which the C code may end.

    Args:
        model: the network.
        library: path of libdarknet.so; None: search for it.
        device: ``cpu``, ``cuda`` or ``cuda:1``; None: the kind that the library was built for.
        cache: keeps which models need not be tried again.

    Raises:
        EngineUnavailableError: the library is missing, or its layout is unknown.
        DeviceUnavailableError: the library was not built for the device, or it is missing.
        UnsupportedError: this library computes the model wrongly, or ends its process.
    """
    require_survival(model, library_name(library), device, cache)
    return load_here(model, library=library, device=device)


def load_here(model: Model, *, library: Path | None, device: str | None) -> LibdarknetEngine:
    """Load a model that this process survives; see ``load``."""
    c = open_library(library)
    number = _device_number(c, device)
    check_model(model, c.family, decodes=c.decodes_trees or not has_tree(model.cfg))
    _check_faults(model, c)
    return LibdarknetEngine(model, c, number)


def _check_faults(model: Model, library: Library) -> None:
    """Refuse a model with a layer that this build of the library computes wrongly."""
    for fault in FAULTS:
        for layer in filter(fault.concerns, model.cfg.layers):
            with LOCK:
                if not library.computes(fault):
                    raise layer.unsupported(
                        f"{fault.why}; {library.path} is refused for it; use engine openvino or "
                        "onnxruntime"
                    )


def faults_of(library: Library) -> list[str]:
    """Return the names of everything that a library accepts and computes wrongly."""
    found = []
    for fault in FAULTS:
        with suppress(UnsupportedError), LOCK:
            check_model(example_model(fault), library.family, decodes=True)
            if not library.computes(fault):
                found.append(fault.what)
    return found


def _device_number(library: Library, device: str | None) -> int | None:
    """Return the index of a CUDA device, or None for the CPU."""
    kind, _, number = (device or ("cuda" if library.on_gpu else "cpu")).lower().partition(":")
    if kind == "cpu" and not number and not library.on_gpu:
        return None
    if kind == "cuda" and library.on_gpu and (number or "0").isdecimal():
        if (index := int(number or 0)) < (count := cuda_devices()):
            return index
        raise DeviceUnavailableError(f"device {device}: this machine has {count} CUDA devices")
    has = "cuda" if library.on_gpu else "cpu"
    raise DeviceUnavailableError(
        f"device {device}: {library.path} was built for {has} only; use device {has} or another "
        "build of libdarknet"
    )


class LibdarknetEngine:
    """An ``Engine`` of the C library."""

    name = "libdarknet"
    precision = "fp32"

    def __init__(self, model: Model, library: Library, device_number: int | None) -> None:
        self.device = "CPU" if device_number is None else f"CUDA:{device_number}"
        # Keeping the weights would double their memory.
        self._model = replace(model, weights=Weights(model.weights.header, ()))
        self._library = library
        heads = model.cfg.heads
        regions = [head for head in heads if isinstance(head, Region)]
        self._class_map = regions[-1].class_map if model.use_map and regions else ()
        self._diou_beta = diou_beta(model.cfg, model.dialect, model.nms_kind)
        self._c_suppresses = not library.by_anchor and (
            self._diou_beta is None or not library.is_pjreddie
        )
        by_anchor = library.is_pjreddie if regions else library.by_anchor
        self._order = _cells_first(heads) if by_anchor else None
        decodes = library.decodes_trees or not has_tree(model.cfg)
        self._decoder = None if decodes else Decoder(model)
        with LOCK:
            if device_number is not None:
                library.set_device(device_number)
            self._network = library.load(model, library.dialect, heads=decodes)
        self._closed = False

    def detect(self, images: Iterable[RgbImage], thresholds: Thresholds) -> list[Detections]:
        """Detect objects in one image after the other; see ``Engine``."""
        return list(map(functools.partial(self._detect, thresholds), images))

    def close(self) -> None:
        """Free the C network."""
        with LOCK:
            if not self._closed:
                self._library.free(self._network)
            self._closed = True

    def _detect(self, thresholds: Thresholds, image: RgbImage) -> Detections:
        check_image(image)
        height, width, _ = image.shape
        by_c = self._resized_by_c(height, width)
        planes = _planar(image) if by_c else self._resized(image)
        with LOCK:
            output = self._predict(planes, by_c)
            if self._decoder is not None:
                raw = floats_at(output, self._model.cfg.heads[-1].input)
                return self._decoder.decode([raw], (height, width), thresholds)
            boxes, scores = self._boxes_and_scores((width, height), by_c, thresholds)
        return self._to_detections(boxes, scores, (height, width), thresholds)

    def _resized_by_c(self, height: int, width: int) -> bool:
        """Return whether the C code resizes an image correctly.

        pjreddie's fork only letterboxes. For an extreme aspect ratio the C code rounds a side of a
        letterboxed image to 0 and divides by it.
        """
        net = self._model.cfg.net.input
        if self._model.resize == "stretch":
            return not self._library.is_pjreddie
        return height * net.width >= width and width * net.height >= height

    def _resized(self, image: RgbImage) -> FloatArray:
        planes = np.empty(self._model.cfg.net.input, np.float32)
        resize_into(image, planes, self._model.resize)
        return planes

    def _predict(self, planes: FloatArray, by_c: bool) -> int:
        if self._closed:
            raise InferenceError("the network was closed; load it again")
        if by_c:
            letterbox = self._model.resize == "letterbox"
            return self._library.predict_image(self._network, planes, letterbox=letterbox)
        return self._library.predict(self._network, planes)

    def _boxes_and_scores(
        self, size: tuple[int, int], by_c: bool, thresholds: Thresholds
    ) -> tuple[FloatArray, FloatArray]:
        """Return boxes in pixels of the image, and scores; see ``Library.detections``."""
        net, resize = self._model.cfg.net.input, self._model.resize
        target = size if by_c else (net.width, net.height)
        letterbox, classes = by_c and resize == "letterbox", len(self._model.names)
        if self._library.by_anchor:
            boxes, scores = self._library.every_candidate(
                self._network, target, letterbox=letterbox, classes=classes
            )
        else:
            boxes, scores = self._library.detections(
                self._network,
                target,
                thresholds if self._c_suppresses else replace(thresholds, nms=0),
                letterbox=letterbox,
                classes=classes,
                class_map=self._class_map,
                diou_beta=self._diou_beta,
            )
        if not by_c:
            unit: FloatArray = np.array((net.width, net.height) * 2, np.float32)
            boxes = undo_resize(
                np.divide(boxes, unit, dtype=np.float32),
                size[::-1],
                (net.height, net.width),
                resize,
            )
        return boxes, scores

    def _to_detections(
        self,
        boxes: FloatArray,
        scores: FloatArray,
        size: tuple[int, int],
        thresholds: Thresholds,
    ) -> Detections:
        """Return one row per box and class with a score, in the order of all engines."""
        if self._order is not None and len(self._order) == len(boxes):
            boxes, scores = boxes[self._order], scores[self._order]
        if self._c_suppresses:
            rows, columns = np.nonzero(scores)
            class_ids = columns.astype(np.int32)
            return Detections(boxes[rows], scores[rows, columns], class_ids, self._model.names)
        found = Detections(*above(boxes, scores, thresholds.threshold), self._model.names)
        return suppress_in_image(found, size, thresholds.nms, self._diou_beta)


def _planar(image: RgbImage) -> FloatArray:
    """Convert an image to float32[3, height, width], RGB, 0..1."""
    planes = np.ascontiguousarray(image[..., :3].transpose(2, 0, 1), np.float32)
    planes /= np.float32(255)
    return planes


def _cells_first(heads: Sequence[Head]) -> npt.NDArray[np.intp]:
    """Return indices that reorder candidates from anchor by anchor to cell by cell."""
    order, start = [], 0
    for head in heads:
        anchors, cells = len(head.anchors), head.input.height * head.input.width
        order.append(start + np.arange(anchors * cells).reshape(anchors, cells).T.ravel())
        start += anchors * cells
    return np.concatenate(order)
