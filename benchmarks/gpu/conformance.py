"""Part ``conformance``: the conformance suite on the device, in fp32 and fp16."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.gpu.plan import Plan, progress
from benchmarks.gpu.results import Row
from benchmarks.serving import ROOT
from darknet import load_network
from darknet.errors import DarknetError

SUITE = ("tests/darknet/engines/test_devices.py", "tests/darknet/engines/test_conformance.py")


def measure_conformance(plan: Plan) -> None:
    """Run the suite on each device; TensorRT is left out where it is not installed.

    Raises:
        SystemExit: a test failed.
    """
    failed = []
    for device in progress(plan.devices, "conformance"):
        problem = _problem(device) if device == "tensorrt" else ""
        row = Row("conformance", device, "pytest", note=problem) if problem else _run(device, plan)
        plan.results.put(row)
        failed += [device] if row.figures.get("failed") else []
    if failed:
        raise SystemExit(f"bench-gpu: the conformance suite failed on {', '.join(failed)}")


def _problem(device: str) -> str:
    """Return why a device cannot be used at all; empty: it can."""
    stem = ROOT / "models" / "blood-cells" / "blood-cells"
    cfg, weights, names = (stem.with_suffix(f".{kind}") for kind in ("cfg", "weights", "names"))
    try:
        load_network(
            cfg, weights, names, engine="onnxruntime", device=device, precision="fast"
        ).close()
    except DarknetError as error:
        return str(error)
    return ""


def _run(device: str, plan: Plan) -> Row:
    chosen = device if plan.on_gpu else ""
    environment = {**os.environ, "NVIDIA_TF32_OVERRIDE": "0", "YOLO_TEST_DEVICE": chosen}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *plan.pytest]
        command = [sys.executable, "-m", "pytest", *SUITE, *options]
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if not report.exists():
            raise SystemExit(f"bench-gpu: pytest failed:\n{run.stdout}{run.stderr}")
        figures, note = read_report(report)
    return Row("conformance", device, "pytest", figures=figures, note=note)


def read_report(report: Path) -> tuple[dict[str, float], str]:
    """Return how many tests passed, failed and were skipped, and the first failure."""
    figures = dict.fromkeys(("passed", "failed", "skipped"), 0.0)
    note = ""
    for case in ET.parse(report).iter("testcase"):
        problem = next((x for x in case if x.tag in ("failure", "error")), None)
        skipped = case.find("skipped") is not None
        figures["failed" if problem is not None else "skipped" if skipped else "passed"] += 1
        if problem is not None and not note:
            note = f"{case.get('name')}: {problem.get('message', '')[:200]}"
    return figures, note
