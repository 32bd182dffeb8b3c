"""Every command of docs/sources.md is run as it stands there, in a folder with an image."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.redis_server import RedisServer
from tests.support.stores import Store, client
from tests.support.videos import make_video, need_video_tools
from tests.support.web_folder import serving

TEXT = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
ON_SERVERS = [line for line in COMMANDS if re.search(r"redis://|s3://", line)]
ALONE = [line for line in COMMANDS if line not in ON_SERVERS]
REDIS = "redis://localhost:6379/0"
HOST = "https://example.org/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "more").mkdir(parents=True)
    sample = ROOT / "models" / "blood-cells" / "sample.jpg"
    for name in ("sample.jpg", "more/cells.jpg"):
        shutil.copy(sample, tmp_path / "photos" / name)
    return tmp_path


@pytest.fixture
def host(folder: Path) -> Iterator[str]:
    """A web server in place of the one in the document."""
    with serving(folder / "photos") as url:
        yield f"{url}/"


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**clean, "PATH": path, "YOLO_MODELS_DIR": str(ROOT / "models")}
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


OF_IMAGES = [line for line in ALONE if "--watch" not in line and "clip.mp4" not in line]


@pytest.mark.parametrize("command", OF_IMAGES)
def test_commands_answer_every_image(command: str, folder: Path, host: str) -> None:
    images = 1 if "sample.jpg" in command else 2
    process = start(command.replace(HOST, host), folder)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"{images} image" in errors.splitlines()[-1]
    if sink := re.search(r"--to (\S+)", command):
        assert (folder / sink[1]).exists()
    else:
        assert printed
    if drawn := re.search(r"--draw (\S+)", command):
        assert len(list((folder / drawn[1]).rglob("*.jpg"))) == images


WRITTEN = {
    "--every": (4, []),
    "--fps": (4, [f"report/clip.mp4.frames/{name}" for name in ("frames.csv", "counts.svg")]),
    "--save-frames": (4, [f"frames/img_00{number}.jpg" for number in range(1, 5)]),
    "--draw annotated.mp4": (50, ["annotated.mp4", "results/clip.mp4.frames/statistics.csv"]),
    "--rotate": (50, ["drawn/clip.mp4", "results.jsonl"]),
}
"""How many frames a command uses, and what it writes, by an option that only it has."""


@pytest.mark.parametrize("command", [line for line in COMMANDS if "clip.mp4" in line])
def test_commands_answer_every_frame(command: str, tmp_path: Path) -> None:
    need_video_tools()
    make_video(tmp_path / "clip.mp4", 50)
    ((frames, written),) = (WRITTEN[option] for option in WRITTEN if option in command)
    process = start(command, tmp_path)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"{frames} images: {frames} done, 0 failed" in errors.splitlines()[-1]
    assert "--to" in command or len(printed.splitlines()) == frames
    for name in written:
        assert (tmp_path / name).is_file(), name


@pytest.mark.parametrize("command", [line for line in ALONE if "--watch" in line])
def test_a_watched_folder_is_served_until_the_file_exists(command: str, folder: Path) -> None:
    process = start(command, folder)
    until = time.monotonic() + 60
    while not (folder / "done" / "more" / "cells.jpg").exists():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    (folder / "stop").touch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert (folder / "results" / "more" / "cells.jpg.json").exists()


@pytest.mark.parametrize("command", [line for line in ON_SERVERS if REDIS in line])
def test_commands_serve_redis_until_they_are_stopped(
    command: str, folder: Path, redis_server: RedisServer
) -> None:
    redis, image = redis_server.client(), (folder / "photos" / "sample.jpg").read_bytes()
    subscriber = redis.pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("out")
    subscriber.get_message(timeout=10)
    process = start(f"exec {command.replace(REDIS, redis_server.address)}", folder)
    try:
        if "stream=in" in command:
            redis.xadd("in", {"image": image})
        while "channel=in" in command and not redis.publish("in", image):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        answer = subscriber.get_message(timeout=60)
        assert len(json.loads(answer["data"])["objects"]) > 1
        process.terminate()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        subscriber.close()
    assert process.returncode == 0, errors
    assert "1 image" in errors.splitlines()[-1]


@pytest.mark.parametrize("command", [line for line in ON_SERVERS if "s3://" in line])
def test_commands_read_and_write_buckets(command: str, folder: Path, store: Store) -> None:
    client().create_bucket(Bucket="bucket")
    for path in (folder / "photos").rglob("*.jpg"):
        key = path.relative_to(folder).as_posix()
        client().put_object(Bucket="bucket", Key=key, Body=path.read_bytes())
    process = start(command, folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "2 images" in errors.splitlines()[-1]
    results = [folder / "results" / f"{name}.json" for name in ("sample.jpg", "more/cells.jpg")]
    if "results.parquet" in command:
        client().head_object(Bucket="bucket", Key="results.parquet")
    elif "--to s3://" in command:
        found = client().list_objects_v2(Bucket="bucket", Prefix="results/")["Contents"]
        assert sorted(each["Key"] for each in found) == sorted(
            path.relative_to(folder).as_posix() for path in results
        )
    else:
        assert all(path.exists() for path in results)


def test_every_kind_of_source_and_sink_has_an_example() -> None:
    wanted = ("photos/sample.jpg", "detect photos ", "'photos/**", " - ", HOST, "--watch", ".csv",
              ".jsonl", ".json", ".parquet", "--draw", "--format yolo", "darknet-json",
              "?channel=in", "?stream=in", "detect s3://", "--to s3://")  # fmt: skip
    for word in wanted:
        assert any(word in command for command in COMMANDS), word
