"""Checks of the machine, or of a container's limits: system, CPU, memory, GPU."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from darknet.engines.libdarknet_abi import cuda_devices
from darknet.limits import available_cpus, cpu_share, memory_limit
from yolo_service.doctor.finding import Finding
from yolo_service.settings import Settings

FEATURES = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16", "bf16"),
    "AMX": ("amx_bf16",),
    "NEON": ("asimd",),
}
"""Instruction sets that matter for speed, with their flags in /proc/cpuinfo on x86 and ARM."""

SMALL_MEMORY = 512_000_000
"""Bytes; a small model takes about 300 MB while it is served, and more while it is loaded."""

_CPUINFO = Path("/proc/cpuinfo")
_DRIVER = Path("/proc/driver/nvidia/version")


def system(_: Settings) -> list[Finding]:
    """Report the versions of the service, Python and the system."""
    libc = " ".join(platform.libc_ver()).strip() or "an unknown C library"
    what = f"yolo-service {version('yolo-service')}, Python {platform.python_version()}"
    return [Finding("system", "ok", f"{what}, {platform.system()} {platform.machine()}, {libc}")]


def cpu(settings: Settings) -> Iterator[Finding]:
    """Check the instruction sets that the engines use, and a container's share of the CPUs."""
    model, flags = read_cpuinfo(_CPUINFO)
    found = [name for name, wanted in FEATURES.items() if flags.intersection(wanted)]
    message = f"{available_cpus()} x {model}; {', '.join(found) or 'no vector instructions found'}"
    if not {"AVX2", "NEON"}.intersection(found):
        advice = "if this is a virtual machine, give it the host's CPU model"
        yield Finding("cpu", "warn", f"{message}; without AVX2 detection is slow", advice)
    else:
        has_bf16 = {"BF16", "AMX"}.intersection(found)
        gain = "computes in bf16 here" if has_bf16 else "gains nothing without BF16"
        yield Finding("cpu", "ok", f"{message}; precision=fast {gain}")
    if (share := cpu_share()) is not None:
        yield compare_workers(settings.workers, share, available_cpus())


def read_cpuinfo(path: Path) -> tuple[str, frozenset[str]]:
    """Read the model name and the flags of the first CPU; without the file no flags."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = [line.partition(":") for line in reversed(lines)]
    fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
    flags = fields.get("flags") or fields.get("features", "")
    model = fields.get("model name") or platform.machine() or "an unknown CPU"
    return model, frozenset(flags.split())


def compare_workers(workers: int, share: float, cpus: int) -> Finding:
    """Compare the number of workers with a container's CPUs; the default is one more than these."""
    message = f"the container may use {share:g} CPUs, with {workers} workers"
    if workers <= cpus + 1:
        return Finding("cpu share", "ok", message)
    advice = f"unset YOLO_WORKERS, which means {cpus + 1}, or give the container more CPUs"
    return Finding("cpu share", "warn", f"{message}: the kernel will pause them in turn", advice)


def memory(_: Settings) -> list[Finding]:
    """Check the memory limit of a container, else the memory of the machine."""
    limit = memory_limit()
    sizes = [size for size in (limit, _machine_memory()) if size is not None]
    if not sizes:
        return [Finding("memory", "ok", "unknown on this system")]
    size = min(sizes)
    message = f"{size / 1e9:.1f} GB " + ("without a limit" if limit is None else "is the limit")
    if size >= SMALL_MEMORY:
        return [Finding("memory", "ok", message)]
    advice = f"give it {SMALL_MEMORY / 1e6:.0f} MB or more, and large models more than that"
    return [Finding("memory", "warn", f"{message}; models may not fit", advice)]


def _machine_memory() -> int | None:
    """Return the bytes of physical memory; None on Windows, which has no sysconf."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gpu(settings: Settings) -> Iterator[Finding]:
    """Look for NVIDIA GPUs."""
    count = cuda_devices()
    wanted = (settings.device or "").lower().startswith(("cuda", "tensorrt"))
    if count:
        yield Finding("gpu", "ok", f"{count} CUDA device(s)")
    elif _DRIVER.exists():
        advice = "give the container the GPU (docker run --gpus all) and look at nvidia-smi"
        yield Finding(
            "gpu", "FAIL", "the NVIDIA driver is installed, but there is no device", advice
        )
    elif wanted:
        advice = "install the driver, start the container with --gpus all, or unset YOLO_DEVICE"
        message = f"YOLO_DEVICE is {settings.device}, and there is no NVIDIA driver"
        yield Finding("gpu", "FAIL", message, advice)
    else:
        yield Finding("gpu", "ok", "no NVIDIA driver, and none is needed")
