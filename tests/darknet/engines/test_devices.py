"""What the conformance suite asks of a GPU besides: its fixed batch sizes, and no work of the CPU.

By default a stand-in takes the GPU's place; ``YOLO_TEST_DEVICE`` names a real one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from darknet import load_network
from darknet.engines.graph import GraphEngine
from darknet.engines.onnxruntime import GPU_BATCH_SIZES, OnnxRuntimeRunner
from darknet.errors import DeviceUnavailableError
from darknet.network import Network
from tests.support.paths import ROOT
from tests.support.smears import render_smear
from tests.support.targets import TARGETS, Target, assert_agree, targets

DEVICES = [target for target in TARGETS if target.device]


@pytest.fixture(params=DEVICES, ids=str)
def target(request: pytest.FixtureRequest) -> Target:
    target: Target = request.param
    return target


def load(target: Target) -> Network:
    """Load the bundled model, which every machine has that has this repository."""
    stem = ROOT / "models" / "blood-cells" / "blood-cells"
    files = [stem.with_suffix(f".{end}") for end in ("cfg", "weights", "names")]
    with target.runtime():
        return load_network(*files, **target.arguments())


@pytest.fixture
def network(target: Target) -> Iterator[Network]:
    with load(target) as network:
        yield network


def runner_of(network: Network) -> OnnxRuntimeRunner:
    assert isinstance(network.engine, GraphEngine)
    assert isinstance(network.engine.runner, OnnxRuntimeRunner)
    return network.engine.runner


def test_no_convolution_is_left_to_the_cpu(network: Network, target: Target) -> None:
    """A stand-in leaves all of them to the CPU, which shows that this test can fail."""
    session = runner_of(network).session
    providers = {
        part.ep_name
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if node.op_type == "Conv"
    }
    if target.stand_in:
        assert providers == {"CPUExecutionProvider"}
    else:
        # TensorRT's engine is one node of its own, and has no operators of this name.
        assert providers <= set(session.get_providers()[:-1])


@pytest.mark.parametrize("count", [*GPU_BATCH_SIZES, 3, 7, 9, 17])
def test_batches_of_any_size_have_the_answers_of_the_cpu(
    network: Network, target: Target, count: int
) -> None:
    images = [render_smear(seed)[0] for seed in range(count)]
    with load(Target("onnxruntime")) as reference:
        expected = reference.detect(images)
    assert sum(map(len, expected)) > 2 * count
    for found, answer in zip(network.detect(images), expected, strict=True):
        assert_agree(found, answer, target.darknet)


@pytest.mark.parametrize("size", GPU_BATCH_SIZES)
def test_every_batch_size_computes_the_same_heads(
    network: Network, target: Target, size: int
) -> None:
    """The raw outputs of the first image, which thresholds and suppression do not hide."""
    runner = runner_of(network)
    runner.input()[:] = np.random.default_rng(0).integers(0, 256, runner.input().shape)
    with load(Target("onnxruntime")) as reference:
        image = runner_of(reference).input()
        image[:] = runner.input()[:1]
        (expected,) = runner_of(reference).infer(1)
    heads = runner.infer(size)[0]
    atol = 1e-3 if target.precision == "fp32" else 0.1
    for head, wanted in zip(heads, expected, strict=True):
        np.testing.assert_allclose(head, wanted, rtol=atol, atol=atol)


def test_the_environment_chooses_the_devices() -> None:
    chosen = targets({"YOLO_TEST_DEVICE": "cuda:1,tensorrt"})
    assert [str(target) for target in chosen] == [
        "onnxruntime cuda:1 fp32",
        "onnxruntime cuda:1 fast",
        "onnxruntime tensorrt fp32",
        "onnxruntime tensorrt fast",
    ]
    assert [target.runs_on for target in chosen[1:3]] == ["CUDA:1", "TENSORRT:0"]
    assert not any(target.stand_in for target in chosen)


def test_a_device_that_is_missing_is_no_success() -> None:
    (missing, _) = targets({"YOLO_TEST_DEVICE": "cuda:99"})
    with pytest.raises(DeviceUnavailableError, match=r"CUDA:99|'cuda:99'"):
        load(missing)
