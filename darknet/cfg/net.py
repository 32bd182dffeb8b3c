"""The ``[net]`` section: the input's shape and the training settings."""

from __future__ import annotations

from dataclasses import dataclass

from darknet.cfg.layers import Shape
from darknet.cfg.sections import Section

MAX_INPUT = 1 << 28
"""Largest number of elements of an input image."""

_POLICIES = frozenset("constant exp poly random sgdr sig step steps".split())
_NET_TRAINING = frozenset(
    "adam adversarial_lr aspect augment_speed b1 b2 badlabels_reject_threshold "
    "badlabels_rejection_percentage blur center contrastive contrastive_jit_lr cutmix cycle "
    "dynamic_minibatch ema_alpha eps equidistant_point gaussian_noise init_learning_rate "
    "init_sequential_subdivisions label_smooth_eps letter_box_prob loss_scale max_chart_loss "
    "max_crop max_ratio mean_alpha min_crop min_ratio mixup mosaic_bound "
    "num_sigmas_reject_badlabels num_steps optimized_memory reject_threshold seen "
    "sequential_subdivisions sgdr_cycle show_receptive_field time_steps track try_fix_nan "
    "unsupervised use_cuda_graph weights_reject_freq workspace_size_limit_mb".split()
)


@dataclass(frozen=True, kw_only=True)
class Net:
    """The ``[net]`` section: shape of the input and training settings."""

    input: Shape
    letter_box: bool | None
    batch: int
    subdivisions: int
    learning_rate: float
    momentum: float
    decay: float
    burn_in: int
    power: float
    policy: str
    max_batches: int
    steps: tuple[int, ...]
    scales: tuple[float, ...]
    gamma: float
    saturation: float
    exposure: float
    hue: float
    flip: bool
    mosaic: bool


def build_net(section: Section) -> Net:
    """Read ``[net]``: the input's shape and the training settings."""
    height, width = section.integer("height", 0), section.integer("width", 0)
    channels, inputs = section.integer("channels", 0), section.integer("inputs", 0)
    section.known(_NET_TRAINING)
    section.check_numbers("angle")
    shape = Shape(channels, height, width) if height or width else Shape(inputs, 1, 1)
    if not 0 < shape.size <= MAX_INPUT:
        raise section.error(
            f"width, height and channels (or inputs) must be above 0 and their product at most "
            f"{MAX_INPUT}; found {width} x {height} x {channels}, inputs {inputs}"
        )
    letter_box = section.flag("letter_box") if "letter_box" in section.options else None
    return Net(
        input=shape,
        letter_box=letter_box,
        batch=section.integer("batch", 1, low=1),
        subdivisions=section.integer("subdivisions", 1, low=1),
        learning_rate=section.number("learning_rate", 0.001),
        momentum=section.number("momentum", 0.9),
        decay=section.number("decay", 0.0001),
        burn_in=section.integer("burn_in", 0),
        power=section.number("power", 4.0),
        policy=section.choice("policy", "constant", _POLICIES),
        max_batches=section.integer("max_batches", 0),
        steps=section.integers("steps"),
        scales=section.numbers("scales"),
        gamma=section.number("gamma", 1.0),
        saturation=section.number("saturation", 1.0),
        exposure=section.number("exposure", 1.0),
        hue=section.number("hue", 0.0),
        flip=section.flag("flip", default=True),
        mosaic=section.flag("mosaic"),
    )
