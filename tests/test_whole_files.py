"""Moves and hidden folders: what a kill leaves, and what other processes do meanwhile."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.folders import files
from yolo_service.whole_files import HiddenFolder, move


class Killed(BaseException):
    """In place of a kill, behind which nothing of a process runs."""


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_two_files_of_a_name_are_copied_at_once(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (written(tmp_path / name / "a.png", name.encode()) for name in ("one", "two"))
    copy = shutil.copyfileobj

    def meanwhile(*arguments: object) -> None:
        monkeypatch.undo()
        move(second, elsewhere / "a.png")
        copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shutil, "copyfileobj", meanwhile)
    assert move(first, elsewhere / "a.png").name == "a-2.png"
    assert (elsewhere / "a.png").read_bytes() == b"two"
    assert (elsewhere / "a-2.png").read_bytes() == b"one"
    assert files(elsewhere) == {"a.png", "a-2.png"}
    assert not first.exists()
    assert not second.exists()


def test_a_file_that_was_moved_is_not_written_into_after_a_kill(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "a.png", b"first")
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            raise Killed
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(Killed):
        move(source, elsewhere / "a.png")
    monkeypatch.undo()
    taken = (elsewhere / "a.png").rename(elsewhere / "taken.png")
    source.write_bytes(b"second")
    move(source, elsewhere / "a.png")
    assert taken.read_bytes() == b"first"
    assert (elsewhere / "a.png").read_bytes() == b"second"
    assert files(elsewhere) == {"a.png", "taken.png"}


def test_a_hidden_folder_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def meanwhile(**arguments: object) -> str:
        monkeypatch.undo()
        made = make(**arguments)  # type: ignore[call-overload]
        HiddenFolder(tmp_path).remove()
        return str(made)

    monkeypatch.setattr(tempfile, "mkdtemp", meanwhile)
    folder = HiddenFolder(tmp_path)
    assert folder.write(b"data").read_bytes() == b"data"
    HiddenFolder(tmp_path).remove()
    assert files(folder.path) == {"0.part"}
    folder.remove()


def test_a_hidden_folder_that_another_process_removes_is_no_error(tmp_path: Path) -> None:
    """A link that leads nowhere is found and cannot be opened, like a folder that is gone."""
    (tmp_path / f"{HiddenFolder.PREFIX}gone").symlink_to("nowhere")
    HiddenFolder(tmp_path).remove()
