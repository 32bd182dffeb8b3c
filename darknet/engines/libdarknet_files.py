"""Write the files that libdarknet loads, and refuse models that it computes wrongly.

The C code calls ``exit()`` for an invalid option and ignores unknown ones. So it never reads a
user's file: the parsed and checked layers are written to a new .cfg with explicit options.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from darknet.cfg import Cfg
from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.tree import Tree
from darknet.errors import EngineUnavailableError, UnsupportedError
from darknet.model import BATCH_NORM_EPSILON, Dialect, Model
from darknet.weights import LayerArrays, Weights, write_weights

Family = Literal["pjreddie", "alexeyab", "hank-ai"]
"""The fork of Darknet that a libdarknet was built from; hank-ai's continues AlexeyAB's."""

MAP_SIZE = 200
"""Number of nodes of a class map that both forks read, whatever its length."""

_PJREDDIE_ACTIVATIONS = frozenset(
    "elu hardtan leaky lhtan linear loggy logistic plse ramp relie relu selu stair tanh".split()
)
_OWN_LOOP = frozenset(("hard_mish", "mish", "swish"))
"""Activations that AlexeyAB's fork computes in some layers only; in others the output is 0."""
_LOST = "has an activation that it computes in convolutions only"

_Refusal = tuple[type[L.Layer], Callable[[Any], bool], str]
"""(layer type, condition for refusing the layer, reason for the message)."""

_PJREDDIE: tuple[_Refusal, ...] = (
    (L.Convolutional, lambda layer: layer.dilation > 1, "sets dilation"),
    (L.Convolutional, lambda layer: layer.stride_x != layer.stride_y, "strides unevenly"),
    (L.Convolutional, lambda layer: layer.size == 1 < layer.stride_y, "has size 1 and a stride"),
    (L.MaxPool, lambda layer: layer.stride_x != layer.stride_y, "strides unevenly"),
    (L.Route, lambda layer: layer.groups > 1, "sets groups"),
    (L.Shortcut, lambda layer: len(layer.sources) > 1, "adds several layers"),
    (L.WeightedShortcut, lambda _: True, "sets weights_type"),
    (L.Reorg3d, lambda _: True, "is not among its sections"),
    (L.ScaleChannels, lambda _: True, "is not among its sections"),
    (L.Sam, lambda _: True, "is not among its sections"),
    (L.GaussianYolo, lambda _: True, "is not among its sections"),
    (L.Yolo, lambda layer: layer.scale_x_y != 1, "sets scale_x_y"),
    (L.Yolo, lambda layer: layer.new_coords, "sets new_coords"),
    (
        L.Layer,
        lambda layer: getattr(layer, "activation", "linear") not in _PJREDDIE_ACTIVATIONS,
        "has an activation that is not among its own",
    ),
)
_ALEXEYAB: tuple[_Refusal, ...] = (
    (
        L.Reorg3d,
        lambda layer: layer.reverse and layer.input.channels % layer.stride**4,
        "is reversed with channels that stride^4 does not divide",
    ),
    (L.Reorg, lambda layer: layer.flatten or layer.extra > 0, "sets flatten or extra"),
    (L.ScaleChannels, lambda layer: layer.activation in _OWN_LOOP, _LOST),
    (L.Sam, lambda layer: layer.activation in _OWN_LOOP, _LOST),
    (L.Shortcut, lambda layer: layer.activation == "hard_mish", _LOST),
)
_REFUSALS: Mapping[Family, tuple[_Refusal, ...]] = {
    "pjreddie": _PJREDDIE,
    "alexeyab": _ALEXEYAB,
    "hank-ai": (
        *_ALEXEYAB,
        (L.Reorg, lambda _: True, "is no longer among its sections"),
        (L.Region, lambda _: True, "is a head in which it finds nothing"),
        (L.GaussianYolo, lambda _: True, "is a head in which it finds nothing"),
    ),
}


def has_tree(cfg: Cfg) -> bool:
    """Return whether a network has a class tree."""
    return any(isinstance(head, L.Region) and head.tree is not None for head in cfg.heads)


def check_model(model: Model, family: Family, *, decodes: bool) -> None:
    """Check that a fork computes, and if ``decodes`` also decodes, a model as its dialect requires.

    Raises:
        UnsupportedError: it does not; the message names the layer, its line and other engines.
    """
    cfg, last = model.cfg, model.cfg.layers[-1]
    _check_input(cfg, family)
    for layer in cfg.layers:
        if why := _refusal(layer, cfg, family):
            raise _refused(layer, why, family)
    if len({type(head) for head in cfg.heads}) > 1:
        raise _refused(last, "is a head of another kind than those before it", family)
    if last is not cfg.heads[-1]:
        raise _refused(last, "stands behind the last head", family)
    for head in cfg.heads:
        if isinstance(head, L.Region) and decodes:
            _check_region(head, model, family)


def _check_input(cfg: Cfg, family: Family) -> None:
    net = cfg.net.input
    if net.channels != 3:
        raise UnsupportedError(
            f"{cfg.source}: images have 3 channels, the network wants {net.channels}"
        )
    if family == "hank-ai" and (net.width % 32 or net.height % 32):
        raise UnsupportedError(
            f"{cfg.source}: the loaded libdarknet (hank-ai's source) ends its process for a width "
            "or height that is no multiple of 32; use engine openvino or onnxruntime"
        )


def _refusal(layer: L.Layer, cfg: Cfg, family: Family) -> str | None:
    if type(layer) not in _OPTIONS:
        return "is a section that engine libdarknet does not support"
    for kind, applies, why in _REFUSALS[family]:
        if isinstance(layer, kind) and applies(layer):
            return why
    if isinstance(layer, L.Shortcut) and family != "pjreddie":
        shapes = {cfg.layers[i].output[1:] for i in layer.sources}
        if shapes != {layer.output[1:]}:
            return "adds a layer of another height and width"
    return None


def _check_region(head: L.Region, model: Model, family: Family) -> None:
    """Check what the forks decode differently, and the fixed size of class maps."""
    same = head.softmax if head.tree is None else model.use_map
    dialect = "pjreddie" if family == "pjreddie" else "alexeyab"
    if (head.background or not same) and model.dialect != dialect:
        raise _refused(head, f"is to be decoded as in dialect {model.dialect}", family)
    if model.use_map:
        fits = head.classes >= MAP_SIZE >= len(head.class_map)
        if head.tree is None or not fits:
            raise _refused(head, f"has a map without a tree of {MAP_SIZE} or more classes", family)


def _refused(layer: L.Layer, why: str, family: Family) -> UnsupportedError:
    return layer.unsupported(
        f"{why}, which the loaded libdarknet ({family}'s source) does not compute; "
        "use engine openvino or onnxruntime"
    )


def check_memory(cfg: Cfg) -> None:
    """Allocate and free a network's memory, because the C code exits when it gets none.

    Raises:
        UnsupportedError: this machine has not enough.
    """
    needed = memory_needed(cfg)
    try:
        mmap.mmap(-1, needed).close()
    except (OSError, OverflowError) as error:
        raise UnsupportedError(
            f"{cfg.source}: libdarknet needs about {needed / 1e9:.1f} GB for this network, which "
            "this machine does not give; use engine openvino or onnxruntime"
        ) from error


def memory_needed(cfg: Cfg) -> int:
    """Return the approximate number of bytes that the C code allocates for a network."""
    convolutions = [layer for layer in cfg.layers if isinstance(layer, L.Convolutional)]
    outputs = sum(layer.output.size for layer in cfg.layers)
    parameters = sum(layer.parameters for layer in cfg.layers)
    workspace = max((_workspace(layer) for layer in convolutions), default=0)
    # It always allocates training's buffers: gradients of weights and outputs, normalised outputs.
    return 4 * (4 * outputs + 2 * parameters + workspace)


def _workspace(layer: L.Convolutional) -> int:
    """Return the number of values of a convolution's im2col buffer."""
    _, channels, height, width = layer.weight_shape
    return channels * height * width * layer.output.height * layer.output.width


def write_files(
    model: Model, folder: Path, dialect: Dialect, *, heads: bool = True
) -> tuple[Path, Path]:
    """Write a .cfg and a .weights file, and return their paths.

    Args:
        model: checked by ``check_model``.
        folder: an existing folder.
        dialect: the dialect of the library's batch normalisation.
        heads: include the heads; without them the output is the last head's input.

    Raises:
        EngineUnavailableError: the folder's path has white space, and there is a class tree.
        OSError: the folder cannot be written to.
    """
    cfg, weights = folder / "model.cfg", folder / "model.weights"
    layers = [_translate(arrays, model.dialect, dialect) for arrays in model.weights.layers]
    cfg.write_text("\n".join(_sections(model.cfg, folder, heads)), encoding="ascii")
    write_weights(weights, model.cfg, Weights(model.weights.header, tuple(layers)))
    return cfg, weights


def _translate(arrays: LayerArrays, source: Dialect, target: Dialect) -> LayerArrays:
    """Convert a batch normalisation to the library's dialect by correcting the scales.

    Correcting the variance is not possible: near 0, no variance makes the formulas equal.
    """
    if source == target or "scales" not in arrays:
        return arrays
    variance = arrays["rolling_variance"].astype(np.float64)
    (a, b), (target_a, target_b) = BATCH_NORM_EPSILON[source], BATCH_NORM_EPSILON[target]
    ratio = (np.sqrt(variance + target_a) + target_b) / (np.sqrt(variance + a) + b)
    return {**arrays, "scales": (arrays["scales"] * ratio).astype(np.float32)}


def _sections(cfg: Cfg, folder: Path, heads: bool) -> Iterator[str]:
    net = cfg.net.input
    yield f"[net]\nbatch=1\nsubdivisions=1\nwidth={net.width}\nheight={net.height}\nchannels=3"
    for layer in cfg.layers if heads else cfg.layers[:-1]:
        options = _options(layer)
        if isinstance(layer, L.Region) and layer.tree is not None:
            options["tree"] = _write_tree(layer.tree, folder / f"{layer.index}.tree")
        yield f"\n[{layer.kind}]"
        yield from (f"{name}={_text(value)}" for name, value in options.items())
    yield ""


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def _write_tree(tree: Tree, path: Path) -> Path:
    """Write a class tree without names, which the C code copies into 256 bytes without a check."""
    if len(str(path).split()) != 1:
        raise EngineUnavailableError(
            f"{path.parent}: Darknet removes white space from the paths of class trees; "
            "set TMPDIR to a folder without white space"
        )
    path.write_text("".join(f"n {parent}\n" for parent in tree.parent), encoding="ascii")
    return path


_OPTIONS: Mapping[type[L.Layer], str] = {
    L.Convolutional: "batch_normalize filters size stride_x stride_y padding dilation groups "
    "activation",
    L.MaxPool: "size stride_x stride_y padding",
    L.AvgPool: "",
    L.Upsample: "stride scale",
    L.Route: "groups group_id",
    L.Shortcut: "activation",
    L.WeightedShortcut: "activation weights_type weights_normalization",
    L.Reorg: "stride reverse flatten extra",
    L.Reorg3d: "stride reverse",
    L.Dropout: "probability",
    L.ScaleChannels: "activation",
    L.Sam: "activation",
    L.GaussianYolo: "classes mask scale_x_y nms_kind beta_nms yolo_point",
    L.Yolo: "classes mask scale_x_y new_coords nms_kind beta_nms",
    L.Region: "classes softmax background",
}
"""The attributes of each layer type that are options of the same name and determine its output."""


def _options(layer: L.Layer) -> dict[str, object]:
    options = {name: getattr(layer, name) for name in _OPTIONS[type(layer)].split()}
    if isinstance(layer, L.Convolutional | L.MaxPool):
        options["stride"] = layer.stride_y  # pjreddie's fork has a single stride
    if layer.sources:
        options["layers" if isinstance(layer, L.Route) else "from"] = layer.sources
    if isinstance(layer, L.Head):
        anchors = layer.all_anchors if isinstance(layer, L.Yolo) else layer.anchors
        options |= {"num": len(anchors), "anchors": tuple(chain.from_iterable(anchors))}
    return options
