"""``python -m benchmarks.gpu`` without a GPU: the CPU, or a stand-in, takes its place."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu.conformance import read_report
from benchmarks.gpu.engines import measure_engines
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import TEMPLATE, figures
from benchmarks.gpu.results import Results, Row
from darknet.engines.onnxruntime import device_kinds
from tests.support.gpu import GpuRuntime, gpu_stand_in
from tests.support.networks import TINY
from tests.support.nvidia import write_nvidia_smi
from tests.support.paths import ROOT
from tests.support.real_parts import installed

H200 = "NVIDIA H200, 143771, 580.65.06, 1980, 700.00"


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cfg"
    path.write_text(TINY)
    return path


def run(
    folder: Path, *arguments: str, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the benchmark with results in a folder; ``path``: where nvidia-smi is looked for first.

    PyTorch is imported by the child process only, because gevent must not meet it in this one.
    """
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    command += ["--results", str(folder / "results.json"), "--docs", str(folder / "docs")]
    search = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": search},
        capture_output=True,
        text=True,
        check=False,
    )


def run_stand_in(folder: Path, cfg: Path, *parts: str) -> list[Row]:
    options = ["--provider", "cpu", "--models", "--cfg", str(cfg), "--batches", "1,2"]
    options += ["--seconds", "0.02", "--pytest=-k 'every_batch_size and cuda'"]
    answer = run(folder, *parts, *options)
    assert answer.returncode == 0, answer.stderr
    return [Row(**row) for row in json.loads((folder / "results.json").read_text())["rows"]]


def section(text: str, title: str) -> str:
    return text.partition(f"### {title}")[2].partition("\n### ")[0]


def test_the_stand_in_measures_engine_decoding_and_predictor_and_makes_the_report(
    tmp_path: Path, cfg: Path
) -> None:
    parts = ("conformance", "engines", "decode", "library", "report")
    rows = run_stand_in(tmp_path, cfg, *parts)
    assert {row.part for row in rows} == set(parts) - {"report"}
    engines = [row for row in rows if row.part == "engines"]
    assert [row.count for row in engines] == [1, 1, 2, 2]
    assert all(row.figures["rate"] > 0 and not row.note for row in engines)
    (conformance,) = (row for row in rows if row.part == "conformance")
    assert conformance.figures == {"passed": 8, "failed": 0, "skipped": 0}
    text = (tmp_path / "docs" / "gpu.md").read_text("utf-8")
    assert "no figures of a GPU" in text
    assert "| cpu | 8 | 0 | 0 |" in section(text, "The conformance suite")
    assert "ONNX Runtime, cpu, as the library calls it" in section(text, "Networks")
    assert "cores for tiny at" in section(text, "JPEGs")
    assert "nvImageCodec" in section(text, "What could not be measured")
    assert "python -m benchmarks.gpu http" in section(text, "HTTP")
    ET.parse(tmp_path / "docs" / "gpu.svg")


def test_the_stand_in_serves_over_http(tmp_path: Path, cfg: Path) -> None:
    installed("wrk", "wrk")
    rows = run_stand_in(tmp_path, cfg, "http")
    assert [row.count for row in rows] == [1, 8, 32, 64]
    assert all(row.figures["rate"] > 0 and not row.note for row in rows)


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_the_stand_in_measures_pytorch_and_the_limits(tmp_path: Path, cfg: Path) -> None:
    rows = run_stand_in(tmp_path, cfg, "card", "torch", "report")
    limits = {row.way: row.figures["most"] for row in rows if row.part == "card"}
    assert {"fp32", "fp16", "memory"} <= set(limits)
    assert min(limits.values()) > 0
    eager = [row for row in rows if row.part == "torch" and "eager" in row.way]
    assert {(row.way, row.count) for row in eager} == {
        (f"PyTorch, eager{layout}", count) for layout in ("", ", channels last") for count in (1, 2)
    }
    assert all(row.figures["rate"] > 0 for row in eager)
    compiled = [row for row in rows if row.part == "torch" and "compiled" in row.way]
    assert len(compiled) == 4
    assert all(bool(row.figures) != bool(row.note) for row in compiled)  # it needs a C++ compiler
    assert "%)" in section((tmp_path / "docs" / "gpu.md").read_text("utf-8"), "Networks")


NO_GPU = [
    ("", 9, "nvidia-smi failed"),
    ("", 0, "nvidia-smi lists none"),
]


@pytest.mark.parametrize(("answer", "code", "reason"), NO_GPU)
def test_a_machine_without_a_gpu_is_told_what_is_missing_and_what_to_do(
    tmp_path: Path, answer: str, code: int, reason: str
) -> None:
    ended = run(tmp_path, path=write_nvidia_smi(tmp_path / "bin", answer, code))
    assert ended.returncode == 1
    assert f"bench-gpu: no NVIDIA GPU: {reason}" in ended.stderr
    assert "--provider cpu" in ended.stderr
    assert not (tmp_path / "results.json").exists()


@pytest.mark.skipif("cuda" in device_kinds(), reason="this ONNX Runtime was built for GPUs")
def test_a_gpu_with_a_runtime_for_cpus_is_told_what_to_install(tmp_path: Path) -> None:
    ended = run(tmp_path, "engines", path=write_nvidia_smi(tmp_path / "bin", H200))
    assert ended.returncode == 1
    assert "there is a GPU, NVIDIA H200, but this ONNX Runtime was built without CUDA" in (
        ended.stderr
    )


def test_the_figures_of_a_stand_in_are_not_published() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "report", "--provider", "cpu"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "give --docs another folder" in ended.stderr


def test_a_part_that_fails_does_not_stop_the_others(tmp_path: Path, cfg: Path) -> None:
    options = ("--provider", "cpu", "--models", "--cfg", str(cfg), "--seconds", "0.01")
    ended = run(tmp_path, "conformance", "decode", *options, "--pytest=--no-such-option")
    assert ended.returncode == 1
    assert "the part conformance failed" in ended.stderr
    assert any(row.figures for row in Results(tmp_path / "results.json").rows("decode"))


@pytest.fixture
def gpu() -> Iterator[GpuRuntime]:
    with gpu_stand_in() as runtime:
        yield runtime


def plan(folder: Path, cfg: Path) -> Plan:
    results = Results(folder / "results.json")
    return Plan("cuda", (), (cfg,), (1, 2, 4), 0.01, folder / "docs", (), results)


def test_the_way_of_a_gpu_is_measured_in_fp32_and_fp16_with_data_on_the_card(
    tmp_path: Path, cfg: Path, gpu: GpuRuntime
) -> None:
    measure_engines(plan(tmp_path, cfg))
    rows = list(Results(tmp_path / "results.json").rows("engines"))
    ways = {(row.way, row.precision) for row in rows}
    assert ways == {
        (f"ONNX Runtime, {device}, {way}", precision)
        for device in ("cuda", "tensorrt")
        for way in ("data on the card", "as the library calls it")
        for precision in ("fp32", "fp16")
    }
    assert all(row.figures for row in rows)
    assert all(re.fullmatch(r"the CPU computes [1-9]\d* operators", row.note) for row in rows)


def test_batch_sizes_that_do_not_fit_into_memory_are_named_and_the_others_measured(
    tmp_path: Path, cfg: Path, gpu: GpuRuntime
) -> None:
    gpu.error, gpu.error_from = RuntimeError("CUDA failure 2: out of memory"), 4
    measure_engines(plan(tmp_path, cfg))
    rows = list(Results(tmp_path / "results.json").rows("engines"))
    assert {row.count for row in rows if row.note == "out of memory"} == {4}
    assert {row.count for row in rows if row.figures} == {1, 2}


def test_a_gpu_that_computes_nothing_is_no_success(
    tmp_path: Path, cfg: Path, gpu: GpuRuntime
) -> None:
    gpu.error = RuntimeError("CUDA failure 999: unknown error")
    with pytest.raises(SystemExit, match=r"engines measured nothing on cuda: .*unknown error"):
        measure_engines(plan(tmp_path, cfg))


def test_a_conformance_suite_that_fails_names_its_first_failure(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase>'
        '<testcase name="c"><failure message="0.2 != 0.1"/></testcase>'
        '<testcase name="d"><error message="no device"/></testcase></testsuite></testsuites>'
    )
    counts, note = read_report(report)
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert note == "c: 0.2 != 0.1"


def test_measuring_again_replaces_a_row_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for rate in (1.0, 2.0):
        results = Results(path)
        results.put(Row("http", "tiny", "HTTP", "fp32", 8, {"rate": rate}))
        results.put(Row("http", "tiny", "HTTP", "fp32", int(rate) * 100, {"rate": 0.0}))
    rows = {row.count: row.figures["rate"] for row in Results(path).rows("http")}
    assert rows == {8: 2.0, 100: 0.0, 200: 0.0}


def test_without_figures_every_section_says_how_to_get_them(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.about |= {"date": "2026-01-01", "processor": "none", "versions": "none"}
    text = "\n".join(figures(results))
    assert text.count("Not measured yet: `python -m benchmarks.gpu ") == 6
    assert TEMPLATE.is_file()
