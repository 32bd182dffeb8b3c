"""Post-training quantisation: a Darknet model whose convolutions compute in int8.

NNCF, the one place that imports it, looks at the feature maps of typical images, chooses a
range for each map and each kernel, and shifts the biases by the error that rounding makes on
average (https://github.com/openvinotoolkit/nncf). No labels and no training are needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from darknet.detections import FloatArray
from darknet.engines.graph import check_input
from darknet.engines.openvino import import_openvino
from darknet.engines.quantized import QuantizedGraph, origin_of, quantized_path, write_quantized
from darknet.errors import DarknetError, EngineUnavailableError, QuantizationError
from darknet.hidden_imports import hidden
from darknet.model import Dialect, Model, Resize, RgbImage
from darknet.network import load_model
from darknet.onnx import build_onnx
from darknet.resize import check_image, resize_into

_TELEMETRY = "openvino_telemetry"


class Images(Protocol):
    """Images that are gone through one by one, perhaps more than once; a list, for example."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __iter__(self) -> Iterator[RgbImage]:
        """Yield uint8[height, width, 3] arrays, red first, of any sizes."""
        ...


def quantize(
    cfg: str | Path,
    weights: str | Path,
    names: str | Path | Sequence[str],
    images: Images,
    *,
    dialect: Dialect = "alexeyab",
    resize: Resize | None = None,
    use_map: bool = False,
) -> Path:
    """Make the int8 version of a model and keep it beside the .weights file.

    While it works, NNCF draws a progress bar on standard output.

    Args:
        cfg: see ``load_network``, as ``weights``, ``names``, ``dialect``, ``resize`` and
            ``use_map``; they have to be the same when the version is loaded.
        weights: the .weights file.
        names: a names list or .data file, or the names themselves.
        images: such as the model will see; a hundred are plenty.
        dialect: whose arithmetic the model was trained with.
        resize: how images reach the network's size.
        use_map: YOLO9000 only.

    Returns:
        The file, which ``load_network`` finds with ``precision="int8"``.

    Raises:
        ModelError: a file is wrong.
        ImageError: one of ``images`` is no image.
        EngineUnavailableError: the package nncf or openvino is missing or broken.
        QuantizationError: there are no images, NNCF failed, or the file cannot be written.
    """
    cfg, weights = Path(cfg), Path(weights)
    origin = origin_of(cfg, weights, dialect)
    model = load_model(cfg, weights, names, dialect=dialect, resize=resize, use_map=use_map)
    path = quantized_path(weights)
    write_quantized(path, quantize_model(model, images), origin)
    return path


def quantize_model(model: Model, images: Images) -> QuantizedGraph:
    """Quantize a model in memory; see ``quantize``."""
    check_input(model)
    if not images:
        raise QuantizationError("quantisation needs images such as the model will see; got none")
    openvino, nncf = _import_both()
    try:
        graph = openvino.Core().read_model(build_onnx(model, batch=1))
        _fold_constants(graph)
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(images, lambda image: _input(model, image)),
            # Feature maps get a zero point, which the lopsided output of leaky needs.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
        )
        return _serialize(openvino, quantized)
    except DarknetError:
        raise
    except Exception as error:
        raise QuantizationError(f"nncf cannot quantize {model.cfg.source}: {error}") from error


def _input(model: Model, image: RgbImage) -> FloatArray:
    """Return an image as the network will see it: float32[1, 3, height, width], 0..1."""
    check_image(image)
    shape = model.cfg.net.input
    values = np.empty((1, shape.channels, shape.height, shape.width), np.float32)
    resize_into(image, values[0], model.resize)
    return values


def _fold_constants(graph: Any) -> None:
    """Compute what depends on no image: the weights' reshapes, among which NNCF would search."""
    from openvino import passes

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(graph)


def _serialize(openvino: Any, graph: Any) -> QuantizedGraph:
    """OpenVINO writes its format to files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        openvino.save_model(graph, path, compress_to_fp16=False)
        return QuantizedGraph(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _import_both() -> tuple[Any, Any]:
    """Import OpenVINO and NNCF without their telemetry, which posts to an analytics service.

    NNCF goes on where the package for it is missing, so it is hidden for the time of the import.

    Raises:
        EngineUnavailableError: the package is missing or broken.
    """
    try:
        openvino = import_openvino()  # first: NNCF would import it with its telemetry
        with hidden(_TELEMETRY):
            import nncf
    except Exception as error:
        raise EngineUnavailableError(
            f"the package nncf cannot be used ({error}); pip install 'yolo-service[quantize]'"
        ) from error
    return openvino, nncf
