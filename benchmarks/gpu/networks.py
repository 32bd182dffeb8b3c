"""YOLOv3 and YOLOv4 as .cfg texts, so that their speed can be measured without a download.

The layers are those of the published files, from the papers (https://arxiv.org/abs/1804.02767,
https://arxiv.org/abs/2004.10934). The published .weights files fit them to the byte.
"""

from __future__ import annotations

CLASSES = 80
_HEAD_FILTERS = 3 * (5 + CLASSES)
_V3_ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
_V4_ANCHORS = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"


def yolov3_cfg(side: int = 416) -> str:
    """Return YOLOv3: Darknet-53 with three heads, for square inputs of ``side`` pixels."""
    net = _Network(side)
    net.conv(32, 3)
    stages = [_residual_stage(net, *stage) for stage in _DARKNET53]
    net.last = stages[-1]
    branch = _neck(net, 512, 6) - 1
    _head(net, "6,7,8", _V3_ANCHORS)
    for filters, source, mask in ((256, stages[3], "3,4,5"), (128, stages[2], "0,1,2")):
        net.route(branch)
        net.conv(filters, 1)
        net.route(net.add("upsample", stride=2), source)
        branch = _neck(net, filters, 6) - 1
        _head(net, mask, _V3_ANCHORS)
    return net.text()


def yolov4_cfg(side: int = 608) -> str:
    """Return YOLOv4: CSPDarknet-53, SPP and a path aggregation network, with three heads."""
    net = _Network(side)
    net.conv(32, 3, activation="mish")
    stages = [_csp_stage(net, *stage) for stage in _CSP_DARKNET53]
    _neck(net, 512, 3)
    middle = _pyramid_pooling(net)
    large = _merge_up(net, 256, stages[3])
    branch = _merge_up(net, 128, stages[2])
    net.conv(256, 3)
    _head(net, "0,1,2", _V4_ANCHORS, scale_x_y=1.2)
    for filters, source, mask, scale in ((256, large, "3,4,5", 1.1), (512, middle, "6,7,8", 1.05)):
        net.route(branch)
        net.conv(filters, 3, 2)
        net.route(net.last, source)
        branch = _neck(net, filters, 6) - 1
        _head(net, mask, _V4_ANCHORS, scale_x_y=scale)
    return net.text()


_DARKNET53 = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
"""Filters and residual blocks of each stage."""

_CSP_DARKNET53 = (
    (64, 64, 32, 1),
    (128, 64, 64, 2),
    (256, 128, 128, 8),
    (512, 256, 256, 8),
    (1024, 512, 512, 4),
)
"""Filters, filters of each part and of each bottleneck, and blocks of each stage."""


class _Network:
    """Sections of a .cfg; ``last`` is the index of the latest layer."""

    def __init__(self, side: int) -> None:
        self._sections = [f"[net]\nwidth={side}\nheight={side}\nchannels=3\n"]

    def add(self, kind: str, **options: object) -> int:
        lines = [f"[{kind}]", *(f"{key}={value}" for key, value in options.items())]
        self._sections.append("\n".join(lines) + "\n")
        self.last = len(self._sections) - 2
        return self.last

    def conv(self, filters: int, size: int, stride: int = 1, *, activation: str = "leaky") -> int:
        options = {"filters": filters, "size": size, "stride": stride, "pad": 1}
        return self.add("convolutional", batch_normalize=1, **options, activation=activation)

    def route(self, *layers: int) -> int:
        return self.add("route", layers=",".join(map(str, layers)))

    def text(self) -> str:
        return "\n".join(self._sections)


def _residual_stage(net: _Network, filters: int, blocks: int) -> int:
    net.conv(filters, 3, 2)
    for _ in range(blocks):
        net.conv(filters // 2, 1)
        net.conv(filters, 3)
        net.add("shortcut", **{"from": -3}, activation="linear")
    return net.last


def _csp_stage(net: _Network, filters: int, part: int, bottleneck: int, blocks: int) -> int:
    """Half of the features pass the residual blocks, the other half goes around them."""
    start = net.conv(filters, 3, 2, activation="mish")
    around = net.conv(part, 1, activation="mish")
    net.route(start)
    net.conv(part, 1, activation="mish")
    for _ in range(blocks):
        net.conv(bottleneck, 1, activation="mish")
        net.conv(part, 3, activation="mish")
        net.add("shortcut", **{"from": -3}, activation="linear")
    net.route(net.conv(part, 1, activation="mish"), around)
    return net.conv(filters, 1, activation="mish")


def _pyramid_pooling(net: _Network) -> int:
    """SPP: max pooling with three sizes side by side."""
    source, pooled = net.last, list[int]()
    for size in (5, 9, 13):
        if pooled:
            net.route(source)
        pooled.append(net.add("maxpool", stride=1, size=size))
    net.route(*reversed(pooled), source)
    return _neck(net, 512, 3)


def _merge_up(net: _Network, filters: int, source: int) -> int:
    """Enlarge the features and join those of an earlier stage."""
    net.conv(filters, 1)
    enlarged = net.add("upsample", stride=2)
    net.route(source)
    net.route(net.conv(filters, 1), enlarged)
    return _neck(net, filters, 5)


def _neck(net: _Network, filters: int, layers: int) -> int:
    """Convolutions of 1 x 1 and 3 x 3 in turns; the latter have twice the filters."""
    for number in range(layers):
        net.conv(filters, 1) if number % 2 == 0 else net.conv(2 * filters, 3)
    return net.last


def _head(net: _Network, mask: str, anchors: str, **options: object) -> None:
    sizes = {"filters": _HEAD_FILTERS, "size": 1, "stride": 1, "pad": 1}
    net.add("convolutional", **sizes, activation="linear")
    net.add("yolo", mask=mask, anchors=anchors, classes=CLASSES, num=9, **options)
