"""libdarknet through ctypes: where it is, which fork it is, and its struct of a detection.

Builds of Darknet differ in their functions, in the struct of a detection and in the formula of
batch normalisation, and have no version number. The exported symbols identify the fork. The rest is
measured: a network with known output is run, and its boxes and scores are searched for in the
memory that the library returns. A library whose layout is not found is refused.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Final

import numpy as np

from darknet.cfg.layers import Shape
from darknet.decode import MAX_CANDIDATES
from darknet.detections import FloatArray
from darknet.engines.libdarknet_faults import Fault, example_input, example_model, is_absent
from darknet.engines.libdarknet_files import MAP_SIZE, Family, check_memory, write_files
from darknet.engines.libdarknet_output import c_output_to_log
from darknet.engines.libdarknet_probe import INPUT_SIZE, Layout, find_layout, probe
from darknet.errors import DeviceUnavailableError, EngineUnavailableError
from darknet.model import Dialect, Model, Thresholds

LOCK: Final = RLock()
"""Held during every call, because the library keeps state in global variables."""
DEBIAN: Final = Path("/usr/lib/darknet/libdarknet.so")

_DIOU_NMS: Final = 2
"""Value of the enum NMS_KIND."""


class _Image(ctypes.Structure):
    """Darknet's ``image``, the same in every fork: planar float32, 0..1."""

    _fields_ = (
        ("w", ctypes.c_int),
        ("h", ctypes.c_int),
        ("c", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


class Library:
    """A loaded libdarknet; hold ``LOCK`` while calling any method.

    Attributes:
        path: path or name given to the dynamic loader.
        family: the fork it was built from.
        dialect: the dialect of its batch normalisation.
        on_gpu: whether it computes on CUDA devices.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._c = load_shared(path)
        self.family = self._family()
        self._declare()
        self.on_gpu = any(hasattr(self._c, f) for f in ("cuda_make_array", "cudaGetDeviceCount"))
        if self.on_gpu and not cuda_devices():
            raise DeviceUnavailableError(
                f"{path} was built for CUDA and this machine shows no CUDA device; "
                "use a CPU build of libdarknet or another engine"
            )
        self._item, self.dialect = self._measure()
        self._computes: dict[Fault, bool] = {}

    @property
    def is_pjreddie(self) -> bool:
        """Whether it is pjreddie's fork, whose functions take fewer arguments."""
        return self.family == "pjreddie"

    @property
    def by_anchor(self) -> bool:
        """Whether the candidates of a ``[yolo]`` head come anchor by anchor, not cell by cell."""
        return self.family == "hank-ai"

    @property
    def decodes_trees(self) -> bool:
        """Whether the library decodes class trees correctly.

        pjreddie's CPU code computes the softmax of siblings with a stride of the number of boxes;
        the correct stride is the number of cells.
        """
        return self.on_gpu or not self.is_pjreddie

    def computes(self, fault: Fault) -> bool:
        """Return whether the library does not have a fault; it is looked for once."""
        if fault not in self._computes:
            model = example_model(fault)
            network = self.load(model, self.dialect)
            output = floats_at(self.predict(network, example_input()), model.cfg.heads[-1].input)
            self.free(network)
            self._computes[fault] = is_absent(fault, output)
        return self._computes[fault]

    def set_device(self, number: int) -> None:
        """Select the CUDA device of later loads; the C code exits if it does not exist."""
        self._c.cuda_set_device(number)

    def load(self, model: Model, dialect: Dialect, *, heads: bool = True) -> int:
        """Load a model and return the address of the C network.

        Args:
            model: checked by ``check_model``.
            dialect: the dialect of batch normalisation to write the weights for.
            heads: include the heads.

        Raises:
            EngineUnavailableError: the temporary folder cannot be used, or loading failed.
            UnsupportedError: this machine has not enough memory.
        """
        check_memory(model.cfg)
        try:
            with tempfile.TemporaryDirectory(prefix="libdarknet-") as folder, c_output_to_log():
                files = map(os.fsencode, write_files(model, Path(folder), dialect, heads=heads))
                network: int | None = (
                    self._c.load_network(*files, 0)
                    if self.is_pjreddie
                    else self._c.load_network_custom(*files, 0, 1)
                )
        except OSError as error:
            raise EngineUnavailableError(
                f"cannot write the model for libdarknet to a temporary folder: {error}"
            ) from error
        if not network:
            raise EngineUnavailableError(f"{self.path} could not load {model.cfg.source}")
        return network

    def free(self, network: int) -> None:
        """Free a network."""
        (self._c.free_network if self.is_pjreddie else self._c.free_network_ptr)(network)

    def predict(self, network: int, planes: FloatArray) -> int:
        """Run a network on float32[3, h, w] of its own size; return the output's address."""
        run = self._c.network_predict if self.is_pjreddie else self._c.network_predict_ptr
        with c_output_to_log():
            address: int = run(network, planes.ctypes.data)
        return address

    def predict_image(self, network: int, planes: FloatArray, *, letterbox: bool) -> int:
        """Run a network on float32[3, h, w] of any size, resized by the C code."""
        channels, height, width = planes.shape
        image = _Image(width, height, channels, planes.ctypes.data)
        plain = self.is_pjreddie or not letterbox
        name = "network_predict_image" if plain else "network_predict_image_letterbox"
        with c_output_to_log():
            address: int = getattr(self._c, name)(network, image)
        return address

    def detections(
        self,
        network: int,
        size: tuple[int, int],
        thresholds: Thresholds,
        *,
        letterbox: bool,
        classes: int,
        class_map: tuple[int, ...] = (),
        diou_beta: float | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the detections of the last prediction.

        Args:
            network: from ``load``.
            size: width and height of the image, or of the network if the image was resized before.
            thresholds: see ``Thresholds``.
            letterbox: undo a letterbox.
            classes: number of classes; with ``class_map`` that of the map.
            class_map: nodes of a region's tree, at most ``MAP_SIZE``.
            diou_beta: exponent of DIoU NMS; None for IoU NMS.

        Returns:
            Boxes float32[n, 4] in pixels of ``size`` and scores float32[n, classes], 0 where not
            above the threshold or suppressed, in the C code's order of candidates.
        """
        limits = (thresholds.threshold, thresholds.hier_threshold)
        array, count = self._candidates(network, size, limits, letterbox, class_map)
        try:
            boxes, scores = self._boxes_and_scores(array, count, size, classes)
            _limit_candidates(scores)
            # NMS sorts the array, but does not move the scores that the items point to.
            self._suppress(array, count, classes, thresholds.nms, diou_beta)
            return boxes, np.array(scores, np.float32).reshape(count, classes)
        finally:
            self._c.free_detections(array, count)

    def every_candidate(
        self, network: int, size: tuple[int, int], *, letterbox: bool, classes: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return all boxes of the last prediction by ``[yolo]`` heads, whatever their scores.

        Returns:
            See ``detections``; without a threshold and without suppression.
        """
        array, count = self._candidates(network, size, (-1.0, 0.5), letterbox, ())
        try:
            boxes, scores = self._boxes_and_scores(array, count, size, classes)
            return boxes, np.array(scores, np.float32).reshape(count, classes)
        finally:
            self._c.free_detections(array, count)

    def _boxes_and_scores(
        self, array: int, count: int, size: tuple[int, int], classes: int
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Return the boxes in pixels, and the scores of each box in the library's memory."""
        items = np.frombuffer(ctypes.string_at(array, count * self._item.itemsize), self._item)
        boxes = items["box"] * np.array(size * 2, np.float32)
        return boxes, [_scores_at(prob, classes) for prob in items["prob"].tolist()]

    def _candidates(
        self,
        network: int,
        size: tuple[int, int],
        limits: tuple[float, float],
        letterbox: bool,
        class_map: tuple[int, ...],
        *,
        relative: bool = True,
    ) -> tuple[int, int]:
        """Return address and length of a new array of detections.

        ``limits`` are the threshold and the hier_threshold; boxes are in parts of the sides of the
        image if ``relative``, else in pixels.
        """
        nodes = (ctypes.c_int * MAP_SIZE)(*class_map) if class_map else None
        count = ctypes.c_int(0)
        array: int = self._c.get_network_boxes(
            network,
            *size,
            *limits,
            nodes,
            relative,
            ctypes.byref(count),
            *(() if self.is_pjreddie else (letterbox,)),
        )
        return array, count.value

    def _suppress(
        self, array: int, count: int, classes: int, nms: float, diou_beta: float | None
    ) -> None:
        if nms == 0:
            return
        if diou_beta is None:
            self._c.do_nms_sort(array, count, classes, nms)
        else:
            self._c.diounms_sort(array, count, classes, nms, _DIOU_NMS, diou_beta)

    def _family(self) -> Family:
        """Identify the fork by functions that only it has."""
        if hasattr(self._c, "darknet_load_neural_network"):
            return "hank-ai"
        return "alexeyab" if hasattr(self._c, "fuse_conv_batchnorm") else "pjreddie"

    def _declare(self) -> None:
        """Declare the argument and result types of the functions in use."""
        signatures = _signatures(self.family)
        if missing := [name for name in signatures if not hasattr(self._c, name)]:
            raise EngineUnavailableError(
                f"{self.path} is not a libdarknet that this engine supports: it looks like "
                f"{self.family}'s and does not export {', '.join(missing)}"
            )
        for name, (result, arguments) in signatures.items():
            function = getattr(self._c, name)
            function.restype, function.argtypes = result, arguments

    def _measure(self) -> Layout:
        """Find the struct of a detection and the dialect with a network of known output."""
        model = probe()
        network = self.load(model, model.dialect)
        width, height = INPUT_SIZE
        self.predict(network, np.zeros((3, height, width), np.float32))
        array, count = self._candidates(network, INPUT_SIZE, (0.0, 0.5), False, (), relative=False)
        layout = find_layout(array, count)
        self._c.free_detections(array, count)
        self.free(network)
        if layout is None:
            raise EngineUnavailableError(
                f"{self.path} ({self.family}'s source) answers a test network in a form that this "
                "engine does not support; use another build of libdarknet or another engine"
            )
        return layout


def _signatures(family: Family) -> dict[str, tuple[object, list[object]]]:
    """Return the result type and argument types of each function used of a fork."""
    pointer, number, real, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_float, ctypes.c_char_p
    boxes = [pointer, number, number, real, real, ctypes.POINTER(number), number, pointer]
    suppress = [pointer, number, number, real]
    common: dict[str, tuple[object, list[object]]] = {
        "network_predict_image": (pointer, [pointer, _Image]),
        "do_nms_sort": (None, [*suppress]),
        "free_detections": (None, [pointer, number]),
    }
    if family == "pjreddie":
        return common | {
            "load_network": (pointer, [text, text, number]),
            "network_predict": (pointer, [pointer, pointer]),
            "get_network_boxes": (pointer, [*boxes]),
            "free_network": (None, [pointer]),
        }
    return common | {
        "load_network_custom": (pointer, [text, text, number, number]),
        "network_predict_ptr": (pointer, [pointer, pointer]),
        "network_predict_image_letterbox": (pointer, [pointer, _Image]),
        "get_network_boxes": (pointer, [*boxes, number]),
        "diounms_sort": (None, [*suppress, number, real]),
        "free_network_ptr": (None, [pointer]),
    }


def floats_at(address: int, shape: Shape) -> FloatArray:
    """Return a copy of an array in the library's memory."""
    return np.frombuffer(ctypes.string_at(address, 4 * shape.size), np.float32).reshape(shape)


def _scores_at(address: int, length: int) -> FloatArray:
    """Return float32[length], a view of the library's memory."""
    return np.ctypeslib.as_array((ctypes.c_float * length).from_address(address))


def _limit_candidates(scores: Sequence[FloatArray]) -> None:
    """Set all but the highest ``MAX_CANDIDATES`` scores to 0; NMS of millions takes minutes."""
    if sum(map(np.count_nonzero, scores)) > MAX_CANDIDATES:
        every = np.concatenate(scores)
        least = np.partition(every, -MAX_CANDIDATES)[-MAX_CANDIDATES]
        for row in scores:
            row[row < least] = 0


@lru_cache(maxsize=8)
def open_library(path: Path | None) -> Library:
    """Load a libdarknet and find its fork and layout; later calls return the same object.

    Args:
        path: the file; None: Debian's path, then the search path of the dynamic loader.

    Raises:
        EngineUnavailableError: it is missing, cannot be loaded, or its layout is unknown.
        DeviceUnavailableError: it needs a CUDA device and there is none.
    """
    with LOCK:
        return Library(library_name(path))


def library_name(path: Path | None) -> str:
    """Return the path, or a name for the dynamic loader to search for."""
    if path is None and not DEBIAN.exists():
        return ctypes.util.find_library("darknet") or "libdarknet.so"
    return str((path or DEBIAN).absolute())


def cuda_devices() -> int:
    """Return the number of CUDA devices that the driver reports."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def load_shared(path: str) -> ctypes.CDLL:
    """Load a shared library in a temporary thread.

    Loading a library built with -Ofast sets flush-to-zero for subnormal numbers in the loading
    thread and in all threads that it starts later.
    """
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(ctypes.CDLL, path).result()
    except OSError as error:
        raise EngineUnavailableError(
            f"libdarknet cannot be loaded: {error}; install it (apt-get install darknet) or give "
            "the path of libdarknet.so"
        ) from error
