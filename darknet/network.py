"""Load a Darknet model from its files and detect objects in images."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from darknet.cfg import Cfg, InputSize, read_cfg
from darknet.cfg.layers import Region
from darknet.detections import Detections
from darknet.engines.cache import GraphCache
from darknet.engines.engine import Engine
from darknet.engines.memory import memory_explained
from darknet.engines.quantized import origin_of, quantized_path, read_quantized
from darknet.errors import CfgError, DeviceUnavailableError, EngineUnavailableError
from darknet.model import (
    Dialect,
    EngineName,
    Model,
    NmsKind,
    Precision,
    Resize,
    RgbImage,
    Thresholds,
)
from darknet.names import check_names, read_names
from darknet.weights import read_weights


class Network:
    """A loaded model; ``detect`` may be called from several threads at once.

    Attributes:
        cfg: the layers.
        names: class names.
        dialect: the fork whose formulas apply: ``alexeyab`` or ``pjreddie``.
        resize: how images are resized to the network's input: ``letterbox`` or ``stretch``.
        input_size: (width, height) of the network's input in pixels.
        engine: the engine, for measurements.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        # Keeping the model would keep its weights in memory beside the engine's own copy.
        self.cfg, self.names = model.cfg, model.names
        self.dialect, self.resize = model.dialect, model.resize
        shape = model.cfg.net.input
        self.input_size = (shape.width, shape.height)
        self.engine = engine

    @property
    def engine_name(self) -> str:
        """Name of the engine: ``libdarknet``, ``openvino`` or ``onnxruntime``."""
        return self.engine.name

    @property
    def device(self) -> str:
        """Name of the device, as the engine spells it, for example ``CPU`` or ``CUDA:0``."""
        return self.engine.device

    @property
    def precision(self) -> str:
        """The number type in use: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""
        return self.engine.precision

    def detect(
        self,
        images: Iterable[RgbImage],
        threshold: float = 0.25,
        nms: float = 0.45,
        hier_threshold: float = 0.5,
    ) -> list[Detections]:
        """Detect objects in images.

        Args:
            images: uint8[height, width, 3] arrays, RGB, of any sizes. Images of a generator are
                released one by one.
            threshold: confidence threshold, 0..1; confidences of detections are greater.
            nms: largest overlap (IoU, 0..1) of two boxes of one class; 0 keeps every box.
            hier_threshold: YOLO9000: smallest probability to descend in the class tree, 0..1.

        Returns:
            One ``Detections`` per image, in order; boxes in pixels of that image.

        Raises:
            ImageError: an array has another shape or type, or a threshold is out of range.
            InferenceError: the runtime failed.
        """
        with memory_explained(self.cfg):
            return self.engine.detect(images, Thresholds(threshold, nms, hier_threshold))

    def close(self) -> None:
        """Free the engine's memory."""
        self.engine.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_network(
    cfg: str | Path,
    weights: str | Path,
    names: str | Path | Sequence[str],
    *,
    engine: EngineName = "auto",
    device: str | None = None,
    precision: Precision = "fp32",
    dialect: Dialect = "alexeyab",
    resize: Resize | None = None,
    input_size: InputSize | None = None,
    use_map: bool = False,
    nms_kind: NmsKind | None = None,
    library: str | Path | None = None,
    streams: int | None = None,
    cache: str | Path | None = None,
) -> Network:
    """Load a Darknet model into an engine.

    Args:
        cfg: the .cfg file.
        weights: the .weights file.
        names: a names list or .data file, or the names themselves.
        engine: the engine; ``auto`` selects the fastest one on this machine.
        device: ``cpu``, ``cuda``, ``cuda:1``, or a device name of the engine; None: the engine's
            default. A missing device is an error; there is no fall-back.
        precision: ``fp32`` equals Darknet; ``fast`` is the number type that the hardware has
            natively; ``int8`` is the version made by ``darknet.quantization``, OpenVINO only.
        dialect: the fork that the model was trained with.
        resize: how images are resized to the network's input; None: as the .cfg says, else as the
            dialect does.
        input_size: (width, height) of the network's input in pixels, multiples of its stride; None:
            as the .cfg says.
        use_map: YOLO9000 only: return the classes of the .cfg's map instead of the tree's nodes.
        nms_kind: how the overlap of boxes is measured: ``cfg``, as its last head says, or ``iou``;
            None: ``cfg`` in the dialect alexeyab, ``iou`` in pjreddie's.
        library: path of libdarknet; None: where packages install it.
        streams: expected number of concurrent calls of ``detect``; None: 1, for low latency.
        cache: folder for compiled graphs of OpenVINO and engines of TensorRT, which the next
            load reuses, and for the digests of models that libdarknet survived; everybody with
            write access to it is trusted. None: no cache.

    Raises:
        ModelError: a file is wrong, the engine cannot compute this model exactly, or the int8
            version is missing, damaged or made from other files.
        EngineError: the engine or device is missing or failed; DeviceMemoryError names the next
            smaller input size.
    """
    model = load_model(
        cfg,
        weights,
        names,
        dialect=dialect,
        resize=resize,
        input_size=input_size,
        use_map=use_map,
        nms_kind=nms_kind,
    )
    name = _choose_engine(engine, device, precision)
    if name == "libdarknet":
        from darknet.engines import libdarknet

        path = Path(library) if library else None
        survivors = GraphCache(Path(cache)) if cache else None
        with memory_explained(model.cfg):
            engine_of = libdarknet.load(model, library=path, device=device, cache=survivors)
            return Network(model, engine_of)
    if name not in get_args(EngineName):
        raise EngineUnavailableError(
            f"engine {name!r}: expected one of {', '.join(get_args(EngineName))}"
        )
    runtime = importlib.import_module(f"darknet.engines.{name}")
    options: dict[str, Any] = {"device": device, "precision": precision, "streams": streams}
    if cache is not None:
        options["cache"] = GraphCache(Path(cache))
    if precision == "int8":
        weights, size = Path(weights), model.cfg.input_size
        origin = origin_of(Path(cfg), weights, dialect, size)
        options["quantized"] = read_quantized(quantized_path(weights, size), origin)
    with memory_explained(model.cfg):
        return Network(model, runtime.load(model, **options))


def load_model(
    cfg: str | Path,
    weights: str | Path,
    names: str | Path | Sequence[str],
    *,
    dialect: Dialect = "alexeyab",
    resize: Resize | None = None,
    input_size: InputSize | None = None,
    use_map: bool = False,
    nms_kind: NmsKind | None = None,
) -> Model:
    """Read and check the files of a model without loading an engine; see ``load_network``.

    Raises:
        ModelError: a file is wrong.
    """
    network = read_cfg(cfg, input_size=input_size)
    labels = read_names(names) if isinstance(names, str | Path) else tuple(names)
    check_names(labels, _label_count(network, use_map), network.source)
    resize = resize or default_resize(network, dialect)
    return Model(
        network, read_weights(weights, network), labels, dialect, resize, use_map, nms_kind
    )


def _label_count(cfg: Cfg, use_map: bool) -> int:
    classes = cfg.classes
    if not use_map:
        return classes
    maps = [head.class_map for head in cfg.heads if isinstance(head, Region)]
    if not maps or not maps[-1]:
        raise CfgError("use_map needs a [region] section with a map", source=cfg.source)
    return len(maps[-1])


def default_resize(cfg: Cfg, dialect: Dialect) -> Resize:
    """Return what the .cfg's letter_box says, else letterbox for pjreddie, stretch for AlexeyAB."""
    given = cfg.net.letter_box
    letter_box = dialect == "pjreddie" if given is None else given
    return "letterbox" if letter_box else "stretch"


def _choose_engine(engine: EngineName, device: str | None, precision: Precision) -> str:
    if precision != "int8":
        return _fastest_engine(device) if engine == "auto" else engine
    if engine not in ("auto", "openvino"):
        raise DeviceUnavailableError(
            f"engine {engine} does not compute in int8; use engine openvino, or precision fp32 "
            "or fast"
        )
    return "openvino"


def _fastest_engine(device: str | None) -> str:
    """Return the fastest installed engine: OpenVINO for CPUs, ONNX Runtime for NVIDIA GPUs."""
    nvidia = Path("/proc/driver/nvidia/version").exists()
    wants_gpu = nvidia if device is None else device.lower().startswith(("cuda", "tensorrt"))
    engines = ["onnxruntime", "openvino"] if wants_gpu else ["openvino", "onnxruntime"]
    return next((name for name in engines if importlib.util.find_spec(name)), "libdarknet")
