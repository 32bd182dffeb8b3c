"""What happens to files when their items have ended, and when a process was killed before."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.folders import files, items, names, write
from tests.support.input_suite import png
from yolo_service.errors import ConfigurationError, InputError, ItemError
from yolo_service.inputs.claims import Claim
from yolo_service.inputs.file_item import FileItem
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.pipeline import read


def test_done_files_are_deleted_or_moved_to_their_relative_place(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "a.png", "sub/b.png")
    for item in items(folder, move_to=tmp_path / "done"):
        assert files(tmp_path / "done") == set() or item.name == "sub/b.png"
        item.done()
    assert files(folder) == set()
    assert files(tmp_path / "done") == {"a.png", "sub/b.png"}
    for item in items(tmp_path / "done", delete=True):
        item.done()
    assert files(tmp_path / "done") == set()


def test_moving_overwrites_nothing(tmp_path: Path) -> None:
    folder, done = write(tmp_path / "in", "a.png"), write(tmp_path / "done", "x", "a.png")
    for item in items(folder, move_to=done):
        item.done()
    assert files(done) == {"x", "a.png", "a-2.png"}
    assert (done / "a.png").read_bytes() == png(1)
    assert (done / "a-2.png").read_bytes() == png(0)


@pytest.mark.parametrize("place", ["move_to", "failed_to"])
def test_a_file_with_two_names_is_moved_on(tmp_path: Path, place: str) -> None:
    """As a process leaves it that is killed while it moves a file."""
    write(tmp_path / "in", "a.png")
    target = tmp_path / "out" / "a.png"
    target.parent.mkdir()
    options = InputOptions(move_to=tmp_path / "moved", failed_to=tmp_path / "failed")
    options = replace(options, **{place: target.parent})  # type: ignore[arg-type]
    (item,) = open_input([str(tmp_path / "in")], options)
    assert isinstance(item, FileItem)
    target.hardlink_to(item.place)
    if place == "move_to":
        item.done()
    else:
        item.failed(ItemError("is broken"))
    assert list((tmp_path / "in").iterdir()) == []
    assert sorted(path.name for path in target.parent.glob("*.png")) == ["a.png"]


def test_files_are_moved_to_another_file_system(tmp_path: Path, elsewhere: Path) -> None:
    folder = write(tmp_path / "in", "a.png")
    os.utime(folder / "a.png", (1, 1))
    for item in items(folder, move_to=elsewhere):
        item.done()
    assert files(elsewhere) == {"a.png"}
    assert (elsewhere / "a.png").read_bytes() == png(0)
    assert (elsewhere / "a.png").stat().st_mtime == 1
    assert files(folder) == set()


def hidden_copy(claimed: Path, name: str) -> str:
    """Return the name that a copy has until it is complete."""
    return f".{name}.{hashlib.sha256(bytes(claimed)).hexdigest()[:8]}.part"


def test_a_move_to_another_file_system_interrupted_by_a_kill_leaves_one_file(
    killed: Path, elsewhere: Path
) -> None:
    (claimed,) = killed.glob(".a.png.*.claimed")
    shutil.copy2(claimed, elsewhere / "a.png")
    (elsewhere / hidden_copy(claimed, "a.png")).hardlink_to(elsewhere / "a.png")
    for item in items(killed, move_to=elsewhere):
        item.done()
    assert files(elsewhere) == {"a.png", "b.png"}
    assert files(killed) == set()


@pytest.mark.parametrize("takes_away", [True, False])
def test_a_failed_file_is_put_aside_with_its_error(tmp_path: Path, takes_away: bool) -> None:
    folder = write(tmp_path / "in", "sub/a.png")
    failed = write(tmp_path / "failed", "sub/a.png")
    (item,) = items(folder, delete=takes_away, failed_to=failed)
    item.failed(ItemError("it is broken"))
    assert files(folder) == set()
    assert files(failed) == {"sub/a.png", "sub/a-2.png", "sub/a-2.png.error.txt"}
    error = (failed / "sub/a-2.png.error.txt").read_text()
    assert error == f"{folder}/sub/a.png: it is broken\n"


def test_a_failed_file_stays_where_nobody_asked_for_anything_else(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "a.png")
    (item,) = items(folder, delete=True)
    assert files(folder) != {"a.png"}
    item.failed(ItemError("it is broken"))
    assert files(folder) == {"a.png"}


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.png")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", denied)
    with pytest.raises(InputError, match=r"cannot be renamed.*check the permissions"):
        items(tmp_path, delete=True)


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    """Each of four takes what the others have not; nothing is taken twice, and nothing is left."""
    write(tmp_path / "in", *(f"{i:03}.png" for i in range(200)))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from yolo_service.inputs.opening import open_input\n"
        "from yolo_service.inputs.options import InputOptions\n"
        "for item in open_input([sys.argv[1]], InputOptions(delete=True)):\n"
        "    item.read(); print(item.name, flush=True); item.done()\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "in"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    taken = [process.communicate(timeout=60)[0].split() for process in running]
    assert sorted(name for each in taken for name in each) == [f"{i:03}.png" for i in range(200)]
    assert files(tmp_path / "in") == set()


def test_a_file_that_cannot_be_opened_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests run as root, whom no permission stops; so the system's answer is made up."""
    write(tmp_path, "a.png", "b.png")
    opened = os.open

    def denied(path: str | Path, *more: int) -> int:
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *more)

    monkeypatch.setattr(os, "open", denied)
    first, second = items(tmp_path, delete=True)
    with pytest.raises(ItemError, match="cannot be read: Permission denied"):
        read(first)
    first.failed(ItemError("it cannot be read"))
    assert read(second) == png(1)
    second.done()
    assert files(tmp_path) == {"a.png"}


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder in which a process has claimed a file, and was killed."""
    folder = write(tmp_path / "in", "a.png", "b.png")
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from yolo_service.inputs.claims import Claim\n"
        "claim = Claim.take(Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, folder / "a.png"], check=False, timeout=60)
    assert not (folder / "a.png").exists()
    return folder


def test_what_a_killed_process_had_taken_is_taken_over(killed: Path) -> None:
    first, second = items(killed, delete=True)
    assert (first.name, second.name) == ("a.png", "b.png")
    assert first.taken_at is not None
    assert second.taken_at is None
    assert first.read() == png(0)
    first.done()
    second.release()
    assert files(killed) == {"b.png"}


@pytest.mark.parametrize("place", ["move_to", "failed_to"])
@pytest.mark.parametrize("name", ["a.png", "a-2.png"])
def test_a_move_interrupted_by_a_kill_is_ended_without_reading_the_file_again(
    killed: Path, tmp_path: Path, place: str, name: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"another one")
    (folder / name).unlink(missing_ok=True)
    (claimed,) = killed.glob(".a.png.*.claimed")
    (folder / name).hardlink_to(claimed)
    before = files(folder)
    assert names(killed, **{"delete": True, place: folder}) == ["b.png"]
    assert not claimed.exists()
    assert files(folder) == before
    assert (folder / name).read_bytes() == png(0)


@pytest.mark.parametrize("source", ["a.png", "*.png", "**/*.png", "**", "[ab].png", "./a.p*", "-"])
def test_it_is_taken_over_however_it_is_named(
    killed: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(killed)
    (killed / "b.png").unlink()
    (killed.parent / "names").write_text("a.png\n")
    with (killed.parent / "names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        (item,) = items(source, delete=True)
    assert item.name == "a.png"
    assert item.taken_at is not None
    assert item.read() == png(0)
    item.done()
    assert files(killed) == set()


@pytest.mark.parametrize("source", ["a.png", "*.png"])
def test_a_run_that_takes_nothing_away_does_not_find_it(killed: Path, source: str) -> None:
    (killed / "b.png").unlink()
    with pytest.raises(ConfigurationError, match=r"does not exist|no file matches"):
        items(killed / source)


def test_processes_share_what_matches_a_pattern(tmp_path: Path) -> None:
    folder = write(tmp_path, "a.png", "b.png")
    found = iter(open_input([str(folder / "*.png")], InputOptions(delete=True)))
    first = next(found)
    (other,) = items(folder / "*.png", delete=True)
    assert (first.name, other.name) == ("a.png", "b.png")
    assert list(found) == []
    for item in (first, other):
        item.done()
    assert files(folder) == set()


def test_a_file_that_was_given_back_before_a_kill_is_taken_once(killed: Path) -> None:
    (claimed,) = killed.glob(".a.png.*.claimed")
    (killed / "a.png").hardlink_to(claimed)
    first, second = items(killed, delete=True)
    assert (first.name, first.taken_at, second.name) == ("a.png", None, "b.png")
    first.done()
    second.done()
    assert files(killed) == set()


def test_what_it_had_taken_is_left_alone_by_runs_that_take_nothing_away(killed: Path) -> None:
    assert names(killed) == ["b.png"]


def test_a_claim_of_a_process_that_lives_is_respected(tmp_path: Path) -> None:
    folder = write(tmp_path, "a.png", "b.png")
    claim = Claim.take(folder / "a.png")
    assert claim
    assert Claim.take_over(claim.path) is None
    (item,) = items(folder, delete=True)
    assert item.name == "b.png"
    item.release()
    claim.release()
    assert files(folder) == {"a.png", "b.png"}


def test_a_new_file_of_the_name_is_not_overwritten_by_one_that_is_given_back(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, "a.png")
    claim = Claim.take(folder / "a.png")
    assert claim
    (folder / "a.png").write_bytes(png(7))
    claim.release()
    found = items(folder, delete=True)
    assert [item.name for item in found] == ["a.png", "a.png"]
    assert {bytes(item.read()) for item in found} == {png(0), png(7)}


def test_a_name_too_long_to_be_claimed_fails_alone(tmp_path: Path) -> None:
    long = "x" * 240 + ".png"
    folder = write(tmp_path / "in", "a.png", long)
    first, second = items(folder, delete=True, failed_to=tmp_path / "failed")
    assert read(first) == png(0)
    with pytest.raises(ItemError, match="name too long") as caught:
        read(second)
    second.failed(caught.value)
    assert long in files(tmp_path / "failed")
    assert len(files(tmp_path / "failed")) == 2
