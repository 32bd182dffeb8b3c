"""The commands train and evaluate, from labelled images to a model that is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("lightning")
pytest.importorskip("faster_coco_eval")
pytest.importorskip("matplotlib")

from tests.support.smears import NAMES, write_smears
from tests.support.training import CFG
from yolo_service.cli.train import evaluate, train


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder that has not been trained yet."""
    folder = tmp_path / "models" / "cells"
    folder.mkdir(parents=True)
    (folder / "cells.cfg").write_text(CFG.format(subdivisions=1), encoding="utf-8")
    (folder / "cells.names").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return folder


def run(*arguments: object) -> Result:
    command = train if arguments[0] == "train" else evaluate
    return CliRunner().invoke(command, [str(argument) for argument in arguments[1:]])


def test_a_model_is_trained_and_then_evaluated(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    data, more = (write_smears(tmp_path / f"{seed}" / "labels.json", 4, seed) for seed in (50, 60))
    labelled = ("--data", data, "--data", more, "--val", data)
    shared = ("--model", model, *labelled, "--output", output, "--accelerator", "cpu")
    done = run("train", *shared, "--max-batches", 2)
    assert done.exit_code == 0, done.output
    assert f"copied to {model / 'cells.weights'}" in done.output
    again = run("train", *shared, "--max-batches", 4, "--resume")
    assert again.exit_code == 0, again.output
    assert "copied" not in again.output  # weights that are there are never overwritten

    where = ("--models-dir", model.parent, "--model", model.name, "--data", data)
    done = run("evaluate", *where, "--engine", "openvino", "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "openvino" in done.output
    assert "RBC" in done.output
    values = json.loads((tmp_path / "report" / "metrics.json").read_text("utf-8"))
    assert set(values["classes"]) == set(NAMES)


def test_anchors_are_printed_as_the_cfg_wants_them(model: Path, tmp_path: Path) -> None:
    data = write_smears(tmp_path / "smears.json", 4, seed=50)
    done = run("train", "--model", model, "--data", data, "--anchors", 3)
    assert done.exit_code == 0, done.output
    name, values = done.output.splitlines()[0].split("=")
    assert name == "anchors"
    assert len(values.split(",")) == 6
    assert run("train", "--model", model, "--anchors", 3).exit_code == 2


def test_a_folder_without_a_network_says_what_is_expected(tmp_path: Path) -> None:
    done = run("train", "--model", tmp_path, "--data", tmp_path)
    assert done.exit_code == 2
    assert "one .cfg and one .names" in done.output
