"""Builds of libdarknet that compute a layer wrongly are found by what they answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from darknet.errors import UnsupportedError
from darknet.model import Thresholds
from tests.support.libdarknet_models import an_image, engine_of, model_of, tiny_with
from tests.support.networks import TINY
from tests.support.other_forks import build_fork

pytestmark = pytest.mark.usefixtures("libdarknet")
POOLED = tiny_with("[maxpool]", "[maxpool]\nsize=5\nstride=1\n[maxpool]")
RELU6 = tiny_with("activation=leaky", "activation=relu6")


@pytest.mark.parametrize(
    ("fault", "text", "words"),
    [
        ("WRONG_MAXPOOL", POOLED, r"layer 1 \[maxpool\] .*has stride 1, .*AVX=0.*openvino"),
        ("ZERO_RELU6", RELU6, r"layer 0 \[convolutional\] .*relu6, which is always 0.*openvino"),
    ],
)
def test_a_layer_that_a_build_computes_wrongly_is_refused_and_others_are_not(
    tmp_path: Path, fault: str, text: str, words: str
) -> None:
    library = build_fork(tmp_path, fault)
    with pytest.raises(UnsupportedError, match=words):
        engine_of(model_of(text), library)
    engine = engine_of(model_of(TINY), library)
    assert len(engine.detect([an_image()], Thresholds(0.01))[0])
    engine.close()


@pytest.mark.parametrize("text", [POOLED, RELU6])
def test_a_build_without_the_fault_is_given_the_layer(tmp_path: Path, text: str) -> None:
    engine_of(model_of(text), build_fork(tmp_path)).close()


def test_debians_library_pools_with_stride_1_correctly(libdarknet: Path) -> None:
    engine_of(model_of(POOLED), libdarknet).close()
