"""A folder mounted at models/mine is what an image serves, with no other step."""

from __future__ import annotations

from pathlib import Path

from tests.support.networks import write_model
from yolo_service.models.opening import open_repository
from yolo_service.settings import load_settings


def test_a_model_called_mine_is_the_default(tmp_path: Path) -> None:
    for name in ("blood-cells", "mine", "zebras"):
        write_model(tmp_path / name)
    assert open_repository(load_settings(models_dir=tmp_path)).default == "mine"


def test_a_setting_counts_before_it(tmp_path: Path) -> None:
    for name in ("blood-cells", "mine"):
        write_model(tmp_path / name)
    settings = load_settings(models_dir=tmp_path, model="blood-cells")
    assert open_repository(settings).default == "blood-cells"


def test_an_incomplete_one_does_not(tmp_path: Path) -> None:
    write_model(tmp_path / "blood-cells")
    (tmp_path / "mine").mkdir()
    assert open_repository(load_settings(models_dir=tmp_path)).default == "blood-cells"


def test_a_data_file_may_stand_for_the_list_of_names(tmp_path: Path) -> None:
    """ilytics' four files: .cfg, .weights, .names, and the .data file that names the list."""
    folder = write_model(tmp_path / "mine")
    (folder / "model.data").write_text("classes = 2\nnames = data/model.names\n")
    with open_repository(load_settings(models_dir=tmp_path)).get().network as network:
        assert network.names == ("cat", "dog")
