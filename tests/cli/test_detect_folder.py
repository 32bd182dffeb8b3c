"""What ``yolo-service detect`` promises of a folder, with the real command.

Nothing is lost and nothing is answered twice, whatever ends the process; a reader never sees a part
of a result; memory does not grow with the number of images.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.command import COMMAND
from tests.support.folders import files
from tests.support.waiting import wait_until
from yolo_service.inputs.claims import claimed_name

SECONDS = 60


def image(seed: int, suffix: str = ".png") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def fill(folder: Path, count: int) -> set[str]:
    """Write images into sub-folders, of which a few are broken; returns the names."""
    names = {f"{i % 10}/{i:05}.png" for i in range(count)}
    for i, name in enumerate(sorted(names)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"broken" if i % 100 == 7 else image(i % 20))
    return names


def inodes_in(*folders: Path) -> set[tuple[str, int]]:
    """Return the names of images with their inodes: one may have two names while it is moved."""
    found = [(folder, name) for folder in folders for name in files(folder)]
    images = [each for each in found if not each[1].endswith((".error.txt", ".part"))]
    return {(original_name(name), (folder / name).stat().st_ino) for folder, name in images}


def is_broken(folder: Path) -> set[str]:
    return {name for name in files(folder) if not name.endswith(".error.txt")}


class Detect:
    """The command in a process of its own."""

    def __init__(self, models: Path, *arguments: object) -> None:
        command = [str(COMMAND), "detect", "--models-dir", str(models), *map(str, arguments)]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")}
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=inherited
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send a signal, and return the exit code and the last line."""
        if number:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SECONDS)
        assert "Traceback" not in errors, errors
        return self.process.returncode, errors.splitlines()[-1]


class Reader(threading.Thread):
    """Looks at a folder of results each millisecond, and remembers all that it has seen.

    Attributes:
        versions: the files that each name was seen to be, by inode and time.
        partial: names of those that were no whole JSON document.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._is_over = folder, threading.Event()
        self.versions: dict[str, set[tuple[int, int]]] = {}
        self.partial: set[str] = set()

    def run(self) -> None:
        while not self._is_over.wait(0.001):
            self._look()

    def stop(self) -> None:
        self._is_over.set()
        self.join()
        self._look()

    def _look(self) -> None:
        for folder in [path for path in self._folder.glob("[0-9]") if path.is_dir()]:
            for entry in os.scandir(folder):
                self._read(f"{folder.name}/{entry.name}", entry)

    def _read(self, name: str, entry: os.DirEntry[str]) -> None:
        found = entry.stat()
        versions = self.versions.setdefault(name, set())
        if (found.st_ino, found.st_mtime_ns) in versions:
            return
        versions.add((found.st_ino, found.st_mtime_ns))
        try:
            if name.endswith(".json"):
                json.loads(Path(entry.path).read_bytes())
        except ValueError:
            self.partial.add(name)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    (tmp_path / "out").mkdir()
    reader = Reader(tmp_path / "out")
    reader.start()
    yield reader
    reader.stop()


def wait_for(reader: Reader, count: int, *running: Detect) -> None:
    """Wait until there are as many results, or a run has ended."""
    until = time.monotonic() + SECONDS
    while len(reader.versions) < count and all(one.process.poll() is None for one in running):
        assert time.monotonic() < until
        time.sleep(0.0005)


def test_killed_at_20_random_moments_nothing_is_lost_or_twice_or_partly_there(
    models: Path, tmp_path: Path, reader: Reader
) -> None:
    source, out, moved, failed = (tmp_path / name for name in ("in", "out", "moved", "failed"))
    names = fill(source, 1000)
    broken = {name for name in names if (source / name).read_bytes() == b"broken"}
    arguments = (source, "--to", out, "--move-input", moved, "--failed", failed)
    chance = random.Random(15)
    for number in range(20):
        running = Detect(models, *arguments)
        wait_for(reader, 48 * number + chance.randrange(1, 40), running)
        time.sleep(chance.random() * 0.02)
        running.kill()
        known = files(source) | files(moved) | files(failed)
        written = (".error.txt", ".part")
        there = {original_name(name) for name in known if not name.endswith(written)}
        assert there == names, "an image is lost"
        inodes = Counter(original_name(name) for name, _ in inodes_in(source, moved, failed))
        assert set(inodes.values()) == {1}, "an image is there twice"
    code, _ = Detect(models, *arguments).end()
    reader.stop()
    assert code in (0, 1)
    assert files(source) == set()
    assert files(moved) == names - broken
    assert files(failed) == broken | {f"{name}.error.txt" for name in broken}
    results = {f"{name}.json" for name in names - broken}
    assert {name for name in files(out) if name.endswith(".json")} == results
    assert reader.partial == set()
    twice = {name for name in results if len(reader.versions[name]) != 1}
    assert twice == set(), "a result was written again"


def test_killed_while_it_adds_to_a_file_every_image_has_one_line(
    models: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out.jsonl"
    names = fill(source, 400)
    broken = {name for name in names if (source / name).read_bytes() == b"broken"}
    arguments = (source, "--to", out, "--delete-input", "--failed", tmp_path / "failed", "--resume")
    chance = random.Random(3)
    for number in range(6):
        running = Detect(models, *arguments)
        wanted = 50 * number + chance.randrange(1, 40)
        wait_until(functools.partial(has_lines, out, wanted))
        time.sleep(chance.random() * 0.02)
        running.kill()
    Detect(models, *arguments).end()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    answered = Counter(
        Path(line["file"]).relative_to(source).as_posix() for line in lines if "error" not in line
    )
    assert set(answered) == names - broken
    assert set(answered.values()) == {1}
    assert files(source) == set()


def has_lines(path: Path, count: int) -> bool:
    return path.exists() and path.read_bytes().count(b"\n") > count


def original_name(name: str) -> str:
    """Return the name that a file had before it was claimed."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/{claimed_name(last) or last}"


def test_several_processes_share_a_folder_and_one_of_them_may_be_killed(
    models: Path, tmp_path: Path, reader: Reader
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    names = fill(source, 1500)
    arguments = (source, "--to", out, "--delete-input", "--failed", tmp_path / "failed", "--watch",
                 "--poll", "0.1", "--stop-file", tmp_path / "stop")  # fmt: skip
    first, second, third = (Detect(models, *arguments) for _ in range(3))
    wait_for(reader, 200, first)
    second.kill()
    wait_for(reader, len(names), first, third)
    until = time.monotonic() + SECONDS
    while files(source):
        assert time.monotonic() < until
        time.sleep(0.05)
    (tmp_path / "stop").touch()
    lines = [first.end()[1], third.end()[1]]
    reader.stop()
    assert all("done" in line for line in lines)
    assert len(is_broken(tmp_path / "failed")) == 15
    assert {name for name in files(out) if name.endswith(".json")} == {
        f"{name}.json" for name in names - is_broken(tmp_path / "failed")
    }
    assert reader.partial == set()
    # The error of an image may be written again: an image without a result is tried again.
    results = {name: seen for name, seen in reader.versions.items() if name.endswith(".json")}
    assert {name for name, seen in results.items() if len(seen) != 1} == set()


def test_memory_is_flat_over_10_000_files(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(image(i))
    for i in range(10_000):
        (tmp_path / "in" / f"{i:05}.png").hardlink_to(tmp_path / f"{i % 20}.png")
    out = tmp_path / "out.jsonl"
    running = Detect(models, tmp_path / "in", "--to", out)
    early = resident_when(running, out, 2000)
    late = resident_when(running, out, 9500)
    code, line = running.end()
    assert code == 0
    assert "10000 done" in line
    assert late - early < 20e6, f"{early / 1e6:.0f} MB after 2,000, {late / 1e6:.0f} MB after 9,500"


def resident_when(running: Detect, out: Path, count: int) -> int:
    """Return the memory of a process when its file has so many lines."""
    seen = 0
    with contextlib.ExitStack() as stack:
        while not out.exists():
            time.sleep(0.005)
        file = stack.enter_context(out.open("rb"))
        while seen < count:
            assert running.process.poll() is None
            seen += file.read().count(b"\n")
            time.sleep(0.002)
    pages = Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_a_watched_folder_is_served_until_the_process_is_told_to_end(
    models: Path, tmp_path: Path
) -> None:
    source, out, moved, failed = (tmp_path / name for name in ("in", "out", "moved", "failed"))
    source.mkdir()
    running = Detect(
        models, source, "--watch", "--poll", "0.05", "--to", out, "--move-input", moved,
        "--failed", failed, "--format", "darknet",
    )  # fmt: skip
    (source / "a.JPG").write_bytes(image(1, ".jpg"))
    (source / "broken.png").write_bytes(b"not an image")
    slow, data = source / "slow.jpeg", image(2, ".jpg")
    with slow.open("wb") as file:
        for part in (data[:100], data[100:300], data[300:]):
            wait_until((out / "a.JPG.json").exists)
            assert not (out / "slow.jpeg.json").exists()
            file.write(part)
            file.flush()
            time.sleep(0.5)  # ten polls
    wait_until((moved / "slow.jpeg").exists)
    wait_until((failed / "broken.png").exists)
    code, line = running.end(signal.SIGTERM)
    assert (code, line[:29]) == (1, "3 images: 2 done, 1 failed in")
    assert files(moved) == {"a.JPG", "slow.jpeg"}
    assert files(failed) == {"broken.png", "broken.png.error.txt"}
    assert files(out) == {"a.JPG.json", "slow.jpeg.json", "broken.png.error.txt"}
    assert files(source) == set()
    assert (moved / "slow.jpeg").read_bytes() == data


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_is_begun_and_gives_back_the_rest(
    models: Path, tmp_path: Path, reader: Reader, number: int
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    names = fill(source, 3000)
    running = Detect(models, source, "--to", out, "--delete-input", "--failed", tmp_path / "failed")
    wait_for(reader, 100, running)
    code, line = running.end(number)
    reader.stop()
    left = files(source)
    assert 0 < len(left) < 3000
    assert left < names, "a file kept its claimed name"
    done = {name.removesuffix(".json") for name in files(out) if name.endswith(".json")}
    assert done | is_broken(tmp_path / "failed") | left == names
    assert done & left == set()
    assert line.startswith(f"{3000 - len(left)} images: {len(done)} done")
    assert code == (1 if is_broken(tmp_path / "failed") else 0)


def test_a_resumed_run_computes_only_what_has_no_result(models: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    fill(source, 100)
    _, line = Detect(models, source, "--to", out, "--limit", "40").end()
    assert line.startswith("40 images: 39 done, 1 failed")
    before = {name: (out / name).stat().st_ino for name in files(out)}
    _, line = Detect(models, source, "--to", out, "--resume").end()
    assert line.startswith("100 images: 60 done, 1 failed, 39 skipped")
    after = {name: (out / name).stat().st_ino for name in files(out)}
    assert len(after) == 100
    assert {name: after[name] for name in before if name.endswith(".json")} == {
        name: inode for name, inode in before.items() if name.endswith(".json")
    }


def test_a_list_that_appears_at_the_end_holds_more_inputs_than_files_may_be_open(
    models: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out.json"
    fill(source, 400)
    command = (
        f"ulimit -Sn 128; exec {COMMAND} detect {source} --to {out} --delete-input "
        f"--models-dir {models} --threshold 0.01"
    )
    answer = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert "400 images: 396 done, 4 failed" in answer.stderr
    assert len({found["file_name"] for found in json.loads(out.read_text())}) == 396
    assert len(files(source)) == 4


def test_a_full_disk_ends_the_run_and_gives_everything_back(models: Path, tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk's; the results are larger than it."""
    source = tmp_path / "in"
    names = fill(source, 60)
    command = (
        f"ulimit -f 0; exec {COMMAND} detect {source} --to {tmp_path / 'out'} --delete-input "
        f"--models-dir {models}"
    )
    answer = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert answer.returncode == 1, answer.stderr
    assert "cannot be written to" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert files(source) == names
    assert files(tmp_path / "out") == set()
