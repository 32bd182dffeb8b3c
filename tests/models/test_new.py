"""Folders of new models, made from the .cfg of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from darknet.cfg import parse_cfg, read_cfg
from darknet.cfg.adapt import adapt, anchor_count
from darknet.errors import CfgError
from darknet.names import read_names
from tests.support.command import run
from tests.support.networks import TINY, write_model
from tests.support.publisher import publishing
from tests.support.smears import write_smears
from yolo_service.errors import ConfigurationError, ModelNotFound
from yolo_service.models.new import new_model
from yolo_service.settings import Settings, load_settings

NAMES = ["fox", "owl", "elk"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A models folder with one model, called base."""
    write_model(tmp_path / "models" / "base")
    return load_settings(models_dir=tmp_path / "models")


@pytest.mark.parametrize("name", ["yolov3", "yolov3-tiny", "yolov3-spp", "yolov3-voc"])
def test_published_networks_are_adapted(name: str, darknet_data: Path) -> None:
    own = read_cfg(darknet_data / "cfg" / f"{name}.cfg")
    anchors = [(float(10 * n), float(12 * n)) for n in range(1, anchor_count(own) + 1)]
    text, unchanged = adapt(own, 3, anchors)
    cfg = parse_cfg(text)
    assert cfg.classes == 3
    assert all(head.input.channels == len(head.anchors) * 8 for head in cfg.heads)
    assert [head.all_anchors for head in cfg.heads] == [tuple(anchors)] * len(cfg.heads)  # type: ignore[union-attr]
    assert (cfg.net.max_batches, cfg.net.steps, cfg.net.scales) == (6000, (4800, 5400), (0.1, 0.1))
    assert cfg.net.batch == 64
    same = [a.arrays == b.arrays for a, b in zip(own.layers, cfg.layers, strict=True)]
    assert same.index(False) == unchanged


def test_options_that_a_section_lacks_are_added_and_comments_stay() -> None:
    own = parse_cfg("# mine\n" + TINY.replace("classes=2\n", "").replace("14", "50"))
    text, _ = adapt(own, 1)
    assert text.startswith("# mine\n")
    assert parse_cfg(text).classes == 1


@pytest.mark.parametrize("name", ["yolov2", "yolo9000"])
def test_networks_that_cannot_be_trained_here_are_refused(
    name: str, darknet_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(darknet_data)
    with pytest.raises(CfgError, match=r"heads are \[yolo\] sections"):
        adapt(read_cfg(darknet_data / "cfg" / f"{name}.cfg"), 3)


def test_a_new_folder_has_a_cfg_and_names_and_nothing_else_stays(settings: Settings) -> None:
    made = new_model("mine", "base", NAMES, settings)
    assert sorted(path.name for path in made.folder.iterdir()) == ["mine.cfg", "mine.names"]
    assert read_names(made.folder / "mine.names") == tuple(NAMES)
    assert read_cfg(made.folder / "mine.cfg").classes == 3
    assert (made.unchanged, made.fit) == (2, None)
    assert made.weights == settings.models_dir / "base" / "model.weights"
    assert sorted(path.name for path in settings.models_dir.iterdir()) == ["base", "mine"]


def test_of_a_model_that_is_not_pulled_only_the_cfg_is_downloaded(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "far"
    folder.mkdir(parents=True)
    with publishing({"a.cfg": TINY.encode()}) as publisher:
        (folder / "model.yaml").write_text(
            f"sources: [{{file: a.cfg, url: '{publisher.url}/a.cfg'}}, "
            f"{{file: a.weights, url: '{publisher.url}/a.weights'}}]"
        )
        made = new_model("mine", "far", NAMES, load_settings(models_dir=tmp_path / "models"))
        assert [path for path, _ in publisher.asked] == ["/a.cfg"]
    assert made.weights is None
    assert read_cfg(made.folder / "mine.cfg").classes == 3


def test_what_cannot_be_made_leaves_nothing_behind(settings: Settings) -> None:
    for name, names, words in (
        ("base", NAMES, "expected a new name"),
        ("../up", NAMES, "expected a new name"),
        ("mine", ["fox", "fox"], "different names"),
        ("mine", ["fox", ""], "different names"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            new_model(name, "base", names, settings)
    with pytest.raises(ModelNotFound):
        new_model("mine", "nothing", NAMES, settings)
    assert [path.name for path in settings.models_dir.iterdir()] == ["base"]


def test_the_command_fits_anchors_and_says_how_to_go_on(tmp_path: Path) -> None:
    data = write_smears(tmp_path / "smears.json", 4)
    models = tmp_path / "models"
    write_model(models / "base")
    answer = run(
        *("models", "new", "cells", "--from", "base", "--names", "WBC,RBC,Platelets"),
        *("--data", data, "--models-dir", models),
    )
    assert answer.returncode == 0, answer.stderr
    assert "cells: 3 classes" in answer.stdout
    assert "mean IoU of 0." in answer.stdout
    assert f"--weights {models}/base/model.weights --cutoff 2" in answer.stdout
    (head,) = read_cfg(models / "cells" / "cells.cfg").heads
    assert head.anchors != parse_cfg(TINY).heads[0].anchors
    assert len(head.anchors) == 2
