"""The machine, or the part of it that a container gives: system, CPU, memory, GPU."""

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
"""What decides about speed, and the flags of /proc/cpuinfo that tell it on x86 and ARM."""

SMALL_MEMORY = 512_000_000
"""A small model is served in about 300 MB, and needs more while it is loaded."""

_CPUINFO = Path("/proc/cpuinfo")
_DRIVER = Path("/proc/driver/nvidia/version")


def system(_: Settings) -> Iterator[Finding]:
    """Tell what runs where."""
    libc = " ".join(platform.libc_ver()).strip() or "an unknown C library"
    what = f"yolo-service {version('yolo-service')}, Python {platform.python_version()}"
    yield Finding("system", "ok", f"{what}, {platform.system()} {platform.machine()}, {libc}")


def cpu(settings: Settings) -> Iterator[Finding]:
    """Look at the instructions that the engines live on, and at a container's share."""
    model, flags = read_cpuinfo(_CPUINFO)
    found = [name for name, wanted in FEATURES.items() if flags.intersection(wanted)]
    message = f"{available_cpus()} x {model}; {', '.join(found) or 'no vector instructions known'}"
    if not {"AVX2", "NEON"}.intersection(found):
        advice = "if this is a virtual machine, give it the host's CPU model"
        yield Finding("cpu", "warn", f"{message}; without AVX2 detection is slow", advice)
    elif {"BF16", "AMX"}.intersection(found):
        yield Finding("cpu", "ok", f"{message}; precision=fast computes in bf16 here")
    else:
        yield Finding("cpu", "ok", f"{message}; precision=fast gains nothing without BF16")
    yield from _share(settings)


def read_cpuinfo(path: Path) -> tuple[str, frozenset[str]]:
    """Read the model and the flags of the first CPU; unknown and none where they are not told."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = [line.partition(":") for line in reversed(lines)]
    fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
    flags = fields.get("flags") or fields.get("features", "")
    model = fields.get("model name") or platform.machine() or "an unknown CPU"
    return model, frozenset(flags.split())


def _share(settings: Settings) -> Iterator[Finding]:
    share = cpu_share()
    if share is None:
        return
    message = f"the container may use {share:g} CPUs, with {settings.workers} workers"
    if settings.workers <= max(1.0, share):
        yield Finding("cpu share", "ok", message)
    else:
        advice = f"set YOLO_WORKERS={max(1, int(share))}, or give it more CPUs"
        yield Finding("cpu share", "warn", f"{message}: they will be stopped in turn", advice)


def memory(_: Settings) -> Iterator[Finding]:
    """Look at the memory that a container gives, else at the machine's."""
    limit = memory_limit()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = total if limit is None else min(limit, total)
    message = f"{size / 1e9:.1f} GB " + ("without a limit" if limit is None else "is the limit")
    if size >= SMALL_MEMORY:
        yield Finding("memory", "ok", message)
    else:
        advice = f"give it {SMALL_MEMORY / 1e6:.0f} MB or more, and large models more than that"
        yield Finding("memory", "warn", f"{message}; models may not fit", advice)


def gpu(settings: Settings) -> Iterator[Finding]:
    """Look for NVIDIA's GPUs."""
    count = cuda_devices()
    wanted = (settings.device or "").lower().startswith(("cuda", "tensorrt"))
    if count:
        yield Finding("gpu", "ok", f"{count} CUDA device(s)")
    elif _DRIVER.exists():
        advice = "give the container the GPU (docker run --gpus all) and look at nvidia-smi"
        yield Finding("gpu", "FAIL", "NVIDIA's driver is there, but shows no device", advice)
    elif wanted:
        advice = "install the driver, start the container with --gpus all, or unset YOLO_DEVICE"
        message = f"YOLO_DEVICE is {settings.device}, and there is no NVIDIA driver"
        yield Finding("gpu", "FAIL", message, advice)
    else:
        yield Finding("gpu", "ok", "no NVIDIA driver, and none asked for")
