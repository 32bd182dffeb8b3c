"""The C library itself: where it is, whose it is, and how its detections lie in memory.

Builds of Darknet differ in their functions, in the struct of a detection and in the formula of a
batch normalisation, and none says its version. So the exported symbols tell the fork, and the rest
is measured: a network whose answers are known is run, and its boxes and scores are looked for in
the memory that comes back. What is not found is refused, never guessed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Final

import numpy as np
import numpy.typing as npt

from darknet.cfg import Cfg
from darknet.decode import MAX_CANDIDATES
from darknet.engines.libdarknet_files import MAP_SIZE, Family, memory_needed, write_files
from darknet.engines.libdarknet_probe import INPUT_SIZE, Layout, find_layout, probe
from darknet.errors import DeviceUnavailableError, EngineUnavailableError, UnsupportedError
from darknet.model import Dialect, Model, Thresholds

FloatArray = npt.NDArray[np.float32]

LOCK: Final = RLock()
"""Held around every call: the library keeps state in global variables."""
DEBIAN: Final = Path("/usr/lib/darknet/libdarknet.so")

_COMMON: Final = "network_predict_image get_network_boxes do_nms_sort free_detections".split()
_PJREDDIE: Final = [*_COMMON, *"load_network network_predict free_network".split()]
_LATER: Final = [
    *_COMMON,
    *"load_network_custom network_predict_ptr network_predict_image_letterbox".split(),
    *"diounms_sort free_network_ptr".split(),
]
"""Functions in use of pjreddie's fork, and of AlexeyAB's and hank-ai's."""
_DIOU_NMS: Final = 2
"""Of the enum NMS_KIND."""

_logger = logging.getLogger(__name__)


class _Image(ctypes.Structure):
    """Darknet's ``image``, the same in every fork: planar float32, 0..1."""

    _fields_ = (
        ("w", ctypes.c_int),
        ("h", ctypes.c_int),
        ("c", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


class Library:
    """A loaded libdarknet; ``LOCK`` is to be held around every method.

    Attributes:
        path: what the loader was given.
        family: whose source it was built from.
        dialect: whose batch normalisation it computes.
        on_gpu: it computes on CUDA devices.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._c = load_shared(path)
        self.family = self._family()
        self.on_gpu = any(hasattr(self._c, f) for f in ("cuda_make_array", "cudaGetDeviceCount"))
        if self.on_gpu and not cuda_devices():
            raise DeviceUnavailableError(
                f"{path} was built for CUDA and this machine shows no CUDA device; "
                "use a CPU build of libdarknet or another engine"
            )
        self._declare()
        self._item, self.dialect = self._measure()

    @property
    def is_pjreddie(self) -> bool:
        """Whether it is the original, whose functions take fewer arguments."""
        return self.family == "pjreddie"

    @property
    def decodes_trees(self) -> bool:
        """Whether classes in a tree come out right.

        pjreddie's CPU code takes the softmax of siblings over numbers that are as many floats
        apart as there are boxes, where those of one box are as many apart as there are cells.
        """
        return self.on_gpu or not self.is_pjreddie

    def set_device(self, number: int) -> None:
        """Load what follows on a CUDA device, which must exist: the C code exits if not."""
        self._c.cuda_set_device(number)

    def load(self, model: Model, dialect: Dialect, *, heads: bool = True) -> int:
        """Load a model and return the C network.

        Args:
            model: checked by ``check_model``.
            dialect: whose batch normalisation to write the weights for.
            heads: load the heads, too.

        Raises:
            EngineUnavailableError: the temporary folder cannot be used, or loading failed.
            UnsupportedError: this machine does not have the memory.
        """
        _check_memory(model.cfg)
        try:
            with tempfile.TemporaryDirectory(prefix="libdarknet-") as folder, _quiet():
                cfg, weights = map(
                    os.fsencode, write_files(model, Path(folder), dialect, heads=heads)
                )
                network: int | None = (
                    self._c.load_network(cfg, weights, 0)
                    if self.is_pjreddie
                    else self._c.load_network_custom(cfg, weights, 0, 1)
                )
        except OSError as error:
            raise EngineUnavailableError(
                f"cannot write the model for libdarknet to a temporary folder: {error}"
            ) from error
        if not network:
            raise EngineUnavailableError(f"{self.path} could not load {model.cfg.source}")
        return network

    def free(self, network: int) -> None:
        """Give a network's memory back."""
        (self._c.free_network if self.is_pjreddie else self._c.free_network_ptr)(network)

    def predict(self, network: int, planes: FloatArray) -> int:
        """Run a network on float32[3, h, w] of its own size; return the output's address."""
        run = self._c.network_predict if self.is_pjreddie else self._c.network_predict_ptr
        address: int = run(network, planes.ctypes.data)
        return address

    def predict_image(self, network: int, planes: FloatArray, *, letterbox: bool) -> int:
        """Run a network on float32[3, h, w] of any size, resized by the C code."""
        channels, height, width = planes.shape
        image = _Image(width, height, channels, planes.ctypes.data)
        plain = self.is_pjreddie or not letterbox
        name = "network_predict_image" if plain else "network_predict_image_letterbox"
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
        """Return what the last prediction found.

        Args:
            network: from ``load``.
            size: width and height of the image, or of the network if it was resized before.
            thresholds: see ``Thresholds``.
            letterbox: the image was letterboxed, and this is to be undone.
            classes: number of classes; with ``class_map`` that of the map.
            class_map: nodes of a region's tree, at most ``MAP_SIZE``.
            diou_beta: exponent of DIoU suppression; None for the usual one.

        Returns:
            Boxes float32[n, 4] in pixels of ``size`` and scores float32[n, classes], 0 where not
            above the threshold or suppressed, in the C code's order of candidates.
        """
        array, count = self._candidates(network, size, thresholds, letterbox, class_map)
        try:
            items = np.frombuffer(ctypes.string_at(array, count * self._item.itemsize), self._item)
            scores = [_row(prob, classes) for prob in items["prob"].tolist()]
            _bound(scores)
            # The suppression sorts the array, but an item's scores stay where they are.
            self._suppress(array, count, classes, thresholds.nms, diou_beta)
            return items["box"], np.array(scores, np.float32).reshape(count, classes)
        finally:
            self._c.free_detections(array, count)

    def _candidates(
        self,
        network: int,
        size: tuple[int, int],
        thresholds: Thresholds,
        letterbox: bool,
        class_map: tuple[int, ...],
    ) -> tuple[int, int]:
        """Return the address and the length of a new array of detections."""
        nodes = (ctypes.c_int * MAP_SIZE)(*class_map) if class_map else None
        count = ctypes.c_int(0)
        array: int = self._c.get_network_boxes(
            network,
            *size,
            thresholds.threshold,
            thresholds.hier_threshold,
            nodes,
            False,  # boxes in pixels, not in parts of the image
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
        """Tell the forks apart by functions that only they have."""
        family: Family = "pjreddie"
        if hasattr(self._c, "darknet_load_neural_network"):
            family = "hank-ai"
        elif hasattr(self._c, "fuse_conv_batchnorm"):
            family = "alexeyab"
        names = _PJREDDIE if family == "pjreddie" else _LATER
        if missing := [name for name in names if not hasattr(self._c, name)]:
            raise EngineUnavailableError(
                f"{self.path} is not a libdarknet that this engine knows: it looks like "
                f"{family}'s and does not export {', '.join(missing)}"
            )
        return family

    def _declare(self) -> None:
        """Tell ctypes the types of the functions in use."""
        pointer, number, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
        text = ctypes.c_char_p
        boxes = [pointer, number, number, real, real, ctypes.POINTER(number), number, pointer]
        suppress = [pointer, number, number, real]
        declared: dict[str, tuple[object, Sequence[object]]] = {
            "load_network": (pointer, [text, text, number]),
            "load_network_custom": (pointer, [text, text, number, number]),
            "network_predict": (pointer, [pointer, pointer]),
            "network_predict_ptr": (pointer, [pointer, pointer]),
            "network_predict_image": (pointer, [pointer, _Image]),
            "network_predict_image_letterbox": (pointer, [pointer, _Image]),
            "get_network_boxes": (pointer, boxes if self.is_pjreddie else [*boxes, number]),
            "do_nms_sort": (None, suppress),
            "diounms_sort": (None, [*suppress, number, real]),
            "free_detections": (None, [pointer, number]),
            "free_network": (None, [pointer]),
            "free_network_ptr": (None, [pointer]),
        }
        for name in _PJREDDIE if self.is_pjreddie else _LATER:
            function = getattr(self._c, name)
            function.restype, function.argtypes = declared[name]

    def _measure(self) -> Layout:
        """Ask a network with known answers."""
        model = probe()
        network = self.load(model, model.dialect)
        width, height = INPUT_SIZE
        self.predict(network, np.zeros((3, height, width), np.float32))
        array, count = self._candidates(network, INPUT_SIZE, Thresholds(0.0), False, ())
        layout = find_layout(array, count)
        self._c.free_detections(array, count)
        self.free(network)
        if layout is None:
            raise EngineUnavailableError(
                f"{self.path} ({self.family}'s source) answers a test network in a form that this "
                "engine does not know; use another build of libdarknet or another engine"
            )
        return layout


def _row(address: int, length: int) -> FloatArray:
    """Return float32[length], a view of the library's memory."""
    return np.ctypeslib.as_array((ctypes.c_float * length).from_address(address))


def _bound(scores: Sequence[FloatArray]) -> None:
    """Clear all but the best ``MAX_CANDIDATES``: the suppression takes minutes for millions."""
    if sum(map(np.count_nonzero, scores)) > MAX_CANDIDATES:
        every = np.concatenate(scores)
        least = np.partition(every, -MAX_CANDIDATES)[-MAX_CANDIDATES]
        for row in scores:
            row[row < least] = 0


@lru_cache(maxsize=8)
def open_library(path: Path | None) -> Library:
    """Load and measure a libdarknet, once.

    Args:
        path: the file; None to look where Debian puts it, then where the loader looks.

    Raises:
        EngineUnavailableError: it is missing, cannot be loaded or is of an unknown make.
        DeviceUnavailableError: it needs a CUDA device and there is none.
    """
    with LOCK:
        return Library(library_name(path))


def library_name(path: Path | None) -> str:
    """Return what the loader is asked for: a path, or a name if only the loader knows where."""
    if path is None and not DEBIAN.exists():
        return ctypes.util.find_library("darknet") or "libdarknet.so"
    return str((path or DEBIAN).absolute())


def cuda_devices() -> int:
    """Return how many CUDA devices the driver shows."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def load_shared(path: str) -> ctypes.CDLL:
    """Load a shared library, in a thread that ends with it.

    A library built with -Ofast makes the thread that loads it, and all that this one starts, take
    tiny numbers for 0: numpy's and everybody's.
    """
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(ctypes.CDLL, path).result()
    except OSError as error:
        raise EngineUnavailableError(
            f"libdarknet cannot be loaded: {error}; install it (apt-get install darknet) or give "
            "the path of libdarknet.so"
        ) from error


def _check_memory(cfg: Cfg) -> None:
    """Ask for a network's memory once and give it back: the C code exits where it gets none."""
    needed = memory_needed(cfg)
    try:
        mmap.mmap(-1, needed).close()
    except (OSError, OverflowError) as error:
        raise UnsupportedError(
            f"{cfg.source}: libdarknet needs about {needed / 1e9:.1f} GB for this network, which "
            "this machine does not give; use engine openvino or onnxruntime"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what the C code prints to the log, and with it what other threads print meanwhile."""
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryFile() as file:
        libc.fflush(None)
        saved = {number: os.dup(number) for number in (1, 2)}
        for number in saved:
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            libc.fflush(None)
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)
        file.seek(0)
        for line in file.read().decode(errors="replace").splitlines():
            _logger.debug("libdarknet: %s", line)
