"""``yolo-service detect --cluster``: the rows of a run without it, each once."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cluster.conftest import Start, end, lines, rows
from tests.support.stores import BUCKET, Store, contents
from tests.support.waiting import wait_until


def test_500_photos_have_the_rows_of_a_run_without_a_cluster(
    start: Start, shared: Path, xl: Path, tmp_path: Path
) -> None:
    photos = sorted((shared / "datasets" / "coco-val128" / "images").iterdir())
    source = tmp_path / "photos"
    source.mkdir()
    for i in range(500):
        shutil.copy(photos[i % len(photos)], source / f"{i:03}.jpg")
    (source / "013.jpg").write_bytes(b"broken")
    (source / "014.jpg").write_bytes(photos[0].read_bytes()[:-2000])
    options = (source, "--model", xl.name, "--models-dir", xl.parent, "--to")
    outputs = [tmp_path / "plain.jsonl", tmp_path / "cluster.jsonl"]
    plain, _ = end(start(*options, outputs[0], cluster=None))
    clustered, errors = end(start(*options, outputs[1]))
    assert plain == clustered == 1
    assert "500 images: 4" in errors
    assert rows(outputs[0]) == rows(outputs[1])
    assert len(rows(outputs[1])) == 500


def test_an_actor_that_is_killed_loses_and_doubles_nothing(
    start: Start, folder: Callable[[int], Path], tmp_path: Path
) -> None:
    source, out = folder(3000), tmp_path / "out.jsonl"
    running = start(source, "--to", out)
    wait_until(lambda: lines(out) > 200)
    killed = [pid for pid in descendants(running.pid) if "ray::MapWorker" in command_of(pid)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    code, errors = end(running)
    assert killed
    assert code == 1
    assert "3000 images: 2970 done, 30 failed" in errors
    assert [row["file"] for row in rows(out)] == [str(path) for path in sorted(source.iterdir())]


def test_a_killed_driver_leaves_what_is_written_and_the_next_one_skips_it(
    start: Start, folder: Callable[[int], Path], tmp_path: Path
) -> None:
    source, out = folder(1500), tmp_path / "out.jsonl"
    running = start(source, "--to", out)
    wait_until(lambda: lines(out) > 300)
    running.kill()
    running.wait()
    whole = out.read_bytes().split(b"\n")[:-1]  # a line that it was killed in may follow
    written = sum("error" not in json.loads(line) for line in whole)
    code, errors = end(start(source, "--to", out, "--resume"))
    assert code == 1
    assert f"{written} skipped" in errors
    done = [row["file"] for row in rows(out) if "error" not in row]
    assert len(done) == len(set(done)) == 1485


def test_sigterm_writes_what_has_come_and_moves_no_other_image(
    start: Start, folder: Callable[[int], Path], tmp_path: Path
) -> None:
    source, out = folder(3000), tmp_path / "out"
    running = start(source, "--to", out, "--move-input", tmp_path / "done")
    wait_until((tmp_path / "done").exists)
    running.terminate()
    _, errors = end(running)
    moved = {path.name for path in (tmp_path / "done").iterdir()}
    assert f"{len(moved)} done" in errors
    assert {path.name for path in out.glob("*.json")} == {f"{name}.json" for name in moved}
    assert len(list(source.iterdir())) == 3000 - len(moved)
    assert 0 < len(moved) < 2970


def test_annotated_images_are_those_of_a_run_without_a_cluster(
    start: Start, folder: Callable[[int], Path], tmp_path: Path
) -> None:
    source = folder(12)
    options = (source, "--format", "voc", "--to")
    code, _ = end(start(*options, tmp_path / "out", "--draw", tmp_path / "drawn"))
    plain, _ = end(start(*options, tmp_path / "plain", "--draw", tmp_path / "same", cluster=None))
    assert code == plain == 1
    for made, expected in (("out", "plain"), ("drawn", "same")):
        found = {path.name: path.read_bytes() for path in (tmp_path / made).iterdir()}
        assert found == {path.name: path.read_bytes() for path in (tmp_path / expected).iterdir()}
        assert len(found) >= 11


def test_a_bucket_is_read_by_the_actors_and_gets_a_table(
    start: Start, store: Store, folder: Callable[[int], Path], tmp_path: Path
) -> None:
    for path in folder(150).iterdir():
        address = store.put(f"photos/{path.name}", path.read_bytes()).rpartition("/")[0]
    sink, failed = f"s3://{BUCKET}/out.parquet", tmp_path / "failed"
    code, errors = end(start(address, "--to", sink, "--failed", failed, **store.environment))
    assert code == 1
    assert "150 images: 148 done, 2 failed" in errors
    assert "Dataset" not in errors
    assert {path.read_bytes() for path in failed.glob("*.png")} == {b"broken"}
    table = pq.read_table(io.BytesIO(contents("")["out.parquet"])).to_pylist()
    assert {row["file"] for row in table} == {f"{i:05}.png" for i in range(150)}
    assert [row["file"] for row in table if row["error"]] == ["00007.png", "00107.png"]


def test_a_cluster_is_reached_by_its_address_and_found_on_this_machine(
    start: Start, head: Callable[[int], str], folder: Callable[[int], Path], tmp_path: Path
) -> None:
    address, source = head(2), folder(300)
    outputs = [tmp_path / "client.jsonl", tmp_path / "auto.jsonl"]
    for cluster, out in zip((address, "auto"), outputs, strict=True):
        code, errors = end(start(source, "--to", out, cluster=cluster))
        assert code == 1, errors
        assert "300 images: 297 done, 3 failed" in errors
    assert rows(outputs[0]) == rows(outputs[1])
    refused = start(source, "--num-cpus", 1, "--concurrency", "3:4", cluster=address)
    code, errors = end(refused)
    assert code == 2
    assert "no room for 3 actors with 1 CPU and 0 GPUs in 1 machine with 2 CPUs" in errors
    assert "--concurrency 2" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--num-cpus", "64"), "no room for an actor with 64 CPUs and 0 GPUs"),
        (("--num-gpus", "1"), "no room for an actor"),
        (("--watch",), "--watch is not for --cluster"),
        (("--fps", "1"), "--fps is not for --cluster"),
        (("--concurrency", "4:2"), "expected a number such as 4, or a range such as 1:8"),
        (("--classes", "unicorn"), "unicorn"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    start: Start, folder: Callable[[int], Path], arguments: tuple[str, ...], message: str
) -> None:
    code, errors = end(start(folder(1), *arguments))
    assert code == 2
    assert message in errors


def test_a_cluster_that_is_not_there_is_one_line(
    start: Start, folder: Callable[[int], Path]
) -> None:
    code, errors = end(start(folder(1), cluster="somewhere"))
    assert (code, errors) == (
        2,
        "Error: --cluster: expected auto, local or ray://HOST:10001\n",
    )


def test_without_ray_the_extra_is_named(folder: Callable[[int], Path], models: Path) -> None:
    words = ["detect", str(folder(1)), "--models-dir", str(models), "--cluster", "local"]
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from yolo_service.cli.main import main\n"
        f"main({words})"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "pip install 'yolo-service[ray]'" in found.stderr
    assert "Traceback" not in found.stderr


def descendants(pid: int) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [each for child in map(int, found) for each in (child, *descendants(child))]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
