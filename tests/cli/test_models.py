"""The commands ``yolo-service models ...``."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.networks import write_model, write_obicos_model
from tests.support.publisher import publishing
from yolo_service.cli.models import models as command
from yolo_service.errors import ConfigurationError, ModelUnavailable
from yolo_service.package_data import CATALOG

FILES = ("model.cfg", "model.names", "model.weights")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)


def test_list_prints_installed_models_and_those_that_can_be_pulled(tmp_path: Path) -> None:
    write_model(tmp_path / "mine")
    (tmp_path / "half").mkdir()
    lines = {
        line.split()[0]: line for line in run("list", "--models-dir", tmp_path).stdout.splitlines()
    }
    assert lines["mine"].split() == ["mine", "64", "x", "48", "2", "classes"]
    assert "expected one .cfg, found none" in lines["half"]
    hint = "not pulled yet: 248 MB, yolo-service models pull yolov3_coco"
    assert lines["yolov3_coco"].endswith(hint)


def test_a_users_model_with_a_name_of_the_catalog_is_listed(tmp_path: Path) -> None:
    write_model(tmp_path / "yolov3_coco")
    line = next(
        x for x in run("list", "--models-dir", tmp_path).stdout.splitlines() if "v3_coco" in x
    )
    assert "64 x 48" in line


def test_pull_copies_a_model_from_a_mirror_and_prints_its_progress(tmp_path: Path) -> None:
    origin = write_model(tmp_path / "mirror" / "tiny")
    models = tmp_path / "models"
    (models / "tiny").mkdir(parents=True)
    sources = "".join(f"  - {{file: {name}, url: 'https://example.org/x'}}\n" for name in FILES)
    (models / "tiny" / "model.yaml").write_text(f"sources:\n{sources}")
    result = run("pull", "tiny", "--mirror", tmp_path / "mirror", "--models-dir", models)
    assert result.stdout == f"tiny: complete in {models / 'tiny'}\n"
    size = (origin / "model.weights").stat().st_size / 1e6
    assert f"tiny/model.weights: {size:.1f} of {size:.1f} MB, 100 %" in result.stderr


def test_pull_leaves_a_users_model_alone_and_names_its_missing_file(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    assert run("pull", "mine", "--models-dir", tmp_path).stdout.startswith("mine: complete")
    (folder / "model.weights").unlink()
    with pytest.raises(ModelUnavailable, match=r"mine: expected one \.weights, found none"):
        run("pull", "mine", "--models-dir", tmp_path)


def test_pull_has_nothing_to_do_for_a_model_that_comes_with_the_package(tmp_path: Path) -> None:
    expected = f"blood-cells: complete in {CATALOG / 'blood-cells'}\n"
    assert run("pull", "blood-cells", "--models-dir", tmp_path).stdout == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["list", "pull yolov3_coco"])
def test_a_models_folder_that_is_a_file_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigurationError, match=r"file cannot be listed: Not a directory"):
        run(*command.split(), "--models-dir", tmp_path / "file")


def test_check_names_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ModelUnavailable, match=r"file cannot be listed: Not a directory"):
        run("check", tmp_path / "file")


def test_check_prints_the_layers_and_that_the_model_is_complete(tmp_path: Path) -> None:
    lines = run("check", write_model(tmp_path / "mine")).stdout.splitlines()
    assert any("conv" in line for line in lines)
    assert lines[-1] == "mine: complete; 2 classes, trained on 32013312 images"


def test_check_compares_with_model_yaml(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    source = f"file: model.cfg, url: 'https://example.org/x', sha256: '{'0' * 64}'"
    (folder / "model.yaml").write_text(f"sources: [{{{source}}}]")
    with pytest.raises(ModelUnavailable, match=r"mine/model\.cfg: its sha256 is not"):
        run("check", folder)


def test_add_takes_paths_and_urls(tmp_path: Path) -> None:
    origin = write_model(tmp_path / "origin")
    weights = (origin / "model.weights").read_bytes()
    with publishing({"model.weights": weights}) as publisher:
        places = [origin / "model.cfg", origin / "model.names", f"{publisher.url}/model.weights"]
        models = tmp_path / "models"
        run("add", "mine", *places, "--license", "CC0", "--models-dir", models)
    assert (models / "mine" / "model.weights").read_bytes() == weights
    assert "license: CC0" in (models / "mine" / "model.yaml").read_text()


def test_add_takes_obicos_files(tmp_path: Path) -> None:
    origin = write_obicos_model(tmp_path / "origin")
    weights = origin / "model-weights-5a6b1be1fa.darknet"
    places = [weights, origin / "names", origin / "model.meta", origin / "model.cfg"]
    run("add", "obico", *places, "--models-dir", tmp_path / "models")
    added = tmp_path / "models" / "obico"
    assert (added / weights.name).read_bytes() == weights.read_bytes()
    assert run("check", added).stdout.splitlines()[-1].startswith("obico: complete; 2 classes")


def test_a_terminal_sees_a_bar(tmp_path: Path) -> None:
    origin = write_model(tmp_path / "origin")
    models = tmp_path / "models"
    child, terminal = pty.fork()
    if child == 0:
        add = ["add", "mine", *(str(origin / name) for name in FILES), "--models-dir", str(models)]
        code = "import sys; from yolo_service.cli.models import models; models(sys.argv[1:])"
        os.execv(sys.executable, [sys.executable, "-c", code, *add])
    output = b""
    while b"complete in" not in output:
        output += os.read(terminal, 4096)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)
    assert b"mine/model.weights  [" in output
    assert b"100%" in output
