from __future__ import annotations

from pathlib import Path

import pytest

from darknet.cfg import parse_cfg, read_cfg
from darknet.cfg.input_size import nearest_size, smaller_size
from darknet.errors import CfgError
from tests.support.networks import TINY

STRIDES = {"yolov2": 32, "yolov3": 32, "yolov3-tiny": 32, "yolo9000": 32}
CONNECTED = """
[net]
width=8
height=8
channels=3

[connected]
output=14
activation=linear
"""


@pytest.mark.parametrize(("name", "stride"), STRIDES.items())
def test_the_stride_is_that_of_the_coarsest_feature_map(
    name: str, stride: int, darknet_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(darknet_data)  # class trees are named from there
    assert read_cfg(darknet_data / "cfg" / f"{name}.cfg").stride == (stride, stride)


def test_squeeze_and_excitation_does_not_count_as_a_feature_map() -> None:
    text = TINY.replace(
        "[yolo]",
        "[avgpool]\n[convolutional]\nfilters=14\nsize=1\nactivation=logistic\n"
        "[scale_channels]\nfrom=-3\n[yolo]",
    )
    assert parse_cfg(text).stride == (4, 4)


def test_strides_of_both_directions_are_told_apart() -> None:
    text = TINY.replace("size=3\nstride=2", "size=3\nstride_x=4\nstride_y=2")
    assert parse_cfg(text).stride == (8, 4)


def test_another_size_changes_shapes_and_neither_weights_nor_anchors() -> None:
    own, large = parse_cfg(TINY), parse_cfg(TINY, input_size=(128, 32))
    assert large.net.input == (3, 32, 128)
    assert large.heads[0].input == (14, 8, 32)
    assert large.input_size == (128, 32)
    assert [layer.arrays for layer in large.layers] == [layer.arrays for layer in own.layers]
    assert large.heads[0].anchors == own.heads[0].anchors
    assert large.warnings == own.warnings


def test_the_size_of_the_cfg_is_no_other_size() -> None:
    assert parse_cfg(TINY, input_size=(64, 48)).input_size is None


@pytest.mark.parametrize(
    ("size", "nearest"), [((66, 48), "68x48"), ((65, 49), "64x48"), ((0, 1), "4x4")]
)
def test_a_size_that_is_no_multiple_of_the_stride_names_the_nearest(
    size: tuple[int, int], nearest: str
) -> None:
    with pytest.raises(CfgError, match=f"multiple of 4 .*the nearest is {nearest}") as caught:
        parse_cfg(TINY, source="a.cfg", input_size=size)
    assert (caught.value.source, caught.value.option) == ("a.cfg", "input_size")


def test_a_huge_size_is_an_error_before_memory_is_allocated() -> None:
    with pytest.raises(CfgError, match="input_size: 40000x40000 has more than"):
        parse_cfg(TINY, input_size=(40000, 40000))


def test_a_network_whose_weights_depend_on_the_size_keeps_it() -> None:
    with pytest.raises(CfgError, match=r"layer 0 \[connected\] .* only be computed at 8x8"):
        parse_cfg(CONNECTED, input_size=(16, 16))


def test_the_neighbours_of_a_size() -> None:
    assert nearest_size((400, 431), (32, 32)) == (416, 416)
    assert smaller_size((416, 400), (32, 32)) == (384, 384)
    assert smaller_size((416, 32), (32, 32)) is None
