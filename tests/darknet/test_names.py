"""Names lists, .data files, class trees and class maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from darknet.cfg.tree import read_map, read_tree
from darknet.errors import NamesError
from darknet.names import check_names, read_names


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_names_are_lines_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.names", "traffic light\r\nkočka\r\n\r\n")
    assert read_names(path) == ("traffic light", "kočka")


def test_a_data_file_names_the_list_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "a.names", "cat\ndog\n")
    data = write(tmp_path / "a.data", "classes = 2\nnames = data/a.names\n")
    assert read_names(data) == ("cat", "dog")


def test_debians_data_files_name_their_lists(darknet_data: Path) -> None:
    assert len(read_names(darknet_data / "cfg" / "coco.data")) == 80
    assert len(read_names(darknet_data / "cfg" / "openimages.data")) == 601


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.names", "", "empty file"),
        ("a.names", "\n \n", "empty file"),
        ("a.data", "classes=2\n", "expected a line 'names = FILE'"),
        ("a.data", "names = gone.names\n", "no such file"),
    ],
)
def test_a_useless_list_is_an_error_that_says_why(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(NamesError, match=message):
        read_names(write(tmp_path / name, text))


def test_missing_and_binary_lists_are_errors(tmp_path: Path) -> None:
    with pytest.raises(NamesError, match="cannot read"):
        read_names(tmp_path / "gone.names")
    (tmp_path / "b.names").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NamesError, match="cannot read"):
        read_names(tmp_path / "b.names")


def test_a_list_of_another_model_is_refused() -> None:
    with pytest.raises(NamesError, match="has 3 classes, but the names list has 2"):
        check_names(("a", "b"), 3, "x.cfg")


def test_the_tree_of_yolo9000_has_its_classes_and_groups(darknet_data: Path) -> None:
    tree = read_tree(darknet_data / "data" / "9k.tree")
    assert len(tree) == 9418
    assert tree.group_size.sum() == 9418
    assert tree.parent[tree.group_offset[0]] == -1
    inner = tree.child[tree.child >= 0]
    assert sorted(inner) == list(range(1, len(tree.group_size)))
    for node in (5000, 9417):
        group = tree.child[tree.parent[node]]
        first = tree.group_offset[group]
        assert first <= node < first + tree.group_size[group]


def test_the_map_of_yolo9000_names_80_nodes(darknet_data: Path) -> None:
    assert len(read_map(darknet_data / "data" / "coco9k.map", 9418)) == 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("a -1\nb x\n", ":2: expected 'name parent'"),
        ("a\n", ":1: expected 'name parent'"),
        ("a 0\n", ":1: parent must be -1 or an earlier line"),
        ("a -1\nb 1\n", ":2: parent must be"),
        ("a -1\nb 0\nc -1\n", ":3: roots must be the first group"),
        ("a -1 x\n", ":1: parent must be"),
    ],
)
def test_a_wrong_tree_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(NamesError, match=message):
        read_tree(write(tmp_path / "t.tree", text))


@pytest.mark.parametrize("text", ["1\n2\n9\n", "-1\n", "x\n", "1\n\n2\n"])
def test_a_wrong_map_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(NamesError, match=r":\d: expected a node from 0 to 8"):
        read_map(write(tmp_path / "m.map", text), 9)


@pytest.mark.parametrize("text", ["cat,dog, fox", "cat, dog,fox\n", "cat,dog,fox,\n\n"])
def test_names_may_be_one_line_with_commas(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.names").write_text(text)
    assert read_names(tmp_path / "a.names") == ("cat", "dog", "fox")


def test_commas_in_a_list_of_lines_belong_to_the_names(tmp_path: Path) -> None:
    (tmp_path / "a.names").write_text("dog, small\ndog, large\n")
    assert read_names(tmp_path / "a.names") == ("dog, small", "dog, large")


@pytest.mark.parametrize("text", ["cat,,dog", ",cat,dog"])
def test_a_name_that_is_missing_between_commas_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.names").write_text(text)
    with pytest.raises(NamesError, match="between any two commas"):
        read_names(tmp_path / "a.names")
