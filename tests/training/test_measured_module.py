"""The module that ``benchmarks.gpu`` measures computes what the engine computes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from benchmarks.gpu.models import BenchModel
from benchmarks.gpu.pytorch import module_of
from darknet.engines import onnxruntime
from darknet.resize import to_planes
from tests.support.networks import TINY


def test_folded_batch_normalisation_gives_the_heads_of_the_engine() -> None:
    model = BenchModel("tiny", TINY)
    engine = onnxruntime.load(model.load(), device="cpu", precision="fp32", streams=None)
    pixels = engine.runner.input()
    pixels[:] = np.random.default_rng(0).integers(0, 256, pixels.shape)
    planes = np.empty((1, 3, 48, 64), np.float32)
    to_planes(pixels[0], planes[0])
    (expected,) = engine.runner.infer(1)
    module = module_of(model)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    with torch.inference_mode():
        heads = module(torch.from_numpy(planes))
    for head, wanted in zip(heads, expected, strict=True):
        np.testing.assert_allclose(head[0].numpy(), wanted, rtol=1e-4, atol=1e-4)
