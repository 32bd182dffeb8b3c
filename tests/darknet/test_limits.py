"""CPUs that a scheduler has assigned to the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.networks import write_model
from tests.support.paths import ROOT


@pytest.mark.parametrize("cpus", [1, 1000])
def test_an_engine_takes_the_cpus_of_the_process_at_most(tmp_path: Path, cpus: int) -> None:
    """In a process of its own, because it holds for all of one."""
    write_model(tmp_path / "tiny")
    code = (
        "import sys\n"
        "from darknet import load_network\n"
        "from darknet.limits import available_cpus, limit_cpus\n"
        "before = available_cpus()\n"
        "limit_cpus(int(sys.argv[1]))\n"
        "expected = min(before, int(sys.argv[1]))\n"
        "assert available_cpus() == expected\n"
        "files = [f'{sys.argv[2]}/model.{kind}' for kind in ('cfg', 'weights', 'names')]\n"
        "with load_network(*files, engine='openvino', streams=3) as network:\n"
        "    compiled = network.engine.runner._buffers.shared._compiled\n"
        "    assert compiled.get_property('INFERENCE_NUM_THREADS') == expected\n"
    )
    subprocess.run([sys.executable, "-c", code, str(cpus), tmp_path / "tiny"], check=True, cwd=ROOT)
