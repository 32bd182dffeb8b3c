"""Post-training quantisation of a Darknet model to int8 with NNCF.

NNCF, which only this module imports, computes the feature maps of typical images, chooses a value
range for each feature map and kernel, and corrects the biases by the average rounding error
(https://github.com/openvinotoolkit/nncf). It needs neither labels nor training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from darknet.cfg import InputSize
from darknet.detections import FloatArray
from darknet.engines.graph import check_input
from darknet.engines.openvino import import_openvino
from darknet.engines.quantized import QuantizedGraph, origin_of, quantized_path, write_quantized
from darknet.errors import DarknetError, EngineUnavailableError, QuantizationError
from darknet.hidden_imports import hidden
from darknet.model import Dialect, Model, NmsKind, Resize, RgbImage
from darknet.network import load_model
from darknet.onnx import build_onnx
from darknet.resize import check_image, resize_into

_TELEMETRY = "openvino_telemetry"


class Images(Protocol):
    """A sized iterable of images that may be iterated more than once, for example a list."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __iter__(self) -> Iterator[RgbImage]:
        """Yield uint8[height, width, 3] arrays, RGB, of any sizes."""


def quantize(
    cfg: str | Path,
    weights: str | Path,
    names: str | Path | Sequence[str],
    images: Images,
    *,
    dialect: Dialect = "alexeyab",
    resize: Resize | None = None,
    input_size: InputSize | None = None,
    use_map: bool = False,
    nms_kind: NmsKind | None = None,
) -> Path:
    """Quantize a model and write the int8 version beside the .weights file.

    NNCF prints a progress bar to standard output.

    Args:
        cfg: as for ``load_network``, like all others but ``images``; the same values are needed to
            load the int8 version.
        weights: the .weights file.
        names: a names list or .data file, or the names themselves.
        images: typical images of the model's use; a hundred are enough.
        dialect: the fork that the model was trained with.
        resize: how images are resized to the network's input.
        input_size: (width, height) of the network's input; each size has its own int8 version.
        use_map: YOLO9000 only.
        nms_kind: how the overlap of boxes is measured.

    Returns:
        Path of the file, which ``load_network`` loads with ``precision="int8"``.

    Raises:
        ModelError: a file is wrong.
        ImageError: an element of ``images`` is not an RGB uint8 image.
        EngineUnavailableError: the package nncf or openvino is missing or broken.
        QuantizationError: there are no images, NNCF failed, or the file cannot be written.
    """
    cfg, weights = Path(cfg), Path(weights)
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
    origin = origin_of(cfg, weights, dialect, model.cfg.input_size)
    path = quantized_path(weights, model.cfg.input_size)
    write_quantized(path, quantize_model(model, images), origin)
    return path


def quantize_model(model: Model, images: Images) -> QuantizedGraph:
    """Quantize a model in memory; see ``quantize``."""
    check_input(model)
    if not images:
        raise QuantizationError("quantisation needs typical images of the model's use; got none")
    openvino, nncf = _import_both()
    try:
        graph = openvino.Core().read_model(build_onnx(model, batch=1))
        _fold_constants(graph)
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(images, lambda image: _input(model, image)),
            # Feature maps get a zero point, because the output of leaky is asymmetric.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
        )
        return _serialize(openvino, quantized)
    except DarknetError:
        raise
    except Exception as error:
        raise QuantizationError(f"nncf cannot quantize {model.cfg.source}: {error}") from error


def _input(model: Model, image: RgbImage) -> FloatArray:
    """Return an image as input of the network: float32[1, 3, height, width], 0..1."""
    check_image(image)
    shape = model.cfg.net.input
    values = np.empty((1, shape.channels, shape.height, shape.width), np.float32)
    resize_into(image, values[0], model.resize)
    return values


def _fold_constants(graph: Any) -> None:
    """Fold constants: NNCF would otherwise search among the reshapes of the weights."""
    from openvino import passes

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(graph)


def _serialize(openvino: Any, graph: Any) -> QuantizedGraph:
    """Return a graph in OpenVINO's format, which it writes to files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        openvino.save_model(graph, path, compress_to_fp16=False)
        return QuantizedGraph(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _import_both() -> tuple[Any, Any]:
    """Import OpenVINO and NNCF without their telemetry, which posts to an analytics service.

    NNCF works without the telemetry package, so that is hidden during the import.
    """
    try:
        openvino = import_openvino()  # first, because NNCF would import it with its telemetry
        with hidden(_TELEMETRY):
            import nncf
    except Exception as error:
        raise EngineUnavailableError(
            f"the package nncf cannot be used ({error}); pip install 'yolo-service[quantize]'"
        ) from error
    return openvino, nncf
