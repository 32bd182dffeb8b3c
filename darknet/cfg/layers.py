"""The layers of a network as frozen dataclasses: the options of a .cfg and the shapes.

Shapes are (channels, height, width) of one image, without the batch.
Names and defaults are Darknet's own (parser.c of both forks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from darknet.cfg.tree import Tree
from darknet.errors import UnsupportedError

BATCH_NORM = ("scales", "rolling_mean", "rolling_variance")
"""The arrays of a batch normalisation in a .weights file, in the order of the file."""


class Shape(NamedTuple):
    """Channels, height and width of a feature map; (n, 1, 1) for a vector."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.channels * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Attributes of every layer.

    Attributes:
        kind: name of the section in a .cfg.
        index: position from 0; ``[net]`` is not counted.
        line: line of the section's header in the .cfg, from 1.
        input: shape of the previous layer's output (of the image for layer 0).
        output: shape of this layer's output.
        sources: indices of the layers read in addition to (route: instead of) the previous one.
    """

    kind: ClassVar[str] = "layer"
    index: int
    line: int
    input: Shape
    output: Shape
    sources: tuple[int, ...] = ()

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the float32 arrays in a .weights file by name, in the order of the file."""
        return {}

    @property
    def parameters(self) -> int:
        """Number of float32 values of this layer in a .weights file."""
        return sum(map(math.prod, self.arrays.values()))

    @property
    def flops(self) -> int:
        """Number of multiplications and additions for one image, counted as Darknet does."""
        return 0

    def unsupported(self, why: str) -> UnsupportedError:
        """Return an error with this layer's kind, index and line."""
        return UnsupportedError(
            f"layer {self.index} [{self.kind}] (line {self.line} of the .cfg) {why}"
        )


@dataclass(frozen=True, kw_only=True)
class Convolutional(Layer):
    """A convolution; ``padding`` is per side, before dilation (Darknet: padding * dilation)."""

    kind: ClassVar[str] = "convolutional"
    filters: int
    size: int
    stride_y: int
    stride_x: int
    padding: int
    dilation: int
    groups: int
    batch_normalize: bool
    activation: str

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Filters, channels of one group, height, width: the order in the .weights file."""
        return (self.filters, self.input.channels // self.groups, self.size, self.size)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        names = ("biases", *BATCH_NORM) if self.batch_normalize else ("biases",)
        return {**dict.fromkeys(names, (self.filters,)), "weights": self.weight_shape}

    @property
    def flops(self) -> int:
        return 2 * math.prod(self.weight_shape[1:]) * self.output.size


@dataclass(frozen=True, kw_only=True)
class Connected(Layer):
    """A fully connected layer over the flattened input."""

    kind: ClassVar[str] = "connected"
    batch_normalize: bool
    activation: str

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        n = self.output.size
        norm = dict.fromkeys(BATCH_NORM if self.batch_normalize else (), (n,))
        return {"biases": (n,), "weights": (n, self.input.size), **norm}

    @property
    def flops(self) -> int:
        return 2 * self.input.size * self.output.size


@dataclass(frozen=True, kw_only=True)
class Local(Layer):
    """A convolution with other weights at every position (YOLOv1)."""

    kind: ClassVar[str] = "local"
    filters: int
    size: int
    stride: int
    padding: int
    activation: str

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        n = self.output.size
        return {"biases": (n,), "weights": (n * self.input.channels * self.size**2,)}

    @property
    def flops(self) -> int:
        return 2 * self.input.channels * self.size**2 * self.output.size


@dataclass(frozen=True, kw_only=True)
class MaxPool(Layer):
    """Max pooling; ``padding`` is the sum of both sides, half of it, rounded down, before."""

    kind: ClassVar[str] = "maxpool"
    size: int
    stride_y: int
    stride_x: int
    padding: int


@dataclass(frozen=True, kw_only=True)
class AvgPool(Layer):
    """Global average pooling: the mean of each channel."""

    kind: ClassVar[str] = "avgpool"


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """Nearest-neighbour upsampling by ``stride`` in both directions, times ``scale``."""

    kind: ClassVar[str] = "upsample"
    stride: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """Concatenation of the channels of other layers; of each, the ``group_id``-th part."""

    kind: ClassVar[str] = "route"
    groups: int
    group_id: int


@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """The sum of the previous layer and others, then an activation."""

    kind: ClassVar[str] = "shortcut"
    activation: str

    @property
    def flops(self) -> int:
        return len(self.sources) * self.output.size


@dataclass(frozen=True, kw_only=True)
class WeightedShortcut(Shortcut):
    """A ``Shortcut`` that adds its inputs with trained weights.

    Attributes:
        weights_type: ``per_feature``, one weight per input, or ``per_channel``.
        weights_normalization: ``relu`` or ``softmax``: how the weights of the inputs are made
            positive; they are then divided by their sum + 0.0001.
    """

    weights_type: str
    weights_normalization: str

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        channels = self.output.channels if self.weights_type == "per_channel" else 1
        return {"weights": (1 + len(self.sources), channels)}

    @property
    def flops(self) -> int:
        return 2 * super().flops


@dataclass(frozen=True, kw_only=True)
class Reorg(Layer):
    """Space to depth in the element order of Darknet's first release."""

    kind: ClassVar[str] = "reorg"
    stride: int
    reverse: bool
    flatten: bool
    extra: int


@dataclass(frozen=True, kw_only=True)
class Reorg3d(Layer):
    """Space to depth: output channel = (dy * stride + dx) * channels + channel."""

    kind: ClassVar[str] = "reorg3d"
    stride: int
    reverse: bool


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Dropout, which is the identity at inference."""

    kind: ClassVar[str] = "dropout"
    probability: float


@dataclass(frozen=True, kw_only=True)
class ScaleChannels(Layer):
    """Product of another layer and this one's 1 x 1 input, channel by channel."""

    kind: ClassVar[str] = "scale_channels"
    activation: str


@dataclass(frozen=True, kw_only=True)
class Sam(Layer):
    """Product of another layer and this one's input, element by element."""

    kind: ClassVar[str] = "sam"
    activation: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Layer):
    """Softmax over ``groups`` equal parts, over the groups of a tree, or over channels."""

    kind: ClassVar[str] = "softmax"
    groups: int
    temperature: float
    spatial: bool
    tree: Tree | None


@dataclass(frozen=True, kw_only=True)
class Cost(Layer):
    """The loss of a classifier; the identity at inference."""

    kind: ClassVar[str] = "cost"


@dataclass(frozen=True, kw_only=True)
class Crop(Layer):
    """The centre of the input; in training a random part."""

    kind: ClassVar[str] = "crop"
    noadjust: bool


@dataclass(frozen=True, kw_only=True)
class Recurrent(Layer):
    """``[rnn]`` and ``[gru]``: parsed for their shapes; no engine here computes them."""

    kind: ClassVar[str] = "recurrent"

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        raise self.unsupported("has weights that this project does not read")

    @property
    def parameters(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class Detection(Layer):
    """YOLOv1's output: parsed for its shape; no engine here decodes it."""

    kind: ClassVar[str] = "detection"


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """Options of a ``[yolo]`` or ``[region]`` layer's loss; not used at inference."""

    ignore_thresh: float
    iou_thresh: float
    iou_loss: str
    iou_normalizer: float
    obj_normalizer: float
    cls_normalizer: float
    label_smooth_eps: float
    jitter: float
    resize: float


@dataclass(frozen=True, kw_only=True)
class Yolo(Layer):
    """Output of YOLOv3 and later.

    Attributes:
        classes: number of classes.
        anchors: (width, height) in pixels of the network's input, of this layer's masks only,
            in the order of the channels.
        mask: indices of these anchors in ``all_anchors``.
        all_anchors: all anchors of the .cfg.
        scale_x_y: factor on the centre's offset; above 1.0 centres may lie outside their cell.
        new_coords: sizes are (2x)^2 of an activated value instead of exp(x).
        nms_kind: ``default``, ``greedynms`` or ``diounms``.
        beta_nms: exponent of the distance term of DIoU NMS.
    """

    kind: ClassVar[str] = "yolo"
    objectness: ClassVar[int] = 4
    """Channel of the objectness; those of the classes follow."""
    classes: int
    anchors: tuple[tuple[float, float], ...]
    mask: tuple[int, ...]
    all_anchors: tuple[tuple[float, float], ...]
    scale_x_y: float
    new_coords: bool
    nms_kind: str
    beta_nms: float
    training: HeadTraining = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class GaussianYolo(Yolo):
    """Output of Gaussian YOLOv3, which predicts how uncertain each number of a box is.

    Attributes:
        yolo_point: what the centre's offset is of: ``center``, ``left_top`` or ``right_bottom`` of
            the box.
    """

    kind: ClassVar[str] = "Gaussian_yolo"
    objectness: ClassVar[int] = 8
    yolo_point: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Region(Layer):
    """Output of YOLOv2 and YOLO9000.

    Attributes:
        classes: number of classes (nodes of the tree for YOLO9000).
        anchors: (width, height) in cells of the output grid.
        softmax: activate class scores with a softmax.
        background: there is no objectness; a class for the background takes its channel.
        tree: YOLO9000's class tree, else None.
        class_map: tree node of each class of another names list, or ().
    """

    kind: ClassVar[str] = "region"
    objectness: ClassVar[int] = 4
    classes: int
    anchors: tuple[tuple[float, float], ...]
    softmax: bool
    background: bool
    tree: Tree | None
    class_map: tuple[int, ...]
    training: HeadTraining = field(repr=False)


Head = Yolo | Region
"""A layer whose input is decoded to boxes."""
