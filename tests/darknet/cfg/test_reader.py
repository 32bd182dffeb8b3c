"""A .cfg becomes layers with shapes, or an error that says where it is wrong."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg import parse_cfg, read_cfg
from darknet.errors import CfgError, DarknetError
from darknet.weights import expected_bytes
from tests.support.networks import TINY

NET = "[net]\nwidth=32\nheight=16\nchannels=3\n"


def only(section: str) -> L.Layer:
    """Return the single layer of a network of 32 x 16 x 3."""
    return parse_cfg(NET + section).layers[0]


def stack(*sections: str) -> tuple[L.Layer, ...]:
    return parse_cfg(NET + "\n".join(sections)).layers


CONV8 = "[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky"


@pytest.mark.parametrize(
    ("name", "layers", "file_bytes"),
    [
        ("yolov2.cfg", 32, 203934260 + 4),
        ("yolov3.cfg", 107, 248007048),
        ("yolov3-tiny.cfg", 24, 35434956),
        ("yolov3-spp.cfg", 114, 252209544),
        ("yolov3-openimages.cfg", 107, 259229388),
        ("yolo9000.cfg", 25, 195230020 + 4),
        ("yolov2-tiny.cfg", 16, 44948596 + 4),
    ],
)
def test_published_weights_have_the_length_that_the_cfg_implies(
    darknet_data: Path, name: str, layers: int, file_bytes: int
) -> None:
    """The older files have a header that is 4 bytes shorter."""
    cfg = read_cfg(darknet_data / "cfg" / name)
    assert len(cfg.layers) == layers
    assert expected_bytes(cfg) == file_bytes


def test_every_cfg_of_debians_package_is_read_without_a_warning(darknet_data: Path) -> None:
    for path in sorted((darknet_data / "cfg").glob("*.cfg")):
        cfg = read_cfg(path)
        assert cfg.warnings == ()
        assert all(layer.index == i for i, layer in enumerate(cfg.layers))


def test_layout_of_the_text_does_not_matter() -> None:
    plain = parse_cfg(TINY)
    text = "\ufeff; a comment\r\n" + TINY.strip().replace("=", " =\t ").replace(
        "\n", "\r\n\r\n # x\r\n"
    )
    found = [replace(layer, line=0) for layer in parse_cfg(text).layers]
    assert found == [replace(layer, line=0) for layer in plain.layers]


def test_numbers_may_have_a_comment_behind_them() -> None:
    assert only("[convolutional]\nfilters=8 # eight\nsize=1;one").output == (8, 16, 32)


def test_the_first_of_two_equal_options_counts_as_in_darknet() -> None:
    assert only("[convolutional]\nfilters=8\nfilters=9").output.channels == 8


@pytest.mark.parametrize(
    ("section", "shape"),
    [
        ("[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1", (4, 16, 32)),
        ("[convolutional]\nfilters=4\nsize=3\nstride=2\npadding=0", (4, 7, 15)),
        ("[convolutional]\nfilters=4\nsize=5\nstride_y=2\nstride_x=4\npad=1", (4, 8, 8)),
        ("[convolutional]\nfilters=4\nsize=3\ndilation=2\npad=1", (4, 16, 32)),
        ("[convolutional]\nfilters=3\ngroups=3\nsize=2\npad=0", (3, 15, 31)),
        ("[maxpool]\nsize=2\nstride=2", (3, 8, 16)),
        ("[maxpool]\nsize=2\nstride=1", (3, 16, 32)),
        ("[maxpool]\nsize=13\nstride=1", (3, 16, 32)),
        ("[maxpool]\nsize=3\nstride=2\npadding=0", (3, 7, 15)),
        ("[avgpool]", (3, 1, 1)),
        ("[upsample]\nstride=2", (3, 32, 64)),
        ("[dropout]\nprobability=.5", (3, 16, 32)),
        ("[softmax]\ngroups=3", (3, 16, 32)),
        ("[connected]\noutput=10", (10, 1, 1)),
        ("[cost]\ntype=sse", (3, 16, 32)),
        ("[crop]\ncrop_height=8\ncrop_width=9", (3, 8, 9)),
        ("[local]\nsize=3\nstride=1\npad=1\nfilters=5", (5, 16, 32)),
        ("[gru]\noutput=7", (7, 1, 1)),
        ("[rnn]\noutput=7\nhidden=3", (7, 1, 1)),
    ],
)
def test_output_shapes_follow_darknets_rules(section: str, shape: tuple[int, int, int]) -> None:
    assert only(section).output == shape


def test_routes_and_shortcuts_count_back_from_their_own_place() -> None:
    layers = stack(
        CONV8, "[convolutional]\nfilters=8", "[shortcut]\nfrom=-2", "[route]\nlayers=-1,0"
    )
    assert layers[2].sources == (0,)
    assert layers[3].sources == (2, 0)
    assert layers[3].output == (16, 8, 16)


def test_a_route_with_groups_takes_a_part_of_each_source() -> None:
    layers = stack(CONV8, "[route]\nlayers=-1\ngroups=2\ngroup_id=1")
    assert layers[1].output == (4, 8, 16)


def test_reorg_moves_space_to_channels_and_back() -> None:
    layers = stack(CONV8, "[reorg]\nstride=2", "[reorg3d]\nstride=2\nreverse=1")
    assert [tuple(layer.output) for layer in layers[1:]] == [(32, 4, 8), (8, 8, 16)]


def test_scale_channels_and_sam_have_the_shape_of_the_other_layer() -> None:
    layers = stack(
        CONV8,
        "[avgpool]",
        "[scale_channels]\nfrom=-2",
        "[convolutional]\nfilters=8",
        "[sam]\nfrom=-2",
    )
    assert layers[2].output == layers[4].output == (8, 8, 16)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "first section must be [net]"),
        ("[convolutional]\nfilters=1\n[cost]", 1, "first section must be [net]"),
        ("width=3\n[net]\n[cost]", 1, "before the first [section]"),
        ("[net]\nwidth 3\n[cost]", 2, "expected name=value"),
        ("[net\nwidth=3\n[cost]", 1, "expected [section]"),
        ("[net]\nwidth=32\n[cost]", 1, "must be above 0"),
        (NET, None, "expected 1 to"),
        (NET + "[batchnorm]\n", 5, "stored differently by each fork"),
        (NET + "[capsule]\nx=1", 5, "unknown section"),
        (NET + "[convolutional]\nfilters=eight", 6, "filters: expected a whole number"),
        (NET + "[convolutional]\nfilters=8.5", 6, "filters: expected a whole number"),
        (NET + "[convolutional]\nfilters=-1", 6, "filters: expected a number from 1"),
        (NET + "[convolutional]\nfilters=1_0", 6, "filters: expected a whole number"),
        (NET + "[convolutional]\nfilters=", 6, "filters: expected a whole number"),
        (NET + "[convolutional]\nactivation=magic", 6, "activation: expected one of"),
        (NET + "[convolutional]\nsize=64", 6, "does not fit"),
        (NET + "[convolutional]\nfilters=4\ngroups=3", 7, "groups"),
        (NET + "[convolutional]\nbinary=1", 6, "binary: is not supported"),
        (NET + "[convolutional]\nsize=3\ndilation=2\npadding=0", 7, "dilation"),
        (NET + "[convolutional]\ndontload=1", 6, "dontload: is not supported"),
        (NET + "[upsample]\nscale=nan", 6, "scale: expected a number"),
        (NET + "[upsample]\nstride=-2", 6, "stride"),
        (NET + "[maxpool]\nsize=2\npadding=9", 7, "padding"),
        (NET + "[maxpool]\nsize=64\nstride=2\npadding=0", 5, "would be empty"),
        (NET + "[route]\nlayers=-1", 6, "layer -1 does not exist"),
        (NET + "[route]\nlayers=0", 6, "layer 0 does not exist"),
        (NET + "[route]\n", 5, "layers"),
        (NET + "[avgpool]\n[route]\nlayers=0\ngroups=2", 8, "does not divide the 3 channels"),
        (NET + "[avgpool]\n[route]\nlayers=0\ngroups=3\ngroup_id=3", 9, "group_id"),
        (NET + "[dropout]\n[avgpool]\n[route]\nlayers=0,1", 8, "differ in size"),
        (NET + "[dropout]\n[avgpool]\n[shortcut]\nfrom=0,1", 8, "cannot be added"),
        (NET + "[avgpool]\n[dropout]\n[shortcut]\nfrom=-9", 8, "layer -9 does not exist"),
        (NET + "[dropout]\n[shortcut]\nweights_type=per_pixel", 7, "weights_type"),
        (NET + "[dropout]\n[shortcut]\nfrom=-1\nweights_type=per_channel", 8, "relu or softmax"),
        (NET + "[reorg]\nstride=2", 6, "channels by its square"),
        (NET + "[scale_channels]\n", 5, "from: this section needs"),
        (NET + "[dropout]\n[scale_channels]\nfrom=0", 7, "expected an input of"),
        (NET + "[dropout]\n[avgpool]\n[sam]\nfrom=0", 8, "expected"),
        (NET + "[softmax]\ngroups=7", 6, "does not divide"),
        (NET + "[softmax]\ntree=none.tree", 6, "none.tree not found"),
        (NET + "[crop]\ncrop_height=99", 6, "crop_height"),
        (NET + "[yolo]\nclasses=2\nnum=1", 6, "needs 7 input channels"),
        (NET + "[yolo]\nanchors=1,2,3\nnum=2", 6, "expected 4 numbers above 0"),
        (NET + "[yolo]\nanchors=1,x\nnum=1", 6, "anchors: expected a number"),
        (NET + "[yolo]\nmask=3\nnum=2", 6, "mask: expected numbers from 0 to 1"),
        (NET + "[Gaussian_yolo]\nclasses=2\nnum=1", 6, "needs 11 input channels"),
        (NET + "[Gaussian_yolo]\nyolo_point=top", 6, "yolo_point: expected one of"),
        (NET + "[region]\ncoords=5", 6, "boxes of 4 numbers"),
        (NET + "[detection]\nside=7", 5, "needs"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_option(
    text: str, line: int | None, message: str
) -> None:
    with pytest.raises(CfgError, match=re.escape(message)) as caught:
        parse_cfg(text, source="my.cfg")
    assert caught.value.line == line
    assert str(caught.value).startswith("my.cfg")


@pytest.mark.parametrize(
    "text",
    [
        "[net]\nwidth=99999\nheight=99999\nchannels=3\n[cost]",
        NET + "[convolutional]\nfilters=1000000000\nsize=1",
        NET + "[connected]\noutput=1000000000",
        NET + "[upsample]\nstride=100000",
        NET + "[upsample]\nstride=64\n" * 8,
        NET + "[dropout]\n" * 5000,
        NET + "x" * (5 << 20),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_allocated(text: str) -> None:
    with pytest.raises(CfgError):
        parse_cfg(text)


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"gone\.cfg: cannot be read"):
        read_cfg(tmp_path / "gone.cfg")


def test_an_option_nobody_knows_is_a_warning_with_its_line() -> None:
    cfg = parse_cfg(NET + "[convolutional]\nfilter=3", source="a.cfg")
    assert cfg.warnings == ("a.cfg:6: filter: unknown option of [convolutional], ignored",)


def test_heads_must_agree_on_the_number_of_classes() -> None:
    with pytest.raises(CfgError, match=re.escape("no [yolo] or [region] section")):
        assert parse_cfg(NET + "[cost]").classes
    assert parse_cfg(TINY).classes == 2


_WORDS = ["[net]", "[convolutional]", "[route]", "[yolo]", "[maxpool]", "width=8", "height=8"]
_WORDS += ["channels=3", "filters=", "layers=-1", "size=3", "0", "-", ",", "=", "\n", "\r", "#"]


@given(st.lists(st.sampled_from(_WORDS) | st.text(max_size=4), max_size=40))
def test_any_text_is_a_network_or_a_cfg_error(words: list[str]) -> None:
    with suppress(DarknetError):
        cfg = parse_cfg("\n".join(words))
        assert all(min(layer.output) > 0 for layer in cfg.layers)


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_tree_outside_of_the_cfgs_folder_that_is_another_kind_of_file_is_not_read(
    is_linked: bool, tmp_path: Path
) -> None:
    folder, secret = tmp_path / "model", tmp_path / "passwords"
    folder.mkdir()
    secret.write_text("root secret")
    if is_linked:
        (folder / "a.tree").symlink_to(secret)
    text = f"{NET}[softmax]\ntree={'a.tree' if is_linked else secret}"
    with pytest.raises(CfgError, match="outside of the") as error:
        parse_cfg(text, folder=folder)
    assert "secret" not in str(error.value).replace(str(secret), "")


def test_a_tree_outside_of_the_cfgs_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "a.tree").write_text("animal -1\nplant -1\n")
    net = "[net]\nwidth=1\nheight=1\nchannels=2\n"
    assert parse_cfg(f"{net}[softmax]\ntree=../a.tree", folder=folder).layers
