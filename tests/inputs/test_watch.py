"""Files that arrive in a watched folder."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.input_suite import png
from tests.support.predictors import eventually
from yolo_service import locks
from yolo_service.errors import ItemError
from yolo_service.inputs import Input, Item
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.watch import WatchedFolders

POLL = 0.05
SECONDS = 20


class Watcher:
    """An input of a folder with the items that it has yielded so far."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.input: Input = open_input(
            [str(folder)],
            InputOptions(watch=True, **{"poll": POLL, **options}),  # type: ignore[arg-type]
        )
        self.items: list[Item] = []
        self.thread = threading.Thread(target=self._take)
        self.thread.start()

    def _take(self) -> None:
        for item in self.input:
            self.items.append(item)

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.items]

    def polls(self, count: int = 4) -> None:
        """Wait until the folder was listed some more times."""
        assert isinstance(self.input, WatchedFolders)
        for _ in range(count):
            seen = self.input._seen
            eventually(lambda seen=seen: self.input._seen is not seen)  # type: ignore[misc]

    def stop(self) -> None:
        self.input.stop()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        self.input.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def watcher(folder: Path) -> Iterator[Watcher]:
    watcher = Watcher(folder)
    yield watcher
    watcher.stop()


def test_files_that_are_there_and_files_that_come_are_taken_once(
    folder: Path, watcher: Watcher
) -> None:
    (folder / "a.PNG").write_bytes(png())
    eventually(lambda: watcher.names == ["a.PNG"])
    (folder / "sub").mkdir()
    (folder / "sub" / "b.png").write_bytes(png(1))
    eventually(lambda: watcher.names == ["a.PNG", "sub/b.png"])
    watcher.polls()
    assert watcher.names == ["a.PNG", "sub/b.png"]


def test_a_file_that_arrives_slowly_is_taken_when_it_is_whole(
    folder: Path, watcher: Watcher
) -> None:
    """It pauses for many polls, longer than any number of tries; nothing is counted."""
    data = png()
    with (folder / "a.png").open("wb") as file:
        for at in range(0, len(data), len(data) // 3):
            file.write(data[at : at + len(data) // 3])
            file.flush()
            if file.tell() < len(data):
                watcher.polls(10)
                assert watcher.items == []
    eventually(lambda: watcher.names == ["a.png"])
    assert watcher.items[0].read() == data


def test_a_file_that_is_written_without_a_pause_is_not_taken_meanwhile(folder: Path) -> None:
    """It always looks whole: what follows an image's end plays no part."""
    watcher, poll = Watcher(folder, poll=0.6), 0.6
    with (folder / "a.png").open("wb") as file:
        file.write(png())
        until = time.monotonic() + 3 * poll
        while time.monotonic() < until:
            file.write(b"x")
            file.flush()
            time.sleep(poll / 100)
        assert watcher.items == []
    eventually(lambda: watcher.names == ["a.png"])
    watcher.stop()


def test_space_that_was_reserved_for_a_file_is_not_taken(folder: Path, watcher: Watcher) -> None:
    path, data = folder / "a.png", png()
    path.write_bytes(bytes(len(data)))
    watcher.polls(5)
    assert watcher.items == []
    path.write_bytes(data)
    eventually(lambda: watcher.names == ["a.png"])


def test_what_is_no_image_is_taken_because_it_has_no_end(folder: Path, watcher: Watcher) -> None:
    (folder / "a.jpg").write_bytes(b"not an image")
    eventually(lambda: watcher.names == ["a.jpg"])


def test_a_failed_file_that_stays_is_not_tried_again_until_it_changes(folder: Path) -> None:
    for takes_away in (False, True):
        watcher = Watcher(folder, delete=takes_away)
        (folder / "a.jpg").write_bytes(b"not an image")
        eventually(lambda watcher=watcher: len(watcher.items) == 1)  # type: ignore[misc]
        watcher.polls()
        watcher.items[0].failed(ItemError("no image"))
        watcher.polls(10)
        assert len(watcher.items) == 1
        (folder / "a.jpg").write_bytes(b"another one that is no image")
        eventually(lambda watcher=watcher: len(watcher.items) == 2)  # type: ignore[misc]
        watcher.items[1].failed(ItemError("no image"))
        watcher.stop()
        (folder / "a.jpg").unlink()


def test_a_file_that_is_replaced_is_taken_again(folder: Path, watcher: Watcher) -> None:
    (folder / "latest.png").write_bytes(png(0))
    eventually(lambda: len(watcher.items) == 1)
    (folder / "new").write_bytes(png(1) + b"x")
    (folder / "new").rename(folder / "latest.png")
    eventually(lambda: len(watcher.items) == 2)
    assert watcher.items[1].read() == png(1) + b"x"


@pytest.mark.parametrize("system", ["NFS without locks", "Windows"])
def test_a_file_is_taken_once_where_there_are_no_locks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if system == "Windows":
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        monkeypatch.setattr(locks.fcntl, "flock", refused)
    watcher = Watcher(folder, delete=True)
    (folder / "a.png").write_bytes(png())
    eventually(lambda: len(watcher.items) == 1)
    watcher.polls()
    assert watcher.names == ["a.png"]
    watcher.items[0].release()
    eventually(lambda: len(watcher.items) == 2)
    watcher.items[1].done()
    watcher.stop()
    assert list(folder.iterdir()) == []


def test_what_is_known_of_files_that_are_gone_is_forgotten(folder: Path) -> None:
    watcher = Watcher(folder, delete=True)
    for i in range(20):
        (folder / f"{i}.png").write_bytes(png(i))
    eventually(lambda: len(watcher.items) == 20)
    for item in watcher.items:
        item.done()
    watcher.polls()
    watcher.stop()
    assert isinstance(watcher.input, WatchedFolders)
    assert watcher.input._handled == {}
    assert list(folder.iterdir()) == []


def test_the_stop_file_ends_it(folder: Path, tmp_path: Path) -> None:
    watcher = Watcher(folder, stop_file=tmp_path / "stop")
    (folder / "a.png").write_bytes(png())
    eventually(lambda: watcher.names == ["a.png"])
    (tmp_path / "stop").touch()
    watcher.thread.join(SECONDS)
    assert not watcher.thread.is_alive()


def test_files_that_are_never_whole_are_named_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Watcher(folder)
    (folder / "cut off.png").write_bytes(png()[:-20])
    watcher.polls(5)
    watcher.stop()
    assert "1 files are not complete" in caplog.text
    assert "cut off.png" in caplog.text


def test_a_folder_that_vanishes_ends_the_run_with_an_error(folder: Path) -> None:
    """A share that is not mounted any more must not look like one without new images."""
    from yolo_service.errors import InputError

    source = open_input([str(folder)], InputOptions(watch=True, poll=POLL))
    threading.Timer(3 * POLL, folder.rmdir).start()
    with pytest.raises(InputError, match="cannot be read"):
        list(source)
