from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet.detections import Detections
from yolo_service.formats import FORMATS, darknet, objects, opex, rois
from yolo_service.formats.json import to_json
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


@pytest.fixture
def nothing(answer: Answer) -> Answer:
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return replace(answer, detections=Detections(boxes, scores, np.zeros(0, np.int32), ("cat",)))


def test_nothing_found_is_an_empty_list(nothing: Answer) -> None:
    assert darknet(nothing) == []
    assert objects(nothing)["detections"] == []
    assert opex(nothing)["objects"] == []
    assert list(csv.DictReader(io.StringIO(rois(nothing)))) == []


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_plain_json(answer: Answer, name: str) -> None:
    document = FORMATS[name](answer)
    assert json.loads(json.dumps(document)) == document
