"""ONNX Runtime: batch sizes, GPU options and CPU threads; a CPU session stands in for a GPU's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from darknet import load_network
from darknet.cfg import InputSize, parse_cfg
from darknet.engines import onnxruntime as engine
from darknet.engines.cache import GraphCache
from darknet.engines.graph import GraphEngine
from darknet.errors import DeviceMemoryError, InferenceError
from darknet.model import Model, RgbImage, Thresholds
from darknet.network import Network
from tests.support.gpu import GpuRuntime, gpu_stand_in
from tests.support.networks import TINY, random_weights, write_model

EVERYTHING = Thresholds(threshold=0.03, nms=0)


@pytest.fixture
def runtime() -> Iterator[GpuRuntime]:
    with gpu_stand_in() as runtime:
        yield runtime


def model(seed: int = 0, size: InputSize | None = None) -> Model:
    cfg = parse_cfg(TINY, input_size=size)
    return Model(cfg, random_weights(cfg, seed), ("cat", "dog"), "pjreddie", "letterbox")


def load(
    device: str,
    *,
    cache: GraphCache | None = None,
    seed: int = 0,
    size: InputSize | None = None,
) -> GraphEngine:
    return engine.load(
        model(seed, size), device=device, precision="fp32", streams=None, cache=cache
    )


def noise(count: int) -> list[RgbImage]:
    random = np.random.default_rng(0)
    return list(random.integers(0, 256, (count, 30, 50, 3), np.uint8))


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_runs_every_batch_size_once_at_load_the_largest_first(
    runtime: GpuRuntime, device: str
) -> None:
    load(device).close()
    assert runtime.batches == [8, 4, 2, 1]


def test_a_cpu_is_not_warmed_up_and_runs_one_image_at_a_time(runtime: GpuRuntime) -> None:
    assert len(load("cpu").detect(noise(3), EVERYTHING)) == 3
    assert runtime.batches == [1, 1, 1]


@pytest.mark.parametrize(
    ("count", "batches"),
    [(1, [1]), (2, [2]), (3, [4]), (4, [4]), (5, [8]), (8, [8]), (9, [8, 1]), (22, [8, 8, 8])],
)
def test_images_are_padded_to_a_fixed_batch_size_and_answered_without_the_padding(
    runtime: GpuRuntime, count: int, batches: list[int]
) -> None:
    gpu, cpu = load("cuda"), load("cpu")
    gpu.detect(noise(8), EVERYTHING)  # so that the padding holds images of an earlier call
    runtime.batches.clear()
    found = gpu.detect(noise(count), EVERYTHING)
    assert runtime.batches == batches
    for one, expected in zip(found, cpu.detect(noise(count), EVERYTHING), strict=True):
        assert len(one)
        np.testing.assert_array_equal(one.class_ids, expected.class_ids)
        np.testing.assert_allclose(one.scores, expected.scores, atol=1e-6)


def test_a_gpu_that_fails_at_load_is_an_inference_error(runtime: GpuRuntime) -> None:
    runtime.error = RuntimeError("CUDA failure 2: out of memory")
    with pytest.raises(InferenceError, match="CUDA:0 failed: CUDA failure 2"):
        load("cuda")


@pytest.mark.parametrize(
    "message",
    [
        "CUDA failure 2: out of memory ; GPU=0",
        "BFCArena::AllocateRawInternal Available memory of 0 is smaller than requested bytes",
        "CUDNN_STATUS_ALLOC_FAILED",
    ],
)
@pytest.mark.parametrize(("size", "smaller"), [(None, "60x44"), ((32, 64), "28x60")])
def test_a_gpu_out_of_memory_names_the_setting_and_the_next_smaller_size(
    runtime: GpuRuntime,
    tmp_path: Path,
    message: str,
    size: InputSize | None,
    smaller: str,
) -> None:
    folder = write_model(tmp_path)
    files = [folder / f"model.{end}" for end in ("cfg", "weights", "names")]

    def load_on_gpu() -> Network:
        return load_network(*files, engine="onnxruntime", device="cuda", input_size=size)

    expected = f"next smaller input size is {smaller}, see YOLO_INPUT_SIZE"
    with load_on_gpu() as network:
        runtime.error = RuntimeError(message)
        with pytest.raises(DeviceMemoryError, match=expected):
            network.detect(noise(1))
    with pytest.raises(DeviceMemoryError, match=expected):
        load_on_gpu()


def test_a_gpu_out_of_memory_at_the_smallest_size_names_no_smaller_one(
    runtime: GpuRuntime, tmp_path: Path
) -> None:
    folder = write_model(tmp_path)
    files = [folder / f"model.{end}" for end in ("cfg", "weights", "names")]
    runtime.error = RuntimeError("CUDA failure 2: out of memory")
    with pytest.raises(DeviceMemoryError, match="4x4, its smallest input size"):
        load_network(*files, engine="onnxruntime", device="cuda", input_size=(4, 4))


def test_tensorrt_builds_one_engine_for_all_batch_sizes(runtime: GpuRuntime) -> None:
    load("tensorrt:1")
    (name, options), *others = runtime.providers
    assert name == "TensorrtExecutionProvider"
    assert options == {
        "device_id": "1",
        "trt_fp16_enable": "0",
        "trt_profile_min_shapes": "images:1x3x48x64",
        "trt_profile_opt_shapes": "images:8x3x48x64",
        "trt_profile_max_shapes": "images:8x3x48x64",
    }
    assert [name for name, _ in others] == ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_other_batch_sizes_than_the_devices_may_be_asked_for(runtime: GpuRuntime) -> None:
    sizes = (1, 16)
    options = {"precision": "fp32", "streams": None, "batch_sizes": sizes}
    gpu = engine.load(model(), device="tensorrt", **options)  # type: ignore[arg-type] # keywords
    assert runtime.batches == [16, 1]
    assert runtime.providers[0][1]["trt_profile_max_shapes"] == "images:16x3x48x64"
    assert len(gpu.detect(noise(17), EVERYTHING)) == 17
    assert runtime.batches == [16, 1, 16, 1]


def test_tensorrt_engines_are_cached_in_a_folder_per_graph_weights_and_size(
    runtime: GpuRuntime, tmp_path: Path
) -> None:
    """TensorRT's own names of cached engines depend on the layers only, not on the weights."""
    folders = []
    for seed, size in ((0, None), (1, None), (0, None), (0, (32, 32))):
        load("tensorrt", cache=GraphCache(tmp_path / "cache"), seed=seed, size=size)
        options = runtime.providers[0][1]
        assert options["trt_engine_cache_enable"] == "1"
        folders.append(Path(options["trt_engine_cache_path"]))
    assert folders[0] == folders[2]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() and folder.parent == tmp_path / "cache" for folder in folders)


def test_tensorrt_works_without_its_cache_if_the_folder_cannot_be_written_to(
    runtime: GpuRuntime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    load("tensorrt", cache=GraphCache(tmp_path / "file"))
    assert "trt_engine_cache_enable" not in runtime.providers[0][1]
    assert "nothing is kept for the next start" in caplog.text


@pytest.mark.parametrize(("streams", "threads"), [(None, 5), (1, 5), (2, 2), (9, 1)])
def test_threads_are_the_cpus_that_a_quota_allows_divided_among_streams(
    runtime: GpuRuntime, monkeypatch: pytest.MonkeyPatch, streams: int | None, threads: int
) -> None:
    monkeypatch.setattr(engine, "available_cpus", lambda: 5)
    engine.load(model(), device="cpu", precision="fp32", streams=streams)
    assert runtime.threads == threads
