"""CPUs and memory within the limits of a container and of OpenMP's variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darknet.limits import available_cpus, cpus_of_process
from tests.support.networks import write_model


@pytest.mark.parametrize(
    ("value", "cpus"), [("1", 1), ("1,4", 1), ("0", None), ("many", None), ("", None)]
)
def test_openmp_s_variable_limits_the_cpus(
    value: str, cpus: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert available_cpus(tmp_path) == (cpus or cpus_of_process())


@pytest.mark.parametrize(("quota", "cpus"), [("50000 100000", 1), ("max 100000", None)])
def test_a_container_s_share_limits_the_cpus(quota: str, cpus: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cpus(tmp_path) == (cpus or cpus_of_process())


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.skipif(cpus_of_process() < 2, reason="one CPU is no limit")
def test_engines_start_no_more_threads_than_the_variable_says(engine: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    code = (
        "import sys, os, darknet\n"
        "folder = sys.argv[1]\n"
        "files = [f'{folder}/model.{kind}' for kind in ('cfg', 'weights', 'names')]\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        f"network = darknet.load_network(*files, engine={engine!r}, streams=2)\n"
        "import numpy\n"
        "network.detect([numpy.zeros((8, 8, 3), numpy.uint8)] * 4)\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )

    def threads(limit: dict[str, str]) -> int:
        command = [sys.executable, "-c", code, str(tmp_path / "model")]
        environment = {**os.environ, **limit}
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(found.stdout)

    assert threads({"OMP_NUM_THREADS": "1"}) < threads({})
