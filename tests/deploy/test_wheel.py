"""The package as its users get it: installed from a wheel, and used in an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fixtures import WARNINGS, ServerProcess
from tests.support.paths import ROOT
from yolo_service.models.catalog import entries
from yolo_service.package_data import CATALOG

SAMPLE = ROOT / "models" / "blood-cells" / "sample.jpg"
PACKAGES = ("darknet", "yolo_service")
DATA = "yolo_service/data/"
INCLUDED = [
    "README.md",
    "blood-cells.cfg",
    "blood-cells.names",
    "blood-cells.weights",
    "model.yaml",
    "sample.jpg",
]
"""The files of the model that comes with the package."""


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel, an empty folder, and the variables to run it there."""

    python: Path
    folder: Path
    variables: Mapping[str, str]

    @property
    def command(self) -> Path:
        return self.python.with_name("yolo-service")

    def run(self, *arguments: str | Path) -> str:
        """Run the command ``yolo-service`` in the empty folder; returns its standard output."""
        answer = subprocess.run(
            [self.command, *arguments],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with pulled, added and converted models."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (*PACKAGES, "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "swagger.yaml", ".gitignore"):
        shutil.copyfile(ROOT / name, folder / name)
    for name in ("yolov4_coco/yolov4.weights", "mine/model.yaml", "blood-cells/a.onnx"):
        (folder / "models" / name).parent.mkdir(exist_ok=True)
        (folder / "models" / name).write_bytes(b"not in the wheel")
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and from it the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    run_module("build", "--no-isolation", "--outdir", folder, checkout)
    (built,) = folder.glob("*.whl")
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel; its dependencies are those of the environment that runs the tests."""
    environment = tmp_path_factory.mktemp("environment")
    run_module("venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    run_module("pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # Python does not read the .pth files of a folder that a .pth file names, so the checkout that
    # is installed there as editable stays out.
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    folder = tmp_path_factory.mktemp("empty")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "PYTHON"))}
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
    return Installed(python, folder, inherited | home)


@pytest.fixture
def server(installed: Installed) -> Iterator[ServerProcess]:
    process = ServerProcess(
        subprocess.Popen(
            [installed.python, *WARNINGS, installed.command, "serve"],
            cwd=installed.folder,
            env={**installed.variables, "YOLO_PORT": "0"},
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    try:
        process.wait_until_ready()
        yield process
    finally:
        code = process.stop()
    assert code == 0, "".join(process.log)


def run_module(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", *arguments], check=True)


def test_the_wheel_has_the_contract_the_catalog_and_one_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    found = {name.removeprefix(DATA) for name in names if name.startswith(DATA)}
    catalog = {f"models/{entry.name}/model.yaml" for entry in entries(CATALOG)}
    included = {f"models/blood-cells/{name}" for name in INCLUDED}
    assert found == {"swagger.yaml"} | catalog | included
    assert sum(name.endswith("licenses/LICENSE") for name in names) == 1
    assert "yolo_service/web/ui.html" in names


def test_the_wheel_has_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if name.endswith(".py")}
    packages = (path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
    assert found == {str(path.relative_to(ROOT)) for path in packages}


def test_the_package_that_is_used_is_the_installed_one(installed: Installed) -> None:
    code = "import darknet, yolo_service; print(darknet.__file__, yolo_service.__file__)"
    output = subprocess.check_output(
        [installed.python, "-c", code], cwd=installed.folder, env=installed.variables, text=True
    )
    paths = output.split()
    assert all(Path(path).is_relative_to(installed.python.parents[1]) for path in paths), paths


def test_detect_finds_cells_with_the_model_that_comes_with_the_package(
    installed: Installed,
) -> None:
    photo = installed.folder / "photo.jpg"
    photo.write_bytes(SAMPLE.read_bytes())
    answer = json.loads(installed.run("detect", "photo.jpg"))
    photo.unlink()
    assert answer["model"] == "blood-cells"
    assert "RBC" in {found["label"] for found in answer["detections"]}


def test_serve_answers_with_the_contract_and_the_model_of_the_package(
    server: ServerProcess,
) -> None:
    client = server.client()
    answer = client.post([("image_file", SAMPLE.read_bytes())])
    contract, page = client.get("/openapi.json"), client.get("/ui/")
    client.close()
    assert answer.status == contract.status == page.status == 200
    assert "RBC" in {label for label, *_ in answer.json}
    assert "/detect" in contract.json["paths"]


def test_the_catalog_of_the_package_can_be_pulled(installed: Installed) -> None:
    assert "yolo-service models pull yolov4_coco" in installed.run("models", "list")
