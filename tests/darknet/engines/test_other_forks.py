"""AlexeyAB's and hank-ai's libraries, played by stand-ins, answer as all engines do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darknet.detections import Detections
from darknet.engines.libdarknet_abi import open_library
from darknet.engines.openvino import load as load_openvino
from darknet.model import Model, Resize, Thresholds
from tests.support.libdarknet_models import an_image, engine_of, model_of
from tests.support.networks import TINY
from tests.support.other_forks import build_fork
from tests.support.paths import LIBRARY

pytestmark = pytest.mark.usefixtures("libdarknet")
FAMILIES = {"alexeyab": (), "hank-ai": ("HANK",)}
WIDE = TINY.replace("height=48", "height=64")
SECOND = """
[maxpool]
size=2
stride=2

[convolutional]
filters=21
size=1
activation=linear

[yolo]
mask=2,0,1
anchors=8,8, 16,24, 30,12
classes=2
num=3
"""
TWO_HEADS = WIDE + "[route]\nlayers=1\n" + SECOND


def detect(model: Model, library: Path, thresholds: Thresholds) -> Detections:
    engine = engine_of(model, library)
    (found,) = engine.detect([an_image()], thresholds)
    engine.close()
    return found


@pytest.mark.parametrize("kind", ["greedynms", "diounms"])
@pytest.mark.parametrize("library", ["debian", "alexeyab", "hank-ai"])
def test_every_library_suppresses_as_the_other_engines_do(
    tmp_path: Path, library: str, kind: str
) -> None:
    path = LIBRARY if library == "debian" else build_fork(tmp_path, *FAMILIES[library])
    text = WIDE + f"nms_kind={kind}\nbeta_nms=0.9\n"
    found = {}
    for nms_kind in ("cfg", "iou"):
        model = replace(model_of(text), nms_kind=nms_kind)
        graph = load_openvino(model, device=None, precision="fp32", streams=None)
        (every,) = graph.detect([an_image()], Thresholds(0.0, 0.0))
        limits = Thresholds(clear_threshold(every), 0.3)
        (expected,) = graph.detect([an_image()], limits)
        graph.close()
        found[nms_kind] = detect(model, path, limits)
        assert found[nms_kind].class_ids.tolist() == expected.class_ids.tolist()
        np.testing.assert_allclose(found[nms_kind].scores, expected.scores, rtol=0, atol=1e-4)
    assert len(found["iou"]) < len(found["cfg"])


def clear_threshold(every: Detections) -> float:
    """Return a threshold for 50 to 150 rows, far from every row's own score."""
    best = np.sort(every.scores)[-150:-50]
    widest = np.argmax(np.diff(best))
    return float(best[widest] + best[widest + 1]) / 2


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_the_other_engines_in_their_order(
    tmp_path: Path, family: str, resize: Resize
) -> None:
    library = build_fork(tmp_path, *FAMILIES[family])
    assert open_library(library).family == family
    model = model_of(TWO_HEADS, resize=resize)
    graph = load_openvino(model, device=None, precision="fp32", streams=None)
    (every,) = graph.detect([an_image()], Thresholds(0.0, 0.0))
    threshold = clear_threshold(every)
    for limits in (Thresholds(0, 0), Thresholds(threshold, 0), Thresholds(threshold, 0.3)):
        (expected,) = graph.detect([an_image()], limits)
        found = detect(model, library, limits)
        assert len(found) > 20
        assert found.class_ids.tolist() == expected.class_ids.tolist()
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=0.1)
    graph.close()
