"""A model that a build of the C library would get silently wrong is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from darknet.engines.libdarknet_files import Family, check_model
from darknet.errors import UnsupportedError
from tests.support.libdarknet_models import engine_of, model_of, tiny_with
from tests.support.networks import TINY

WIDE = tiny_with("height=48", "height=64")
"""TINY with sides that hank-ai's fork takes, multiples of 32."""
MISREAD_BY_PJREDDIE = {
    "scale_x_y": TINY + "scale_x_y=1.05\n",
    "new_coords": TINY + "new_coords=1\n",
    "activation": tiny_with("activation=leaky", "activation=mish"),
    "stride": tiny_with("stride=2\npad", "stride_x=2\nstride_y=1\npad"),
    "size 1 and a stride": tiny_with("size=3\nstride=2\npad=1", "size=1\nstride=2"),
    "dilation": tiny_with("stride=2\npad=1", "stride=1\npad=1\ndilation=2"),
    "groups": tiny_with("[maxpool]", "[route]\nlayers=-1\ngroups=2\n[maxpool]"),
    "several layers": tiny_with("[maxpool]", "[shortcut]\nfrom=-1,-1\n[maxpool]"),
    "weights_type": tiny_with(
        "[maxpool]",
        "[shortcut]\nfrom=-1\nweights_type=per_feature\nweights_normalization=relu\n[maxpool]",
    ),
    "reorg3d": tiny_with("[maxpool]\nsize=2", "[reorg3d]"),
    "sam": tiny_with("[maxpool]", "[sam]\nfrom=-1\n[maxpool]"),
    "not handed on": tiny_with("[maxpool]", "[local]\nfilters=8\n[maxpool]"),
    "last head": TINY + "[dropout]\n",
}
REGION = WIDE.split("[yolo]")[0] + "[region]\nclasses=2\nnum=2\n"
REVERSED = WIDE.replace("[maxpool]\nsize=2\nstride=2", "[reorg3d]\nstride=2\nreverse=1")


@pytest.mark.parametrize("text", MISREAD_BY_PJREDDIE.values(), ids=MISREAD_BY_PJREDDIE)
def test_what_pjreddies_library_misreads_is_refused_with_layer_line_and_another_engine(
    libdarknet: Path, text: str
) -> None:
    with pytest.raises(UnsupportedError, match=r"layer \d \[.*line \d+ .*openvino"):
        engine_of(model_of(text), libdarknet)


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("alexeyab", tiny_with("[maxpool]", "[sam]\nfrom=-1\nactivation=swish\n[maxpool]")),
        ("alexeyab", tiny_with("[maxpool]\nsize=2", "[reorg]\nflatten=1")),
        ("hank-ai", WIDE.replace("[maxpool]\nsize=2", "[reorg]")),
        ("hank-ai", REGION),
        ("alexeyab", REVERSED),
        ("hank-ai", REVERSED),
    ],
)
def test_what_the_later_forks_lack_is_refused(family: Family, text: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"line \d+ .*{family}'s source"):
        check_model(model_of(text), family, decodes=True)


@pytest.mark.parametrize("family", ["alexeyab", "hank-ai"])
@pytest.mark.parametrize("name", MISREAD_BY_PJREDDIE.keys() - {"last head", "not handed on"})
def test_the_later_forks_are_given_what_pjreddies_misreads(family: Family, name: str) -> None:
    text = MISREAD_BY_PJREDDIE[name].replace("height=48", "height=64")
    check_model(model_of(text), family, decodes=True)


def test_sides_that_hank_ais_fork_ends_its_process_for_are_refused() -> None:
    check_model(model_of(TINY), "alexeyab", decodes=True)
    with pytest.raises(UnsupportedError, match="no multiple of 32; use engine openvino"):
        check_model(model_of(TINY), "hank-ai", decodes=True)


def test_a_reversed_reorg3d_of_enough_channels_is_not_refused() -> None:
    check_model(model_of(REVERSED.replace("filters=8", "filters=16")), "alexeyab", decodes=True)


@pytest.mark.parametrize("options", ["", "softmax=1\nbackground=1"])
def test_a_region_that_the_forks_decode_differently_needs_the_librarys_dialect(
    options: str,
) -> None:
    model = model_of(REGION + options, dialect="pjreddie")
    check_model(model, "pjreddie", decodes=True)
    with pytest.raises(UnsupportedError, match="decoded as in dialect pjreddie"):
        check_model(model, "alexeyab", decodes=True)


def test_a_class_map_needs_a_tree_as_large_as_the_c_code_reads() -> None:
    model = model_of(REGION + "softmax=1", use_map=True)
    with pytest.raises(UnsupportedError, match="tree of 200 or more classes"):
        check_model(model, "pjreddie", decodes=True)


def test_a_network_that_needs_absurd_memory_is_refused_before_the_c_code_exits(
    libdarknet: Path,
) -> None:
    text = tiny_with("width=64\nheight=48", "width=9000\nheight=9000")
    text = text.replace("size=3\nstride=2", "size=501\nstride=2")
    with pytest.raises(UnsupportedError, match=r"needs about \d+\.\d GB"):
        engine_of(model_of(text), libdarknet)
