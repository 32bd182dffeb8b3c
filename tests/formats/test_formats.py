from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet.detections import Detections
from darknet.names import read_names
from yolo_service.formats import FORMATS, darknet, objects, opex, rois
from yolo_service.formats.coco import category_ids, coco
from yolo_service.formats.darknet_json import darknet_json
from yolo_service.formats.json import to_json
from yolo_service.formats.voc import voc
from yolo_service.formats.yolo import yolo
from yolo_service.predictor.answer import Answer, Timings


@pytest.fixture
def answer() -> Answer:
    boxes = np.array([[10, 20, 4, 8], [1.23456, -2, 3, 4]], np.float32)
    scores = np.array([0.3, 0.9000001], np.float32)
    found = Detections(boxes, scores, np.array([1, 0], np.int32), ("cat", "dog"))
    timings = Timings(0.0, 1.23456, 2.0, 3.0)
    return Answer("pets", "openvino", "CPU", "fp32", 96, 64, found, timings, "pets.jpg")


def test_the_classic_format_lists_the_most_confident_first(answer: Answer) -> None:
    assert darknet(answer) == [
        ["cat", 0.9, [1.235, -2.0, 3.0, 4.0]],
        ["dog", 0.3, [10.0, 20.0, 4.0, 8.0]],
    ]


def test_objects_explain_themselves(answer: Answer) -> None:
    document = objects(answer)
    assert document["model"] == "pets"
    assert document["image"] == {"width": 96, "height": 64}
    assert document["timings"] == {
        "fetch_ms": 0.0,
        "decode_ms": 1.235,
        "queue_ms": 2.0,
        "inference_ms": 3.0,
    }
    first, second = document["detections"]
    assert (first["label"], first["class_id"], first["confidence"]) == ("cat", 0, 0.9)
    assert second["box"] == {"x": 10.0, "y": 20.0, "width": 4.0, "height": 8.0}
    assert second["corners"] == {"left": 8.0, "top": 16.0, "right": 12.0, "bottom": 24.0}


def test_opex_has_whole_pixels_within_the_image_and_the_box_as_polygon(answer: Answer) -> None:
    document = opex(answer)
    assert re.fullmatch(r"\d{8}_\d{6}\.\d{6}", document["timestamp"])
    assert document["id"] == "pets.jpg"
    first, second = document["objects"]
    assert first["bbox"] == {"top": 0, "left": 0, "bottom": 0, "right": 3}
    assert second == {
        "score": 0.3,
        "label": "dog",
        "bbox": {"top": 16, "left": 8, "bottom": 24, "right": 12},
        "polygon": {"points": [[8, 16], [12, 16], [12, 24], [8, 24]]},
    }


def test_opex_calls_a_class_without_a_name_by_its_number(answer: Answer) -> None:
    nameless = replace(answer.detections, names=("", "dog"))
    document = opex(replace(answer, detections=nameless))
    assert [found["label"] for found in document["objects"]] == ["0", "dog"]


def test_rois_have_pixels_and_parts_of_the_image(answer: Answer) -> None:
    first, second = csv.DictReader(io.StringIO(rois(replace(answer, name='a,"b".jpg'))))
    assert (first["label_str"], first["y0"]) == ("cat", "-4.0")  # Darknet's box, not clipped
    assert second == {
        "file": 'a,"b".jpg',
        "x0": "8.0",
        "y0": "16.0",
        "x1": "12.0",
        "y1": "24.0",
        "x0n": "0.083333",
        "y0n": "0.25",
        "x1n": "0.125",
        "y1n": "0.375",
        "label": "1",
        "label_str": "dog",
        "score": "0.3",
    }


PLAIN = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.recursive(
    PLAIN, lambda items: st.lists(items, max_size=5) | st.dictionaries(st.text(), items)
)


@settings(max_examples=50, deadline=None)
@given(DOCUMENTS)
def test_json_reads_back_as_it_was_written(document: Any) -> None:
    text = to_json(document)
    assert text.endswith(b"\n")
    assert json.loads(text) == document


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_json_lacks_becomes_null(number: float) -> None:
    assert to_json([number]) == b"[null]\n"


def test_coco_has_the_upper_left_corner_and_the_size(answer: Answer) -> None:
    first, second = coco(answer)
    assert second == {
        "image_id": "pets.jpg",
        "file_name": "pets.jpg",
        "category_id": 2,
        "bbox": [8.0, 16.0, 4.0, 8.0],
        "score": 0.3,
    }
    assert first["category_id"] == 1


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("000000000042.jpg", 42),
        ("val/COCO_val2014_000000000042.jpg", 42),
        ("cat2.jpg", "cat2.jpg"),
        ("a/7.png", 7),
    ],
)
def test_coco_calls_an_image_by_its_number(answer: Answer, name: str, image_id: object) -> None:
    assert coco(replace(answer, name=name))[0]["image_id"] == image_id


def test_coco_numbers_its_own_80_classes_as_their_annotations_do(shared: Path) -> None:
    names = read_names(shared / "models" / "yolo-fastest-1.1-xl" / "coco.names")
    ids = category_ids(names)
    known = {"person": 1, "stop sign": 13, "dog": 18, "backpack": 27, "toothbrush": 90}
    assert {name: ids[names.index(name)] for name in known} == known
    assert len(set(ids)) == 80


def test_darknet_json_is_the_entry_of_alexeyabs_list(answer: Answer) -> None:
    document = darknet_json(answer)
    assert (document["frame_id"], document["filename"]) == (1, "pets.jpg")
    assert document["objects"][1] == {
        "class_id": 1,
        "name": "dog",
        "relative_coordinates": {
            "center_x": 0.104167,
            "center_y": 0.3125,
            "width": 0.041667,
            "height": 0.125,
        },
        "confidence": 0.3,
    }


def test_yolo_labels_are_clipped_to_the_image_as_training_wants_them(
    answer: Answer,
) -> None:
    """The box that lies above the image is left out."""
    outside = np.array([[10, 20, 4, 8], [10, -20, 4, 8], [0, 32, 8, 8]], np.float32)
    scores, ids = np.array([0.3, 0.9, 0.8], np.float32), np.array([1, 0, 0], np.int32)
    found = Detections(outside, scores, ids, ("cat", "dog"))
    rows = [line.split() for line in yolo(replace(answer, detections=found)).splitlines()]
    assert [row[0] for row in rows] == ["0", "1"]
    assert [float(value) for value in rows[0][1:]] == pytest.approx(
        [2 / 96, 0.5, 4 / 96, 0.125], abs=1e-6
    )


def test_voc_is_xml_with_whole_pixels(answer: Answer) -> None:
    nasty = replace(answer.detections, names=("<cat> & \x00 co", "dog"))
    root = ElementTree.fromstring(voc(replace(answer, name="sub/p&.jpg", detections=nasty)))
    assert (root.findtext("folder"), root.findtext("filename")) == ("sub", "p&.jpg")
    assert root.findtext("size/width") == "96"
    cat, dog = root.findall("object")
    assert cat.findtext("name") == "<cat> & ? co"
    edges = [dog.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    assert edges == ["8", "16", "12", "24"]


@pytest.fixture
def nothing(answer: Answer) -> Answer:
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return replace(answer, detections=Detections(boxes, scores, np.zeros(0, np.int32), ("cat",)))


def test_nothing_found_is_an_empty_list(nothing: Answer) -> None:
    assert darknet(nothing) == []
    assert objects(nothing)["detections"] == []
    assert opex(nothing)["objects"] == []
    assert list(csv.DictReader(io.StringIO(rois(nothing)))) == []
    assert coco(nothing) == []
    assert darknet_json(nothing)["objects"] == []
    assert yolo(nothing) == ""
    assert ElementTree.fromstring(voc(nothing)).findall("object") == []


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_plain_json(answer: Answer, name: str) -> None:
    document = FORMATS[name].make(answer)
    assert json.loads(json.dumps(document)) == document
