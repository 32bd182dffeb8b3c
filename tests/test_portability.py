"""Models and the doctor without what only Unix has: modules, os.sysconf, and links for everybody.

filelock locks files in another way on Windows than here, where it falls back to a weaker lock.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.networks import write_model

HIDE = "import os, sys; sys.modules.update(fcntl=None, resource=None); del os.sysconf, os.symlink\n"
MODULES = """
yolo_service.cli.doctor yolo_service.cli.models yolo_service.doctor yolo_service.doctor.probes
yolo_service.http.healthcheck yolo_service.models.catalog yolo_service.models.pull
yolo_service.package_data yolo_service.settings
""".split()


def run(code: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-c", HIDE + code, *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_every_module_of_the_models_and_the_doctor_is_imported() -> None:
    run(f"import importlib\nfor name in {MODULES}: importlib.import_module(name)")


def test_the_memory_is_unknown_without_sysconf_or_a_control_group() -> None:
    code = """if True:
        from yolo_service.doctor import machine
        machine.memory_limit = lambda: None
        (finding,) = machine.memory(None)
        assert finding.status == "ok", finding
    """
    run(code)


def test_models_are_listed_and_pulled(tmp_path: Path) -> None:
    command = "from yolo_service.cli.models import models; models()"
    write_model(tmp_path / "mirror" / "tiny")
    sources = "".join(
        f"  - {{file: model.{kind}, url: 'https://example.org/x'}}\n"
        for kind in ("cfg", "names", "weights")
    )
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(f"sources:\n{sources}")
    options = ("--models-dir", tmp_path / "models")
    assert "models pull tiny" in run(command, "list", *options)
    run(command, "pull", "tiny", "--mirror", tmp_path / "mirror", *options)
    assert "64 x 48" in run(command, "list", *options)
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
