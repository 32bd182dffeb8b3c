"""The callable classes for datasets, in this process, and the one of the library in Ray's."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.cluster.conftest import SECONDS, noise
from tests.support.fixtures import Find
from tests.support.paths import ROOT
from yolo_service.cluster.dataset import AddressDetector, Job, Result
from yolo_service.cluster.detector import SCHEMA, Detector
from yolo_service.cluster.run import cause_of
from yolo_service.errors import ConfigurationError, ItemError, PipelineError
from yolo_service.images.decode import decode
from yolo_service.models.bundle import ModelBundle
from yolo_service.models.folder import read_folder
from yolo_service.predictor import Answer, Options
from yolo_service.settings import Settings


@pytest.fixture
def detector(models: Path) -> Detector:
    return Detector("a-tiny", threshold=0.3, models_dir=models, workers=1)


def check(found: pa.Table, find: Find, image: bytes) -> None:
    (row,) = found.select(SCHEMA.names).to_pylist()
    expected = find(image, 0.3)
    assert (row["model"], row["width"], row["height"], row["error"]) == ("a-tiny", 96, 64, None)
    assert [each["label"] for each in row["detections"]] == expected.labels
    scores = [each["confidence"] for each in row["detections"]]
    corners = [[each[side] for side in SIDES] for each in row["detections"]]
    np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(corners, expected.corners, atol=2e-3)


SIDES = ("left", "top", "right", "bottom")


def test_files_arrays_and_paths_have_the_same_detections(
    detector: Detector, find: Find, tmp_path: Path
) -> None:
    image = noise(1)
    (tmp_path / "a.png").write_bytes(image)
    pixels = decode(image, max_pixels=10**6)
    check(detector({"bytes": np.array([image], object), "path": np.array(["a"])}), find, image)
    check(detector({"image": pixels[None]}), find, image)
    check(detector({"path": np.array([str(tmp_path / "a.png")])}), find, image)
    check(detector(pa.table({"bytes": [image]})), find, image)


def test_other_columns_stay_and_images_do_not(detector: Detector) -> None:
    given = {"bytes": [noise(1), noise(2)], "path": ["a", "b"], "number": [3, None]}
    for batch in (pa.table(given), {name: np.array(v, object) for name, v in given.items()}):
        table = detector(batch)
        assert table.column_names == ["path", "number", *SCHEMA.names]
        assert table["path"].to_pylist() == ["a", "b"]
        assert table["number"].to_pylist() == [3, None]


def test_a_broken_image_is_a_row_with_an_error(detector: Detector) -> None:
    table = detector(pa.table({"bytes": [b"broken", noise(1), None]}))
    broken, good, missing = table.to_pylist()
    assert "no image of a known format" in broken["error"]
    assert broken["detections"] is None
    assert good["error"] is None
    assert missing["error"] == "expected an image, found NoneType"
    assert table.schema == SCHEMA


def test_a_batch_without_images_is_an_error_that_lists_its_columns(detector: Detector) -> None:
    with pytest.raises(ItemError, match="expected a column bytes, image or path, found name"):
        detector(pa.table({"name": ["a"]}))


def test_a_model_can_travel_with_the_job(models: Path, find: Find) -> None:
    bundle = pickle.loads(pickle.dumps(ModelBundle.of(read_folder(models / "a-tiny"))))
    image = noise(3)
    check(Detector(bundle=bundle, threshold=0.3)(pa.table({"bytes": [image]})), find, image)


def test_an_unknown_model_names_those_there_are(models: Path) -> None:
    with pytest.raises(ConfigurationError, match="no model 'none'"):
        Detector("none", models_dir=models)


def job(models: Path, **details: Any) -> Job:
    bundle = ModelBundle.of(read_folder(models / "a-tiny"))
    return Job(Settings(workers=1), Options(), bundle, **details)


def test_results_come_in_order_with_digests_where_they_are_asked_for(
    models: Path, tmp_path: Path
) -> None:
    images = {f"{i}.png": noise(i) for i in range(40)} | {"x.png": b"broken"}
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    addresses = [str(tmp_path / name).encode() for name in (*images, "missing.png")]
    batch = pa.table({"number": list(range(100, 142)), "address": addresses})
    table = AddressDetector(job(models, needs_sha256=True))(batch)
    results = [Result(*each) for each in pickle.loads(table["results"][0].as_py())]
    assert [each.number for each in results] == list(range(100, 142))
    assert all(isinstance(each.outcome, Answer) for each in results[:40])
    digests = [hashlib.sha256(data).hexdigest() for data in images.values()]
    assert [each.sha256 for each in results] == [*digests, None]
    assert "no image of a known format" in str(results[40].outcome)
    assert str(results[41].outcome) == "cannot be read: No such file or directory"


def test_a_name_that_is_no_text_can_be_read(models: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(path)).write_bytes(noise(1))
    table = AddressDetector(job(models))(pa.table({"number": [1], "address": [path]}))
    (result,) = pickle.loads(table["results"][0].as_py())
    assert isinstance(result.outcome, Answer)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("The actor died\n  File x\nyolo_service.errors.ModelUnavailable: a: broken", "a: broken"),
        ("Worker died.", "Worker died."),
        ("", "PipelineError"),
    ],
)
def test_the_cause_of_a_failed_actor_is_one_line(text: str, cause: str) -> None:
    assert cause_of(PipelineError(text)) == cause


def test_the_command_of_the_document_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")
    command = re.findall(r"^yolo-service detect .*$", text, re.MULTILINE)[0]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(noise(1))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "YOLO_MODELS_DIR": str(ROOT / "models")}
    subprocess.run(command.split(), check=True, cwd=tmp_path, env=environment, timeout=SECONDS)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_the_example_of_the_document_runs(tmp_path: Path) -> None:
    """With files instead of buckets, and a small Ray."""
    text = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "photos").mkdir()
    for i in range(8):
        (tmp_path / "photos" / f"{i}.png").write_bytes(noise(i))
    code = (
        "import ray\n"
        "ray.init('local', num_cpus=3, include_dashboard=False, object_store_memory=10**8)\n"
        + example.replace("s3://bucket", str(tmp_path))
    )
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=SECONDS)
    import duckdb

    query = f"select count(*), count(error) from '{tmp_path}/detections/*.parquet'"
    assert duckdb.connect().execute(query).fetchall() == [(8, 0)]
