"""Files of results: how they are called, and what a reader sees of them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from tests.support.folders import files
from tests.support.output_suite import Run, answer, error_of
from tests.support.pipelines import FakeItem, broken
from yolo_service.errors import OutputError
from yolo_service.outputs.contents import Drawing, Formatted
from yolo_service.outputs.folder import FolderOutput


def write(output: FolderOutput, item: FakeItem) -> None:
    output.put(item, output.encode(item, answer(item.name, "cat")), lambda: None)


def test_two_inputs_of_one_stem_get_two_results(tmp_path: Path) -> None:
    output = FolderOutput(tmp_path, Formatted("objects"))
    for name in ("cat.jpg", "cat.png", "cat.JPG", "cat"):
        write(output, FakeItem(name, name, has_unique_stem=True))
    output.close()
    assert files(tmp_path) == {"cat.jpg.json", "cat.png.json", "cat.JPG.json", "cat.json"}


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_annotations_are_where_training_looks_for_them(tmp_path: Path, form: str) -> None:
    content = Formatted(form)
    suffix = {"yolo": "txt", "voc": "xml"}[form]
    assert content.name(FakeItem("a/cat.jpg", "", has_unique_stem=True)) == f"a/cat.{suffix}"
    assert content.name(FakeItem("a/cat.jpg", "")) == f"a/cat.jpg.{suffix}"


@pytest.mark.parametrize(
    ("name", "drawn", "start"),
    [
        ("a.jpg", "a.jpg", b"\xff\xd8"),
        ("a.JPEG", "a.JPEG", b"\xff\xd8"),
        ("a.png", "a.png", b"\x89PNG"),
        ("sub/a.webp", "sub/a.webp.png", b"\x89PNG"),
        ("a", "a.png", b"\x89PNG"),
    ],
)
def test_annotated_images_have_the_names_of_the_images(
    tmp_path: Path, name: str, drawn: str, start: bytes
) -> None:
    output = FolderOutput(tmp_path, Drawing())
    write(output, FakeItem(name, name))
    output.close()
    assert files(tmp_path) == {drawn}
    assert (tmp_path / drawn).read_bytes().startswith(start)
    image = cv2.imread(str(tmp_path / drawn))
    assert image is not None
    assert image.shape == (64, 96, 3)


def test_a_result_is_acknowledged_when_its_folder_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("yolo_service.outputs.folder.sync_folder", synced.append)
    output = FolderOutput(tmp_path, Formatted("objects"))
    acknowledged: list[str] = []
    for name in ("a.jpg", "sub/b.jpg", "c.jpg"):
        item = FakeItem(name, name)
        encoded = output.encode(item, answer(name, "cat"))
        output.put(item, encoded, lambda name=name: acknowledged.append(name))  # type: ignore[misc]
    assert acknowledged == []
    output.flush()
    assert set(synced) == {tmp_path, tmp_path / "sub"}
    assert len(synced) == 2
    assert acknowledged == ["a.jpg", "sub/b.jpg", "c.jpg"]


def test_a_success_replaces_the_error_of_an_earlier_run(tmp_path: Path) -> None:
    output = FolderOutput(tmp_path, Formatted("objects"))
    item = FakeItem("a.jpg", "photos/a.jpg")
    output.put_error(item, broken(), lambda: None)
    assert files(tmp_path) == {"a.jpg.error.txt"}
    assert "photos/a.jpg: cannot be read" in (tmp_path / "a.jpg.error.txt").read_text()
    write(output, item)
    output.close()
    assert files(tmp_path) == {"a.jpg.json"}


@pytest.mark.parametrize("call", ["unlink", "replace"])
def test_a_kill_leaves_no_error_beside_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    item = FakeItem("a.jpg", "a.jpg")
    output = FolderOutput(tmp_path, Formatted("objects"))
    output.put_error(item, broken(), lambda: None)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, call, killed)
    with pytest.raises(KeyboardInterrupt):
        write(output, item)
    monkeypatch.undo()
    output.abort()
    output = FolderOutput(tmp_path, Formatted("objects"))
    if not output.has(item):
        write(output, item)
    output.close()
    assert files(tmp_path) == {"a.jpg.json"}


def test_a_result_that_is_older_than_the_claim_is_of_another_image(tmp_path: Path) -> None:
    output = FolderOutput(tmp_path, Formatted("objects"))
    write(output, FakeItem("latest.jpg", ""))
    assert output.has(FakeItem("latest.jpg", "", taken_at=time.time() - 60))
    assert not output.has(FakeItem("latest.jpg", "", taken_at=time.time() + 60))
    output.close()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from yolo_service.whole_files import HiddenFolder\n"
        "HiddenFolder(Path(sys.argv[1])).write(b'left')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False, timeout=60)
    assert len(files(tmp_path)) == 1
    first = FolderOutput(tmp_path, Formatted("objects"))
    item = FakeItem("a.jpg", "a.jpg")
    encoded = first.encode(item, answer("a.jpg"))
    second = FolderOutput(tmp_path, Formatted("objects"))
    first.put(item, encoded, lambda: None)
    second.close()
    first.close()
    assert files(tmp_path) == {"a.jpg.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg.json"]


@pytest.mark.parametrize("letter", ["x", "é"])
def test_names_too_long_for_a_result_are_cut_and_stay_different(
    tmp_path: Path, letter: str
) -> None:
    output = FolderOutput(tmp_path, Formatted("objects"))
    longest = letter * (247 // len(letter.encode()))
    names = [f"sub/{longest}{n}.jpg" for n in range(3)]
    for name in names:
        write(output, FakeItem(name, name))
    assert all(output.has(FakeItem(name, name)) for name in names)
    output.put_error(FakeItem(names[0], ""), broken(), lambda: None)
    output.close()
    found = files(tmp_path)
    assert len(found) == 4
    assert all(name.startswith(f"sub/{letter * 100}") for name in found)


def test_a_full_disk_is_an_error_of_the_output_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    output = FolderOutput(tmp_path, Formatted("objects"))
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in str(error_of(output, "a.jpg"))
    output.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
        FolderOutput(tmp_path / "file", Formatted("objects"))


def test_files_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    output = FolderOutput(tmp_path, Formatted("objects"))
    write(output, FakeItem("a.jpg", ""))
    output.close()
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.jpg.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_results_go_into_the_relative_places(tmp_path: Path) -> None:
    class Any:
        shows_nothing = True

    run = Run(FolderOutput(tmp_path, Formatted("objects")), Any())  # type: ignore[arg-type]
    run.put("a/b/c.jpg")
    run.output.close()
    assert files(tmp_path) == {"a/b/c.jpg.json"}
