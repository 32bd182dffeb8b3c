"""A small network and short training runs on rendered blood smears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from darknet.training.train import TrainOptions
from tests.support.smears import NAMES, write_smears

CFG = """
[net]
width=160
height=128
channels=3
batch=8
subdivisions={subdivisions}
learning_rate=0.002
burn_in=10
policy=sgdr
max_batches=100
mosaic=0
hue=.02
saturation=1.2
exposure=1.2
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=32
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=32
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=32
size=3
pad=1
activation=leaky
[convolutional]
filters=24
size=1
activation=linear
[yolo]
mask=0,1,2
anchors=10,10, 25,27, 45,45
classes=3
num=3
jitter=.1
ignore_thresh=.6
iou_loss=ciou
iou_normalizer=.07
"""
"""A small network that finds rendered cells after a minute."""

BATCH = 8


def options(
    folder: Path, *, images: int = 40, subdivisions: int = 1, **changes: Any
) -> TrainOptions:
    folder.mkdir(exist_ok=True)
    data, val = folder / "train.json", folder / "val.json"
    if not data.exists():
        write_smears(val, 20, seed=1000)
        write_smears(data, images)
    cfg = folder / "tiny.cfg"
    cfg.write_text(CFG.format(subdivisions=subdivisions), encoding="utf-8")
    own = TrainOptions(
        cfg=cfg,
        names=NAMES,
        output=folder / "run",
        data=[data],
        val=val,
        accelerator="cpu",
        progress=False,
        flip_vertical=True,
    )
    return replace(own, **changes)
