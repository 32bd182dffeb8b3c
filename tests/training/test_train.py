"""Whole training runs: loss, resuming after a kill, and detection with the trained weights."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("faster_coco_eval")
pytest.importorskip("matplotlib")

import torch

from darknet import load_network
from darknet.cfg import read_cfg
from darknet.errors import DataError, DeviceUnavailableError
from darknet.model import EngineName
from darknet.training.train import CHECKPOINT, TrainResult, train
from darknet.weights import Header, read_weights
from tests.support.smears import NAMES, render_smear, write_smears
from tests.support.training import BATCH, options


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    folder = tmp_path_factory.mktemp("trained")
    return train(options(folder, ema=0.95, validate_every=5))


def test_the_loss_goes_down_and_average_precision_up(trained: TrainResult) -> None:
    loss = [row["loss"] for row in trained.rows]
    precision = [row["map50"] for row in trained.rows if "map50" in row]
    assert len(loss) == 20
    assert loss[-1] < 0.25 * loss[0]
    assert precision[0] < 0.1
    assert precision[-1] > 0.15
    assert trained.map50 == max(precision)


def test_the_run_leaves_figures_images_and_weights(trained: TrainResult) -> None:
    folder = trained.last.parent
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["batches"]) for row in rows] == list(range(5, 101, 5))
    assert rows[-1]["seen"] == str(100 * BATCH)
    for name in ("results.png", "validation.jpg", "best.weights", "last.weights"):
        assert (folder / name).stat().st_size > 1000
    cfg = read_cfg(folder.parent / "tiny.cfg")
    assert read_weights(trained.last, cfg).header == Header(0, 2, 5, 100 * BATCH)


@pytest.mark.parametrize("engine", ["libdarknet", "onnxruntime"])
def test_every_engine_finds_the_same_with_what_was_trained(
    trained: TrainResult, engine: EngineName, request: pytest.FixtureRequest
) -> None:
    if engine == "libdarknet":
        request.getfixturevalue("libdarknet")
    images = [render_smear(seed)[0] for seed in (900, 901)]
    files = (trained.last.parent.parent / "tiny.cfg", trained.last, NAMES)
    with load_network(*files, engine="openvino") as first:
        wanted = first.detect(images, threshold=0.3)
    with load_network(*files, engine=engine) as second:
        found = second.detect(images, threshold=0.3)
    for one, other in zip(wanted, found, strict=True):
        assert len(one) > 3
        np.testing.assert_array_equal(one.class_ids, other.class_ids)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.5)


def test_a_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second = (train(options(tmp_path / name, max_batches=3, images=8)).last for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_processes_of_their_own_can_prepare_the_images(tmp_path: Path) -> None:
    done = train(options(tmp_path, workers=1, max_batches=2, images=8))
    assert done.rows[-1]["seen"] == 2 * BATCH


def test_the_weights_after_the_last_batch_are_measured(tmp_path: Path) -> None:
    done = train(options(tmp_path, max_batches=4, images=24, validate_every=3, ema=0.5))
    assert [row["batches"] for row in done.rows] == [3, 4]
    assert "map50" in done.rows[-1]
    assert done.map50 == done.rows[-1]["map50"]
    assert done.best.read_bytes() == done.last.read_bytes()


def test_several_data_sets_are_trained_on_together(tmp_path: Path) -> None:
    sets = [
        write_smears(tmp_path / name / "labels.json", 8, seed) for seed, name in enumerate("ab")
    ]
    done = train(options(tmp_path / "run", images=8, data=sets, max_batches=2))
    assert [row["batches"] for row in done.rows] == [2]  # one epoch of 16 images


def test_subdivisions_change_memory_and_not_the_number_of_batches(tmp_path: Path) -> None:
    done = train(options(tmp_path, subdivisions=4, max_batches=4, images=16))
    assert [row["batches"] for row in done.rows] == [2, 4]
    assert done.rows[-1]["seen"] == 4 * BATCH


RUN = """
import sys
from pathlib import Path
from typing import Any
from darknet.training.loop import Report
from darknet.training.train import train
from tests.support.training import options

written = Report.on_train_epoch_end
def announce(self, trainer, module):
    written(self, trainer, module)
    print("epoch", trainer.current_epoch, flush=True)
Report.on_train_epoch_end = announce
train(options(Path(sys.argv[1]), max_batches=20, images=16, resume=True, ema=0.9))
"""
"""Trains in a process of its own and says when an epoch ends."""


def test_a_killed_training_resumes_and_sees_as_many_images(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        # At the end of the fourth epoch the checkpoint of the third is surely complete.
        next(line for line in process.stdout if line.startswith("epoch 3"))
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "run" / CHECKPOINT).exists()
    assert not (tmp_path / "run" / "last.weights").exists()
    done = train(options(tmp_path, max_batches=20, images=16, resume=True, ema=0.9))
    batches = [row["batches"] for row in done.rows]
    assert batches == sorted(set(batches))
    assert batches[-1] == 20
    assert [row["seen"] for row in done.rows] == [number * BATCH for number in batches]
    cfg = read_cfg(tmp_path / "tiny.cfg")
    assert read_weights(done.last, cfg).header.seen == 20 * BATCH


def test_training_starts_from_other_weights(tmp_path: Path, trained: TrainResult) -> None:
    known = train(options(tmp_path / "known", weights=trained.last, max_batches=5))
    new = train(options(tmp_path / "new", max_batches=5))
    assert known.rows[0]["loss"] < 0.2 * new.rows[0]["loss"]
    assert known.rows[-1]["seen"] == 5 * BATCH


def test_a_run_is_not_overwritten_by_accident(trained: TrainResult) -> None:
    with pytest.raises(DataError, match="--resume"):
        train(options(trained.last.parent.parent))


def test_a_loss_that_became_infinite_ends_the_training_with_advice(tmp_path: Path) -> None:
    wild = options(tmp_path, max_batches=8, images=16)
    text = wild.cfg.read_text(encoding="utf-8")
    text = text.replace("learning_rate=0.002", "learning_rate=1e9").replace("burn_in=10", "")
    wild.cfg.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="lower learning_rate"):
        train(wild)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("changes", [{"accelerator": "cuda"}, {"precision": "fp16"}])
def test_a_missing_gpu_is_an_error_and_not_a_fall_back(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(DeviceUnavailableError, match=r"CUDA|GPU"):
        train(options(tmp_path, images=8, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": []}, "--data"),
        ({"val": None}, "--val"),
        ({"names": ("a", "b", "c")}, "no labelled object of a, b, c"),
        ({"max_batches": 0}, "max_batches"),
    ],
)
def test_options_without_a_training_are_refused_with_advice(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        train(options(tmp_path, **changes))
