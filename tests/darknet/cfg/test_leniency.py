"""What Darknet accepts is accepted, with a warning where it is read otherwise than written."""

from __future__ import annotations

from pathlib import Path

import pytest

from darknet.cfg import parse_cfg, read_cfg
from darknet.cfg import reader as reader_module
from darknet.cfg.layers import Convolutional, Region, Yolo
from darknet.errors import CfgError, NamesError
from tests.support.networks import TINY

TREE = "animal -1\nplant -1\ncat 0\ndog 0\n"
WITH_TREE = TINY.split("[yolo]")[0].replace("filters=14", "filters=9") + (
    "[region]\nclasses=4\nnum=1\nsoftmax=1\ntree=data/some.tree\nmap=data/some.map\n"
)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that WITH_TREE names."""
    folder = tmp_path / "elsewhere"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "some.tree").write_text(TREE)
    (folder / "data" / "some.map").write_text("2\n3\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("broken", ["<html>not found</html>", "", "animal -1\ncat 0\n"])
def test_a_broken_copy_beside_the_cfg_does_not_hide_the_named_file(
    tmp_path: Path, elsewhere: Path, broken: str
) -> None:
    (tmp_path / "some.tree").write_text(broken)
    (tmp_path / "some.map").write_text("4000\n")
    (tmp_path / "my.cfg").write_text(WITH_TREE)
    cfg = read_cfg(tmp_path / "my.cfg")
    head = cfg.heads[0]
    assert isinstance(head, Region)
    assert head.tree is not None
    assert (head.tree.names, head.class_map) == (("animal", "plant", "cat", "dog"), (2, 3))
    assert [str(tmp_path / name) in line for line, name in zip(cfg.warnings, NAMES, strict=True)]
    assert all("is read instead" in line for line in cfg.warnings)


NAMES = ("some.tree", "some.map")


def test_of_files_that_are_all_broken_the_first_one_is_named(
    tmp_path: Path, elsewhere: Path
) -> None:
    for path in (tmp_path / "some.tree", elsewhere / "data" / "some.tree"):
        path.write_text("animal\n")
    (tmp_path / "my.cfg").write_text(WITH_TREE)
    with pytest.raises(NamesError, match=f"{tmp_path}/some.tree:1: expected 'name parent'"):
        read_cfg(tmp_path / "my.cfg")


def test_more_anchors_than_num_are_left_out() -> None:
    more = TINY.replace("anchors=8,8, 16,24", "anchors=8,8, 16,24, 30,30, 50,50")
    head = parse_cfg(more).heads[0]
    assert isinstance(head, Yolo)
    assert list(head.all_anchors) == [(8, 8), (16, 24)]
    assert parse_cfg(more, source="my.cfg").warnings == (
        "my.cfg:28: anchors: has 8 numbers, the first 4 are used",
    )


@pytest.mark.parametrize("number", ["2.0", "2.", "2.000 # two"])
def test_a_whole_number_may_have_a_decimal_point(number: str) -> None:
    assert parse_cfg(TINY.replace("classes=2", f"classes={number}")).classes == 2


@pytest.mark.parametrize("number", ["2.5", ".0", "2.0.0", "2.0e0"])
def test_a_number_that_is_not_whole_is_still_refused(number: str) -> None:
    with pytest.raises(CfgError, match="expected a whole number"):
        parse_cfg(TINY.replace("classes=2", f"classes={number}"))


@pytest.mark.parametrize(
    ("option", "taken"), [("iou_loss=eiou", "iou"), ("nms_kind=cornersnms", "default")]
)
def test_kinds_that_darknet_does_not_know_are_a_warning(option: str, taken: str) -> None:
    name, _, value = option.partition("=")
    cfg = parse_cfg(TINY.strip() + f"\n{option}", source="my.cfg")
    head = cfg.heads[0]
    assert isinstance(head, Yolo)
    assert getattr(head if name == "nms_kind" else head.training, name) == taken
    (warning,) = cfg.warnings
    assert warning.startswith(f"my.cfg:30: {name}: '{value}' is not known to Darknet")


def test_cbn_is_batch_normalisation() -> None:
    first = parse_cfg(TINY.replace("batch_normalize=1", "cbn=1")).layers[0]
    assert isinstance(first, Convolutional)
    assert first.batch_normalize
    assert first.arrays == parse_cfg(TINY).layers[0].arrays


def test_the_machines_memory_bounds_the_feature_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[net]\nwidth=8192\nheight=8192\nchannels=3\n" + "[dropout]\n" * 6  # 1.2e9 elements
    monkeypatch.setattr(reader_module, "memory_bytes", lambda: 8 << 30)
    assert len(parse_cfg(text).layers) == 6
    monkeypatch.setattr(reader_module, "memory_bytes", lambda: 4 << 30)
    with pytest.raises(CfgError, match="the memory of this machine holds 1073741824"):
        parse_cfg(text)
