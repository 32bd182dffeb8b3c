"""Evaluation of served networks: engines agree, and the report says what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("faster_coco_eval")
pytest.importorskip("matplotlib")

from darknet import Network, load_network
from darknet.errors import DataError, EngineUnavailableError
from darknet.model import EngineName, Precision
from darknet.training.dataset import Dataset
from darknet.training.evaluate import (
    COMBINATIONS,
    Evaluation,
    Missing,
    compare,
    evaluate,
    table,
    write_report,
)
from darknet.training.readers import read_dataset
from tests.support.networks import TINY, write_model

IMAGES = 16
"""Of the 128 labelled photos; libdarknet needs 0.1 s for each."""


@pytest.fixture(scope="module")
def photos(shared: Path) -> Dataset:
    path = shared / "datasets" / "coco-val128" / "annotations.json"
    names = (shared / "models" / "yolo-fastest-1.1" / "coco.names").read_text("utf-8").split("\n")
    dataset = read_dataset(path, [name for name in names if name])
    return Dataset(dataset.names, dataset.images[:IMAGES])


def load(shared: Path, engine: EngineName, precision: Precision = "fp32") -> Network:
    folder = shared / "models" / "yolo-fastest-1.1"
    files = (folder / f"{folder.name}.cfg", folder / f"{folder.name}.weights")
    return load_network(*files, folder / "coco.names", engine=engine, precision=precision)


@pytest.fixture(scope="module")
def evaluation(shared: Path, photos: Dataset) -> Iterator[Evaluation]:
    with load(shared, "openvino") as network:
        yield evaluate(network, photos)


def test_engines_agree_with_libdarknet_within_a_tenth_of_a_point(
    shared: Path, libdarknet: Path, photos: Dataset, evaluation: Evaluation
) -> None:
    with load(shared, "libdarknet") as network:
        reference = evaluate(network, photos)
    assert reference.metrics.map50 > 0.2
    assert evaluation.metrics.map50 == pytest.approx(reference.metrics.map50, abs=1e-3)
    assert evaluation.metrics.map == pytest.approx(reference.metrics.map, abs=1e-3)


def test_the_report_holds_figures_tables_and_plots(tmp_path: Path, evaluation: Evaluation) -> None:
    write_report(evaluation, tmp_path / "report")
    values = json.loads((tmp_path / "report" / "metrics.json").read_text("utf-8"))
    assert values["map50"] == pytest.approx(evaluation.metrics.map50)
    assert values["images"] == IMAGES
    assert len(values["confusion"]) == 81
    lines = (tmp_path / "report" / "classes.csv").read_text("utf-8").splitlines()
    assert lines[0] == "class,ap50,ap"
    assert len(lines) == 81
    for name in ("confusion.png", "precision-recall.png"):
        assert (tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG")


def test_an_engine_that_is_missing_gets_a_row_with_the_reason(
    tmp_path: Path, photos: Dataset
) -> None:
    folder = write_model(tmp_path / "tiny", TINY)
    first = photos.images[0]
    few = Dataset(("cat", "dog"), (replace(first, class_ids=first.class_ids % 2),))

    def only_openvino(engine: EngineName, precision: Precision) -> Network:
        if engine != "openvino":
            raise EngineUnavailableError("not on this machine")
        files = (folder / "model.cfg", folder / "model.weights", folder / "model.names")
        return load_network(*files, engine=engine, precision=precision)

    rows = list(compare(only_openvino, few))
    assert [isinstance(row, Missing) for row in rows] == [
        engine != "openvino" or precision == "int8" for engine, precision in COMBINATIONS
    ]
    lines = list(table(rows))
    assert len(lines) == 1 + len(COMBINATIONS)
    assert "not on this machine" in lines[1]
    assert "run: yolo-service quantize" in lines[4]


def test_classes_that_are_not_those_of_the_data_are_refused(
    tmp_path: Path, photos: Dataset
) -> None:
    folder = write_model(tmp_path / "tiny", TINY)
    files = (folder / "model.cfg", folder / "model.weights", folder / "model.names")
    with load_network(*files) as network, pytest.raises(DataError, match="2 classes"):
        evaluate(network, photos)
