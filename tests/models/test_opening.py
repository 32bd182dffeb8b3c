"""Which model is the default: a folder ``mine``, the setting, or the classic variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.networks import write_model, write_obicos_model
from yolo_service import settings as settings_module
from yolo_service.models.opening import default_files, open_repository
from yolo_service.settings import load_settings


def test_a_model_called_mine_is_the_default(tmp_path: Path) -> None:
    for name in ("blood-cells", "mine", "zebras"):
        write_model(tmp_path / name)
    assert open_repository(load_settings(models_dir=tmp_path)).default == "mine"


def test_the_setting_of_the_default_model_counts_before_a_model_called_mine(tmp_path: Path) -> None:
    for name in ("blood-cells", "mine"):
        write_model(tmp_path / name)
    settings = load_settings(models_dir=tmp_path, model="blood-cells")
    assert open_repository(settings).default == "blood-cells"


def test_a_model_that_sagemaker_has_unpacked_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "SAGEMAKER", tmp_path / "ml")
    write_model(tmp_path / "ml" / "z-deployed")
    write_model(tmp_path / "models" / "a")
    repository = open_repository(load_settings(models_dir=tmp_path / "models"))
    assert repository.default == "z-deployed"
    assert [info.name for info in repository.describe().result(10)] == ["a", "z-deployed"]


def test_an_incomplete_model_called_mine_is_not_the_default(tmp_path: Path) -> None:
    write_model(tmp_path / "blood-cells")
    (tmp_path / "mine").mkdir()
    assert open_repository(load_settings(models_dir=tmp_path)).default == "blood-cells"


def test_a_data_file_may_name_the_list_of_class_names(tmp_path: Path) -> None:
    """ilytics' four files: .cfg, .weights, .names, and the .data file that names the list."""
    folder = write_model(tmp_path / "mine")
    (folder / "model.data").write_text("classes = 2\nnames = data/model.names\n")
    with open_repository(load_settings(models_dir=tmp_path)).get().network as network:
        assert network.names == ("cat", "dog")


@pytest.mark.parametrize("data", ["coco.data", "obico.meta"])
def test_the_classic_variables_name_the_default_model(tmp_path: Path, data: str) -> None:
    folder = write_model(tmp_path / "classic")
    (folder / data).write_text(f"names = {folder}/model.names\n")
    write_model(tmp_path / "models" / "a")
    settings = load_settings(
        models_dir=tmp_path / "models",
        config_file=folder / "model.cfg",
        weights_file=folder / "model.weights",
        meta_file=folder / data,
    )
    repository = open_repository(settings)
    assert repository.default == "model"
    assert repository.get().network.names == ("cat", "dog")
    assert [info.name for info in repository.describe().result(10)] == ["a", "model"]
    assert default_files(settings).cfg == folder / "model.cfg"


def test_the_classic_variables_take_obicos_files(tmp_path: Path) -> None:
    folder = write_obicos_model(tmp_path / "obico")
    settings = load_settings(
        models_dir=tmp_path / "models",
        config_file=folder / "model.cfg",
        weights_file=folder / "model-weights-5a6b1be1fa.darknet",
        meta_file=folder / "model.meta",
    )
    assert open_repository(settings).get().network.names == ("failure", "other")
