"""``yolo-service doctor`` with real faults: its findings and its exit code."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from darknet import limits
from darknet.engines.libdarknet_abi import cuda_devices
from tests.support.command import run
from tests.support.fixtures import ServerProcess
from tests.support.networks import write_model
from tests.support.other_forks import build_fork
from yolo_service.doctor import engines, machine, serving
from yolo_service.doctor.finding import Finding
from yolo_service.settings import Settings, load_settings

NEEDED = "load_network network_predict network_predict_image get_network_boxes do_nms_sort"
GPU_BUILD = [*f"{NEEDED} free_detections free_network cudaGetDeviceCount".split()]
"""The exports of pjreddie's library, and one that shows that it was linked with CUDA."""


@dataclass(frozen=True)
class Diagnosis:
    """What the command printed with --json."""

    code: int
    findings: dict[str, Finding]

    def failed(self, name: str, words: str) -> None:
        """Check that something fails, with these words, and the command with it."""
        finding = self.findings[name]
        assert finding.status == "FAIL"
        assert words in finding.message
        assert self.code == 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models folder with one good model."""
    write_model(tmp_path / "models" / "good")
    return tmp_path / "models"


def diagnose(folder: Path, **environment: str) -> Diagnosis:
    variables = {f"YOLO_{name.upper()}": value for name, value in environment.items()}
    answer = run("doctor", "--json", "--models-dir", folder, **{"YOLO_PORT": "0", **variables})
    assert "Traceback" not in answer.stderr, answer.stderr
    found = [Finding(**json.loads(line)) for line in answer.stdout.splitlines()]
    return Diagnosis(answer.returncode, {finding.name: finding for finding in found})


def failed(library: Path, words: str) -> None:
    """Check what is said about a C library that the settings name."""
    (finding,) = engines.libdarknet(load_settings(libdarknet=library))
    assert finding.status == "FAIL"
    assert words in finding.message


def build(folder: Path, source: str, *options: str | Path, name: str = "libdarknet.so") -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is missing")
    code, library = folder / f"{name}.c", folder / name
    code.write_text(source, encoding="ascii")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, code, *options], check=True)
    return library


def test_without_faults_the_exit_code_is_0_and_the_default_model_answers(folder: Path) -> None:
    found = diagnose(folder)
    assert found.code == 0, found
    assert {finding.status for finding in found.findings.values()} == {"ok"}
    assert "2 classes, 64 x 48" in found.findings["model good"].message
    assert "good answers in " in found.findings["default model"].message


def test_without_json_the_output_is_lines_with_advice_and_a_summary(folder: Path) -> None:
    shutil.rmtree(folder)
    variables = {"YOLO_PORT": "0", "YOLO_HOST": "0.0.0.0", "YOLO_MODEL": "none"}
    answer = run("doctor", "--models-dir", folder, **variables)
    lines = answer.stdout.splitlines()
    assert "warn access: everybody who can reach 0.0.0.0 may use it; no API key is set" in lines
    assert "      -> set YOLO_API_KEY" in lines
    assert any(line.startswith("FAIL default model: the service would not start") for line in lines)
    assert lines[-1].endswith("2 warnings, 1 failed")
    assert answer.returncode == 1


def test_a_bad_setting_is_one_readable_line(folder: Path) -> None:
    answer = run("doctor", YOLO_PORT="many")
    assert answer.returncode == 2
    assert answer.stderr.startswith("Error: YOLO_PORT: ")


def test_a_broken_model_is_a_failure_only_if_it_is_the_default(folder: Path) -> None:
    write_model(folder / "other", names=("cat",))
    found = diagnose(folder)
    assert found.findings["model other"].status == "warn"
    assert "the names list has 1" in found.findings["model other"].message
    assert found.code == 0
    diagnose(folder, model="other").failed("model other", "the names list has 1")


def test_a_models_folder_that_is_a_file_is_a_failure_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    found = diagnose(tmp_path / "file", model="yolov4_coco")
    found.failed("models", "file cannot be listed: Not a directory")
    assert found.findings["default model"].status == "FAIL"
    assert found.findings["models folder"].status == "warn"


def test_a_default_models_folder_is_made_by_the_first_pull(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (finding,) = serving.models_folder(load_settings())
    assert finding.status == "ok"
    assert finding.message.endswith("models will be made by the first pull")


@pytest.mark.parametrize(("workers", "status"), [(1, "ok"), (3, "ok"), (4, "warn")])
def test_more_workers_than_by_default_are_too_many_for_a_container(
    workers: int, status: str
) -> None:
    finding = machine.compare_workers(workers, share=1.5, cpus=2)
    assert finding.status == status
    assert ("unset YOLO_WORKERS, which means 3" in finding.advice) == (status == "warn")


def test_a_missing_device_is_a_failure(folder: Path) -> None:
    found = diagnose(folder, engine="openvino", device="GPU.7")
    found.failed("default model", "no device 'GPU.7'")


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a CUDA device")
def test_a_gpu_that_is_asked_for_and_missing_is_a_failure(folder: Path) -> None:
    found = diagnose(folder, device="cuda")
    found.failed("gpu", "there is no NVIDIA driver")
    found.failed("default model", "cuda")


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a CUDA device")
def test_a_gpu_build_of_libdarknet_without_a_gpu_is_a_failure(
    tmp_path: Path,
) -> None:
    library = build(tmp_path, "".join(f"void {name}(void) {{}}\n" for name in GPU_BUILD), "-w")
    failed(library, "was built for CUDA and this machine shows no CUDA device")


def test_a_gpu_build_of_onnxruntime_without_a_gpu_is_a_failure() -> None:
    finding = engines.compare(["cpu", "cuda", "tensorrt"], gpus=0)
    assert finding.status == "FAIL"
    assert "a GPU build, and this machine shows no CUDA device" in finding.message
    assert "--gpus all" in finding.advice
    assert engines.compare(["cpu"], gpus=1).status == "warn"
    assert engines.compare(["cpu", "cuda"], gpus=1).status == "ok"
    assert engines.compare(["cpu"], gpus=0).status == "ok"


def test_a_library_that_libdarknet_lacks_is_named(
    tmp_path: Path,
) -> None:
    needed = build(tmp_path, "int x(void) { return 1; }", name="libneeded.so")
    code = "int x(void); int y(void) { return x(); }"
    library = build(tmp_path, code, f"-L{tmp_path}", "-lneeded")
    needed.unlink()
    failed(library, "needs libneeded.so")


def test_a_libdarknet_that_ends_its_process_does_not_end_the_doctor(
    folder: Path, tmp_path: Path
) -> None:
    code = "#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { exit(3); }"
    found = diagnose(folder, libdarknet=str(build(tmp_path, code)), engine="libdarknet")
    found.failed("libdarknet", "ended with exit code 3")
    found.failed("default model", "ended with exit code 3")
    assert "access" in found.findings


def test_a_libdarknet_that_crashes_is_reported_with_its_signal(tmp_path: Path) -> None:
    code = "#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }"
    failed(build(tmp_path, code), "ended with SIGABRT")


def test_a_missing_libdarknet_is_a_failure_if_it_is_set(tmp_path: Path) -> None:
    failed(tmp_path / "nope.so", "there is no ")


def test_the_real_libdarknet_is_identified(libdarknet: Path) -> None:
    (finding,) = engines.libdarknet(load_settings(libdarknet=libdarknet))
    assert finding.status == "ok"
    assert "pjreddie's source, built for CPU" in finding.message


@pytest.mark.usefixtures("libdarknet")
def test_a_build_that_pools_wrongly_is_a_warning(tmp_path: Path) -> None:
    faulty, right = tmp_path / "faulty", tmp_path / "right"
    faulty.mkdir()
    right.mkdir()
    settings = load_settings(libdarknet=build_fork(faulty, "WRONG_MAXPOOL", "ZERO_RELU6"))
    (finding,) = engines.libdarknet(settings)
    assert finding.status == "warn"
    assert "computes max pooling with stride 1 and the activation relu6 wrongly" in finding.message
    (finding,) = engines.libdarknet(load_settings(libdarknet=build_fork(right)))
    assert finding.status == "ok"


def test_a_port_in_use_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        (finding,) = serving.port(Settings(port=number))
    assert finding.status == "FAIL"
    assert finding.message == f"cannot listen on 127.0.0.1:{number}: Address already in use"


def test_a_port_of_a_running_yolo_service_is_ok(server: ServerProcess) -> None:
    (finding,) = serving.port(Settings(port=server.port))
    assert finding.status == "ok"
    assert "has a yolo-service that is ready" in finding.message


def test_a_default_model_that_will_be_pulled_is_a_warning(tmp_path: Path) -> None:
    settings = load_settings(models_dir=tmp_path, model="yolov4_coco")
    (finding,) = serving.default_model(settings)
    assert finding.status == "warn"
    assert "yolo-service models pull yolov4_coco" in finding.advice


@pytest.mark.parametrize(
    ("host", "key", "status"),
    [
        ("127.0.0.1", None, "ok"),
        ("::1", None, "ok"),
        ("localhost", None, "ok"),
        ("0.0.0.0", None, "warn"),
        ("::", None, "warn"),
        ("example.org", None, "warn"),
        ("0.0.0.0", "key", "ok"),
    ],
)
def test_access_for_everybody_without_a_key_is_a_warning(
    host: str, key: str | None, status: str
) -> None:
    (finding,) = serving.access(load_settings(host=host, api_key=key))
    assert finding.status == status


def test_the_cpu_is_read_from_cpuinfo_of_x86_and_arm(tmp_path: Path) -> None:
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text("processor : 0\nmodel name\t: Fast CPU\nflags\t\t: fpu avx2\n\nprocessor : 1\n")
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert machine.read_cpuinfo(x86) == ("Fast CPU", frozenset({"fpu", "avx2"}))
    assert machine.read_cpuinfo(arm)[1] == frozenset({"fp", "asimd", "bf16"})
    assert machine.read_cpuinfo(tmp_path / "none")[1] == frozenset()


@pytest.mark.parametrize(
    ("files", "share", "limit"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "536870912"}, 1.5, 536870912),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "1000000",
            },
            0.5,
            1000000,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            None,
        ),
        ({}, None, None),
    ],
    ids=["v2", "v2 without limits", "v1", "v1 without limits", "none"],
)
def test_the_share_of_a_container_is_read_from_both_versions_of_control_groups(
    tmp_path: Path, files: dict[str, str], share: float | None, limit: int | None
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
    assert limits.cpu_share(tmp_path) == share
    assert limits.memory_limit(tmp_path) == limit
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert limits.memory_bytes(tmp_path) == min(machine, limit or machine)
    assert limits.available_cpus(tmp_path) >= 1
    if share is not None:
        assert limits.available_cpus(tmp_path) <= max(1, math.ceil(share))
