"""What is taken from folders, and how it is called."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.support.folders import items, names, write
from tests.support.input_suite import png
from yolo_service.errors import ConfigurationError, ItemError
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.pipeline import read


def test_suffixes_have_any_case_and_other_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "A.JPG", "b.Jpeg", "c.png", "d.TIFF", "notes.txt", "e.json", "f", ".hidden.jpg")
    write(tmp_path, ".thumbnails/a.jpg", "x.part")
    assert names(tmp_path) == ["A.JPG", "b.Jpeg", "c.png", "d.TIFF"]


def test_sub_folders_are_read_in_order_and_links_to_folders_are_not(tmp_path: Path) -> None:
    write(tmp_path, "b/2.png", "b/1.png", "a.png", "c.png")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "d.png").symlink_to(tmp_path / "a.png")
    assert names(tmp_path) == ["a.png", "b/1.png", "b/2.png", "c.png", "d.png"]


def test_folders_of_results_are_no_input(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "done/b.png", "failed/c.png", "drawn/d.png")
    found = names(
        tmp_path,
        move_to=tmp_path / "done",
        failed_to=tmp_path / "failed",
        ignored=(tmp_path / "drawn",),
    )
    assert found == ["a.png"]


@pytest.mark.parametrize("option", ["move_to", "failed_to", "drawn_to"])
def test_images_are_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Nor are the files that a run writes taken for new images."""
    write(tmp_path, "in/a.png", "in/b.png", "other/c.png")
    monkeypatch.chdir(tmp_path)
    folder = Path("in")
    for sources in (["in"], ["in/a.png"], ["in/*.png"], ["in/a.png", "in/b.png"], ["in", "other"]):
        with pytest.raises(ConfigurationError, match="is where the images are"):
            items(*sources, **{option: folder.absolute()})
    assert names("in", **{option: folder / "results"}) == ["a.png", "b.png"]


def test_a_list_that_does_not_come_is_not_waited_for_when_it_is_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w"):
        monkeypatch.setattr("sys.stdin", stdin)
        source = open_input(["-"], InputOptions())
        threading.Timer(0.1, source.stop).start()
        assert list(source) == []


def test_sources_of_several_kinds_follow_each_other(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "sub/b.png")
    sources = [str(tmp_path), "http://127.0.0.1:9/x.png", str(tmp_path / "a.png")]
    source = open_input(sources, InputOptions())
    assert source.count() == 4
    base = tmp_path.name  # the folder of all paths, whatever stands between them, is its parent
    paths = [f"{base}/a.png", f"{base}/sub/b.png"]
    assert [item.name for item in source] == [*paths, "127.0.0.1:9/x.png", paths[0]]
    source.stop()
    assert list(source) == []
    source.close()


def test_names_are_relative_to_the_folder_that_has_all_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "one/cat.png", "two/cat.png", "two/sub/dog.png")
    one, two = tmp_path / "one", tmp_path / "two"
    assert names(two) == ["cat.png", "sub/dog.png"]
    assert names(one / "cat.png") == ["cat.png"]
    assert names(one / "cat.png", two / "cat.png") == ["one/cat.png", "two/cat.png"]
    assert names(one, two) == ["one/cat.png", "two/cat.png", "two/sub/dog.png"]
    assert names(one / "cat.png", one / "cat.png") == ["cat.png", "cat.png"]
    assert names(tmp_path / "*" / "*.png") == ["one/cat.png", "two/cat.png"]
    assert names(tmp_path / "**" / "d*.png") == ["two/sub/dog.png"]
    monkeypatch.chdir(one)
    assert names("cat.png") == names(".") == names("*.png") == ["cat.png"]
    assert names("../two/cat.png") == ["cat.png"]


def test_the_origin_is_the_path_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "photos/a.png")
    monkeypatch.chdir(tmp_path)
    assert [item.origin for item in items("photos")] == ["photos/a.png"]


@pytest.mark.parametrize("source", ["missing.png", "missing/*.png"])
def test_what_does_not_exist_is_an_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        items(tmp_path / source)


def test_only_folders_are_watched(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(
        ConfigurationError, match=r"only folders and s3:// addresses can be watched; .*a\.png"
    ):
        items(tmp_path / "a.png", watch=True)


def test_two_images_of_one_stem_know_it(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "a.JPG", "b.png", "sub/a.png")
    unique = {item.name: item.has_unique_stem for item in items(tmp_path)}
    assert unique == {"a.JPG": False, "a.png": False, "b.png": True, "sub/a.png": True}
    assert not any(item.has_unique_stem for item in items(tmp_path, delete=True))


def test_a_name_that_is_listed_but_missing_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.png")
    reading, writing = os.pipe()
    os.write(writing, f"{tmp_path}/missing.png\n\n{tmp_path}/a.png".encode())
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        missing, there = items("-", delete=True)
    with pytest.raises(ItemError, match="No such file"):
        read(missing)
    assert read(there) == png(0)
