"""OpenVINO and ONNX Runtime around the same graph: answers, devices, threads, failures."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from darknet import load_network
from darknet.cfg import parse_cfg
from darknet.detections import Detections, FloatArray
from darknet.engines import onnxruntime as onnxruntime_engine
from darknet.engines import openvino as openvino_engine
from darknet.engines.graph import GraphEngine
from darknet.errors import (
    DeviceUnavailableError,
    EngineUnavailableError,
    ImageError,
    InferenceError,
    UnsupportedError,
)
from darknet.model import Model, Precision, RgbImage, Thresholds
from tests.support.networks import TINY, random_weights, write_model

LOADERS: dict[str, Callable[..., GraphEngine]] = {
    "openvino": openvino_engine.load,
    "onnxruntime": onnxruntime_engine.load,
}
EVERYTHING = Thresholds(threshold=0.03, nms=0)


def tiny(text: str = TINY) -> Model:
    cfg = parse_cfg(text)
    return Model(cfg, random_weights(cfg), ("cat", "dog"), "pjreddie", "letterbox")


def load(
    name: str,
    model: Model | None = None,
    *,
    device: str | None = None,
    precision: Precision = "fp32",
    streams: int | None = None,
) -> GraphEngine:
    return LOADERS[name](model or tiny(), device=device, precision=precision, streams=streams)


def noise(seed: int, height: int = 30, width: int = 50) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(found: Detections, expected: Detections, atol: float = 1e-6) -> None:
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, atol=atol)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1000 * atol)


@pytest.fixture(params=sorted(LOADERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(name: str) -> Iterator[GraphEngine]:
    engine = load(name)
    yield engine
    engine.close()


def test_says_what_it_is(name: str, engine: GraphEngine) -> None:
    assert (engine.name, engine.device, engine.precision) == (name, "CPU", "fp32")


def test_images_of_a_call_are_answered_in_order(engine: GraphEngine) -> None:
    images = [noise(0), noise(1, 96, 20), noise(2, 1, 1), noise(3)]
    alone = [engine.detect([image], EVERYTHING)[0] for image in images]
    together = engine.detect(images, EVERYTHING)
    assert len(together) == 4
    assert all(len(found) for found in together)
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_streams_change_no_answer(name: str, streams: int) -> None:
    images = [noise(seed) for seed in range(5)]
    with_streams = load(name, streams=streams).detect(images, EVERYTHING)
    for found, expected in zip(with_streams, load(name).detect(images, EVERYTHING), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_calls_that_overlap_get_the_answers_of_calls_that_do_not(name: str, threads: int) -> None:
    images = [noise(seed) for seed in range(60)]
    expected = load(name).detect(images, EVERYTHING)
    shared = load(name, streams=3)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda image: shared.detect([image], EVERYTHING)[0], images))
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_threads_do_not_disturb_each_other(engine: GraphEngine) -> None:
    images = [noise(seed) for seed in range(24)]
    expected = engine.detect(images, EVERYTHING)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: engine.detect([image], EVERYTHING)[0], images))
    for mine, other in zip(found, expected, strict=True):
        assert_same(mine, other)


def test_detections_outlive_the_next_call(engine: GraphEngine) -> None:
    (first,) = engine.detect([noise(0)], EVERYTHING)
    copy = Detections(first.boxes.copy(), first.scores.copy(), first.class_ids.copy(), first.names)
    engine.detect([noise(1)], EVERYTHING)
    assert_same(first, copy, atol=0)


def test_no_images_give_no_detections(engine: GraphEngine) -> None:
    assert engine.detect([], EVERYTHING) == []


def test_wrong_array_is_refused_before_anything_is_computed(engine: GraphEngine) -> None:
    with pytest.raises(ImageError, match="float64"):
        engine.detect([noise(0), np.zeros((4, 4, 3))], EVERYTHING)  # type: ignore[list-item] # the point


def test_closed_engine_says_so_and_may_be_closed_again(engine: GraphEngine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(InferenceError, match="closed"):
        engine.detect([noise(0)], EVERYTHING)


def test_closing_frees_the_buffers_of_threads_that_live_on(engine: GraphEngine) -> None:
    buffers: list[weakref.ref[object]] = []
    ready, done = threading.Event(), threading.Event()

    def work() -> None:
        engine.detect([noise(0)], EVERYTHING)
        buffers.append(weakref.ref(engine.runner.input()))
        ready.set()
        done.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(30)
    assert buffers[0]() is not None
    engine.close()
    assert buffers[0]() is None
    done.set()
    thread.join()


@pytest.mark.parametrize("device", ["GPU.7", "cuda", "CUDA:1", "tensorrt", "cpu:0", "toaster"])
def test_missing_device_is_an_error_that_lists_what_there_is(name: str, device: str) -> None:
    with pytest.raises(DeviceUnavailableError, match=f"(?i){device}.* it has .*cpu"):
        load(name, device=device)


def test_device_may_be_written_in_any_case(name: str) -> None:
    assert load(name, device="Cpu").device == "CPU"


def test_missing_package_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineUnavailableError, match=f"pip install {name}"):
        load(name)


def test_network_that_is_not_for_colour_images_is_refused(name: str) -> None:
    grey = tiny(TINY.replace("channels=3", "channels=1"))
    with pytest.raises(UnsupportedError, match="channels=1"):
        load(name, grey)


def test_fast_is_bf16_where_the_cpu_has_it_and_says_what_it_is() -> None:
    capabilities = (
        openvino_engine.import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    )
    fast = load("openvino", precision="fast")
    assert fast.precision == ("bf16" if "BF16" in capabilities else "fp32")
    exact = load("openvino").detect([noise(0)], EVERYTHING)[0].scores.max()
    assert fast.detect([noise(0)], EVERYTHING)[0].scores.max() == pytest.approx(exact, abs=0.05)


def test_fast_on_a_cpu_stays_fp32_with_onnxruntime_and_says_so() -> None:
    fast = load("onnxruntime", precision="fast")
    assert fast.precision == "fp32"
    assert_same(
        fast.detect([noise(0)], EVERYTHING)[0],
        load("onnxruntime").detect([noise(0)], EVERYTHING)[0],
        atol=0,
    )


def test_tensorrt_is_not_called_fp32_while_it_rounds_to_tf32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.raises(DeviceUnavailableError, match="NVIDIA_TF32_OVERRIDE=0"):
        onnxruntime_engine._check_tf32()
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    onnxruntime_engine._check_tf32()


@pytest.mark.parametrize("photo", ["dog", "eagle", "giraffe", "horses", "kite", "person"])
def test_both_runtimes_agree_on_real_photos(photo: str, xl: Path, darknet_data: Path) -> None:
    image = np.asarray(
        cv2.imread(str(darknet_data / "data" / f"{photo}.jpg"), cv2.IMREAD_COLOR_RGB), np.uint8
    )
    one, heads = detect_xl("onnxruntime", xl, image)
    other, other_heads = detect_xl("openvino", xl, image)
    for mine, others in zip(heads, other_heads, strict=True):
        np.testing.assert_allclose(mine, others, rtol=1e-4, atol=1e-4)
    assert len(one)
    assert_same(one, other, atol=1e-4)


def detect_xl(
    name: Literal["openvino", "onnxruntime"], xl: Path, image: RgbImage
) -> tuple[Detections, list[FloatArray]]:
    cfg, weights = xl / f"{xl.name}.cfg", xl / f"{xl.name}.weights"
    with load_network(cfg, weights, xl / "coco.names", engine=name) as network:
        (found,) = network.detect([image])
        assert isinstance(network.engine, GraphEngine)
        return found, [head.copy() for head in network.engine.runner.infer(1)[0]]


OBSERVER = """
import sys
seen = []
ways_out = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.system")
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(ways_out) else None)
import numpy as np
import darknet
import darknet.engines.{name}
assert "{name}" not in sys.modules, "loaded before it was asked for"
network = darknet.load_network("model.cfg", "model.weights", "model.names", engine="{name}")
network.detect([np.zeros((9, 9, 3), np.uint8)])
network.close()
assert "{name}" in sys.modules
print(seen)
"""


def test_nothing_is_sent_over_the_network(name: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    command = [sys.executable, "-c", OBSERVER.format(name=name)]
    root = str(Path(__file__).resolve().parents[3])
    result = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr
