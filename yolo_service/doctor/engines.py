"""Checks of the engines: OpenVINO, ONNX Runtime and libdarknet."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from darknet import EngineUnavailableError
from darknet.engines.libdarknet_abi import cuda_devices, library_name
from yolo_service.doctor.apart import run_apart
from yolo_service.doctor.finding import Finding, Status
from yolo_service.settings import Settings

_GPU_ADVICE = "install the NVIDIA driver, or start the container with --gpus all"


def openvino(settings: Settings) -> list[Finding]:
    """List OpenVINO's devices."""
    from darknet.engines.openvino import import_openvino

    try:
        core = import_openvino().Core()
        devices = [f"{name} ({_full_name(core, name)})" for name in core.available_devices]
    except Exception as error:
        status: Status = "FAIL" if settings.engine in ("auto", "openvino") else "warn"
        return [Finding("openvino", status, f"unusable: {error}", "pip install openvino")]
    return [Finding("openvino", "ok", f"{_version('openvino')}: {', '.join(devices)}")]


def _full_name(core: Any, device: str) -> str:
    return str(core.get_property(device, "FULL_DEVICE_NAME")).strip()


def onnxruntime(settings: Settings) -> list[Finding]:
    """Compare the devices that ONNX Runtime was built for with those of the machine."""
    from darknet.engines.onnxruntime import device_kinds

    wanted = settings.engine == "onnxruntime"
    if not wanted and importlib.util.find_spec("onnxruntime") is None:
        return [Finding("onnxruntime", "ok", "not installed; it is only needed for NVIDIA GPUs")]
    try:
        kinds = device_kinds()
    except EngineUnavailableError as error:
        return [Finding("onnxruntime", "FAIL" if wanted else "warn", str(error))]
    return [compare(kinds, cuda_devices())]


def compare(kinds: list[str], gpus: int) -> Finding:
    """Compare the kinds of devices that ONNX Runtime was built for with the number of GPUs."""
    found = _version("onnxruntime-gpu", "onnxruntime")
    message = f"{found}, built for {', '.join(kinds)}"
    if "cuda" in kinds and not gpus:
        advice = f"{_GPU_ADVICE}; on a machine without a GPU: pip install onnxruntime instead"
        why = f"{message}: a GPU build, and this machine shows no CUDA device"
        return Finding("onnxruntime", "FAIL", why, advice)
    if gpus and "cuda" not in kinds:
        advice = "pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]'"
        return Finding("onnxruntime", "warn", f"{message}: it leaves the GPU idle", advice)
    return Finding("onnxruntime", "ok", message)


def libdarknet(settings: Settings) -> list[Finding]:
    """Look for libdarknet and the libraries that it needs, and identify its source."""
    wanted = settings.engine == "libdarknet" or settings.libdarknet is not None
    name = library_name(settings.libdarknet)
    path = Path(name)
    if not wanted and not path.exists() and name == "libdarknet.so":
        return [Finding("libdarknet", "ok", "not installed; the other engines do not need it")]
    if path.is_absolute() and not path.exists():
        advice = "fix YOLO_LIBDARKNET, or apt-get install darknet"
        return [Finding("libdarknet", "FAIL", f"there is no {name}", advice)]
    bad: Status = "FAIL" if wanted else "warn"
    if missing := missing_libraries(path):
        advice = f"install the packages that have them, or set LD_LIBRARY_PATH; see ldd {name}"
        return [Finding("libdarknet", bad, f"{name} needs {', '.join(missing)}", advice)]
    return [_probed(name, settings.libdarknet, bad)]


def missing_libraries(path: Path) -> list[str]:
    """Return the names of the shared libraries that a library needs and that are not found."""
    ldd = shutil.which("ldd")
    if ldd is None or not path.is_file():
        return []
    listed = subprocess.run([ldd, path], capture_output=True, text=True, check=False).stdout  # noqa: S603 - the owner's own library
    return [line.split()[0] for line in listed.splitlines() if line.endswith("not found")]


def _probed(name: str, path: Path | None, bad: Status) -> Finding:
    found = run_apart("library", str(path or ""))
    if error := found.get("error"):
        return Finding("libdarknet", bad, error, "use engine openvino or onnxruntime instead")
    message = f"{name}: {found['family']}'s source, built for {found['build']}"
    if faults := found["faults"]:
        advice = "build it by scripts/build-libdarknet, or use engine openvino or onnxruntime"
        why = f"{message}; it computes {faults} wrongly and is refused for models with it"
        return Finding("libdarknet", "warn", why, advice)
    return Finding("libdarknet", "ok", message)


def _version(*packages: str) -> str:
    """Return the version of the first of some packages that is installed."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown version"
