from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from darknet.detections import Detections
from yolo_service.formats import FORMATS, Answer, Timings, darknet, objects


@pytest.fixture
def answer() -> Answer:
    boxes = np.array([[10, 20, 4, 8], [1.23456, -2, 3, 4]], np.float32)
    scores = np.array([0.3, 0.9000001], np.float32)
    found = Detections(boxes, scores, np.array([1, 0], np.int32), ("cat", "dog"))
    timings = Timings(0.0, 1.23456, 2.0, 3.0)
    return Answer("pets", "openvino", "CPU", "fp32", 96, 64, found, timings)


def test_the_classic_format_lists_the_most_confident_first(answer: Answer) -> None:
    assert darknet(answer) == [
        ["cat", 0.9, [1.235, -2.0, 3.0, 4.0]],
        ["dog", 0.3, [10.0, 20.0, 4.0, 8.0]],
    ]


def test_objects_explain_themselves(answer: Answer) -> None:
    told = objects(answer)
    assert told["model"] == "pets"
    assert told["image"] == {"width": 96, "height": 64}
    assert told["timings"] == {
        "fetch_ms": 0.0,
        "decode_ms": 1.235,
        "queue_ms": 2.0,
        "inference_ms": 3.0,
    }
    first, second = told["detections"]
    assert (first["label"], first["class_id"], first["confidence"]) == ("cat", 0, 0.9)
    assert second["box"] == {"x": 10.0, "y": 20.0, "width": 4.0, "height": 8.0}
    assert second["corners"] == {"left": 8.0, "top": 16.0, "right": 12.0, "bottom": 24.0}


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_found_is_an_empty_list(answer: Answer, name: str) -> None:
    empty = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ("cat",)
    )
    told = FORMATS[name](replace(answer, detections=empty))
    assert (told if name == "darknet" else told["detections"]) == []


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_plain_json(answer: Answer, name: str) -> None:
    told = FORMATS[name](answer)
    assert json.loads(json.dumps(told)) == told
