from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Driver, chromium
from tests.support.fixtures import Client, ServerProcess, start_process
from tests.support.networks import write_model
from tests.support.paths import ROOT
from tests.support.real_parts import existing
from yolo_service.package_data import WEB

HOSTILE = "<img src=x onerror=document.title='harm'>"
MODELS = ("blood-cells", "fast", HOSTILE)


@pytest.fixture(scope="session")
def runtime() -> Path:
    """What the page needs to compute in a browser."""
    return existing(WEB / "runtime", "make lint installs it with npm")


@pytest.fixture(scope="module")
def server(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of the bundled model, of a public one and of one with hostile names."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "models" / "blood-cells", folder / "blood-cells")
    shutil.copytree(shared / "models" / "yolo-fastest-1.1", folder / "fast")
    write_model(folder / HOSTILE, names=(HOSTILE, "'\"><b>"))
    settings = {"MODELS_DIR": str(folder), "MODEL": "blood-cells", "PUBLIC_MODELS": "fast"}
    settings |= {"URL_ALLOW_NETWORKS": "127.0.0.0/8"}
    process = start_process({f"YOLO_{name}": value for name, value in settings.items()})
    try:
        process.wait_until_ready()
        yield process
    finally:
        assert process.stop() == 0, "".join(process.log)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    connection = server.client()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="session")
def smears(shared: Path) -> list[Path]:
    """Photos of blood, in which the bundled model finds cells."""
    return sorted((shared / "datasets" / "bccd" / "images").iterdir())


@pytest.fixture(scope="session")
def street_photos(shared: Path) -> list[Path]:
    """Photos of COCO."""
    return sorted((shared / "datasets" / "coco-val128" / "images").iterdir())
