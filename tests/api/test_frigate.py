"""Frigate's DeepStack detector: what it sends, and what it reads of the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from darknet.cfg import read_cfg
from darknet.names import read_names
from darknet.weights import write_weights
from tests.support.fixtures import Client, ServerProcess, StartServer
from tests.support.networks import TINY, random_weights, write_model

DARKNETS = ("aeroplane", "diningtable", "motorbike", "pottedplant", "sofa", "tvmonitor")
COCOS = ("airplane", "dining table", "motorcycle", "potted plant", "couch", "tv")
"""The same classes as Darknet's coco.names calls them, and as COCO and Frigate do."""

LOW = 0.01


def add_model(folder: Path, names: tuple[str, ...], options: str = "") -> None:
    """Write a model that finds all of its classes in noise."""
    heads = {"classes=2": f"classes={len(names)}", "filters=14": f"filters={2 * (5 + len(names))}"}
    text = TINY
    for old, new in heads.items():
        text = text.replace(old, new)
    write_model(folder, text, names)
    (folder / "model.yaml").write_text(options)
    cfg = read_cfg(folder / "model.cfg")
    weights = random_weights(cfg, objectness=2.0, head_gain=4.0)
    write_weights(folder / "model.weights", cfg, weights)


@pytest.fixture
def coco(start_server: StartServer, tmp_path: Path) -> ServerProcess:
    """Models whose lists have Darknet's names, one of them, and both spellings of some."""
    add_model(tmp_path / "a-coco", ("person", *DARKNETS))
    add_model(tmp_path / "b-some", ("motorbike", "sofa"))
    add_model(tmp_path / "c-both", ("tv", *DARKNETS))
    add_model(tmp_path / "d-chosen", ("motorbike", "tv", "tvmonitor"), "labels: coco\n")
    return start_server(models_dir=str(tmp_path))


def frigates(server: ServerProcess, image: bytes) -> list[dict[str, Any]]:
    """Send an image as the plugin does: by requests, with an empty key where none is set."""
    url = f"http://127.0.0.1:{server.port}/v1/vision/detection"
    answer = requests.post(url, data={"api_key": ""}, files={"image": image}, timeout=60)
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


def read(predictions: list[dict[str, Any]], label_map: set[str]) -> list[str]:
    """Return the labels that the plugin takes: up to the first weak or unknown one."""
    labels = []
    for prediction in predictions:
        label = prediction["label"].lower()
        if prediction["confidence"] < 0.4 or label not in label_map:
            break
        labels.append(label)
    return labels


def deepstacks(client: Client, photo: bytes, model: str) -> set[str]:
    answer = client.post(
        [("image", photo), ("min_confidence", str(LOW))], f"/v1/vision/custom/{model}"
    )
    return {item["label"] for item in answer.json["predictions"]}


def darknets(client: Client, photo: bytes, model: str) -> set[str]:
    answer = client.post([("image_file", photo), ("model", model), ("threshold", str(LOW))])
    return {label for label, _, _ in answer.json}


def test_frigate_reads_every_detection_of_a_model_with_darknets_coco_names(
    coco: ServerProcess, photo: bytes
) -> None:
    predictions = frigates(coco, photo)
    assert {item["label"] for item in predictions} > {"motorcycle", "couch"}
    assert len(read(predictions, {"person", *COCOS})) == len(predictions)


def test_names_change_in_deepstacks_routes_and_where_model_yaml_says_so(
    coco: ServerProcess, photo: bytes
) -> None:
    client = coco.client()
    assert deepstacks(client, photo, "a-coco") == {"person", *COCOS}
    assert darknets(client, photo, "a-coco") == {"person", *DARKNETS}
    assert deepstacks(client, photo, "b-some") == {"motorbike", "sofa"}
    classes = {one["name"]: one["classes"] for one in client.get("/models").json["models"]}
    assert classes["a-coco"] == ["person", *DARKNETS]
    assert classes["d-chosen"] == ["motorcycle", "tv", "tvmonitor"]
    for route in (darknets, deepstacks):
        assert route(client, photo, "d-chosen") == {"motorcycle", "tv", "tvmonitor"}
    client.close()


def test_two_classes_never_get_one_name(coco: ServerProcess, photo: bytes) -> None:
    client = coco.client()
    assert deepstacks(client, photo, "c-both") == {"tv", *COCOS[:-1], "tvmonitor"}
    client.close()


def test_frigate_loses_nothing_on_photos(
    start_server: StartServer, xl: Path, shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "xl").symlink_to(xl)
    server = start_server(models_dir=str(tmp_path))
    names = set(read_names(xl / "coco.names"))
    assert names >= set(DARKNETS)
    label_map = names - set(DARKNETS) | set(COCOS)
    photos = sorted((shared / "datasets" / "coco-val128").rglob("*.jpg"))
    answers = [frigates(server, path.read_bytes()) for path in photos]
    lost = sum(len(answer) - len(read(answer, label_map)) for answer in answers)
    assert (lost, sum(map(len, answers)) > 400) == (0, True)
