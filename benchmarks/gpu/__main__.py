"""One GPU: is it right, how fast is it, how fast could it be, and where JPEGs become the limit.

Usage: python -m benchmarks.gpu [PART ...] [--models NAME ...] [--cfg FILE ...] [--batches 1,2,...]
       [--seconds S] [--results FILE] [--docs FOLDER] [--provider cuda|cpu] [--pytest OPTIONS]

Parts are conformance, card, engines, torch, decode, library, http and report; all of them unless
some are named. Several parts run one after the other in processes of their own, and one that fails
does not stop the others. Every figure is saved at once, so parts, models and batch sizes may be
measured in several runs; ``report`` writes gpu.md and gpu.svg from what there is. ``--provider
cpu`` runs the same code with ONNX Runtime's CPU provider in the place of the GPU, to try it out.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.gpu.card import NoCardError, find_card
from benchmarks.gpu.models import NAMES
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.results import Results
from benchmarks.gpu.work import layers_of
from benchmarks.run import processor
from benchmarks.serving import ROOT
from darknet.engines.onnxruntime import device_kinds
from darknet.errors import DarknetError
from darknet.limits import available_cpus

PARTS = {
    "conformance": ("conformance", "measure_conformance"),
    "card": ("pytorch", "measure_card"),
    "engines": ("engines", "measure_engines"),
    "torch": ("pytorch", "measure_torch"),
    "decode": ("decoding", "measure_decoding"),
    "library": ("service", "measure_library"),
    "http": ("service", "measure_http"),
    "report": ("report", "write_report"),
}
"""The module and function of each part; a module is imported when its part runs."""

NEED_NO_GPU = frozenset({"decode", "report"})
PACKAGES = ("onnxruntime-gpu", "onnxruntime", "torch", "simplejpeg", "nvidia-nvimgcodec-cu13")


def main() -> int:
    """Measure; returns the exit code."""
    options = _options()
    parts = options.parts or list(PARTS)
    try:
        plan = _plan(options)
        if plan.on_gpu and not NEED_NO_GPU.issuperset(parts):
            _check_gpu(plan)
    except (NoCardError, DarknetError) as error:
        print(f"bench-gpu: {error}", file=sys.stderr)
        return 1
    if len(parts) > 1:
        return _run_each(parts, sys.argv[1 + len(options.parts) :])
    _note_the_machine(plan)
    module, function = PARTS[parts[0]]
    getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)(plan)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure one NVIDIA GPU.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--models", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--cfg", nargs="*", type=Path, default=[], help="further models")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--provider", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--pytest", default="", help="further options of the conformance suite")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; choose from {', '.join(PARTS)}")
    if sys.argv[1 : 1 + len(options.parts)] != options.parts:
        parser.error("the parts come first, then the options")
    if options.provider == "cpu" and options.docs.resolve() == ROOT / "docs":
        parser.error("figures of the stand-in are not published; give --docs another folder")
    return options


def _plan(options: argparse.Namespace) -> Plan:
    path = options.results or ROOT / "build" / "gpu" / f"{options.provider}.json"
    return Plan(
        provider=options.provider,
        names=tuple(options.models),
        cfgs=tuple(options.cfg),
        batches=tuple(sorted({int(word) for word in options.batches.split(",")})),
        seconds=options.seconds,
        docs=options.docs,
        pytest=tuple(shlex.split(options.pytest)),
        results=Results(path),
    )


def _check_gpu(plan: Plan) -> None:
    """Look for the GPU and for an ONNX Runtime that can use it.

    Raises:
        NoCardError: one of them is missing.
        EngineUnavailableError: ONNX Runtime is missing.
    """
    card = find_card()
    if "cuda" not in device_kinds():
        raise NoCardError(
            f"there is a GPU, {card.name}, but this ONNX Runtime was built without CUDA; "
            "'make bench-gpu' installs one that has it, or: "
            "pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    plan.results.about["card"] = str(card)


def _run_each(parts: list[str], options: list[str]) -> int:
    """Run each part in a process, which frees the GPU's memory; returns 1 if one failed."""
    codes = []
    for part in parts:
        command = [sys.executable, "-m", "benchmarks.gpu", part, *options]
        codes.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
        if codes[-1]:
            print(f"bench-gpu: the part {part} failed", file=sys.stderr)
    return int(any(codes))


def _note_the_machine(plan: Plan) -> None:
    about = plan.results.about
    about["provider"] = plan.provider
    about["date"] = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    about["processor"] = f"{available_cpus()} CPUs {processor()}"
    about["versions"] = f"Python {sys.version.split()[0]}, {', '.join(_versions())}"
    plan.results.models |= {model.name: layers_of(model.cfg) for model in plan.models()}
    plan.results.save()


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    raise SystemExit(main())
