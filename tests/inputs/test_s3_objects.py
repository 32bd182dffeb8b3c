"""One object as a sink, objects that are moved, and videos in buckets, with moto's server."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support import command
from tests.support.input_suite import png
from tests.support.output_suite import OutputSuite, Sink, answer
from tests.support.pipelines import FakeItem
from tests.support.sinks import Coco, JsonLines, OnDisk, Parquet, Rows
from tests.support.stores import BUCKET, IN, OUT, SAMPLE, Store, client, contents, detect, keys
from tests.support.videos import frames_of, make_video, need_video_tools
from yolo_service import s3, s3_objects
from yolo_service.errors import ConfigurationError, OutputError
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs import Output
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions


class OutObject(OnDisk):
    """One object, read back as the file that it is."""

    def open(self, resume: bool = False) -> Output:
        return open_output(self.address, OutputOptions(self.form, resume=resume))

    @property
    def address(self) -> str:
        return f"{OUT}/{self.path.name}"

    def results(self) -> Mapping[str, list[str]]:
        self._fetch()
        return super().results()

    def errors(self) -> Mapping[str, str]:
        self._fetch()
        return super().errors()

    def _fetch(self) -> None:
        self.path.unlink(missing_ok=True)
        if f"out/{self.path.name}" in keys():
            s3_objects.read_file(s3.parse(self.address), self.path)


OBJECTS = {
    "out.jsonl": type("OutLines", (OutObject, JsonLines), {}),
    "out.csv": type("OutRows", (OutObject, Rows), {}),
    "out.json": type("OutCoco", (OutObject, Coco), {}),
    "out.parquet": type("OutParquet", (OutObject, Parquet), {}),
}


class TestObjectAsSink(OutputSuite):
    @pytest.fixture(params=OBJECTS)
    def sink(self, store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Sink:
        sink: Sink = OBJECTS[request.param](tmp_path / request.param)
        return sink


def test_one_object_for_all_is_written_once_and_continued(store: Store) -> None:
    for name in "ab":
        store.put(f"in/{name}.jpg", SAMPLE.read_bytes())
    sink = f"{OUT}/all.parquet"
    done = detect(store, IN, "--to", sink, "--limit", "1")
    assert done.returncode == 0, done.stderr
    first = contents("out/")
    assert sorted(first) == ["all.parquet"]
    refused = detect(store, IN, "--to", sink)
    assert refused.returncode == 2
    assert f"{sink} exists; remove it, or continue it with --resume" in refused.stderr
    again = detect(store, IN, "--to", sink, "--resume")
    assert "2 images: 1 done, 0 failed, 1 skipped" in again.stderr.splitlines()[-1]
    table = pq.read_table(io.BytesIO(contents("out/")["all.parquet"]))
    assert set(table["file"].to_pylist()) == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize("name", ["all.parquet", "all.jsonl"])
def test_a_killed_run_is_continued_from_what_it_has_computed(
    store: Store, tmp_path: Path, name: str
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(400):
        shutil.copy(SAMPLE, images / f"{i:03}.jpg")
    words = ["detect", "--model", "blood-cells", str(images), "--to", f"{OUT}/{name}"]
    running = subprocess.Popen(
        [command.COMMAND, *words], env={**os.environ, **store.environment}, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in written(tmp_path)) <= 20:  # with a head
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    running.kill()
    running.communicate()
    assert contents("out/") == {}
    again = detect(store, images, "--to", f"{OUT}/{name}", "--resume")
    (skipped,) = re.findall(r"(\d+) skipped", again.stderr.splitlines()[-1])
    assert int(skipped) >= 20
    data = contents("out/")[name]
    if name.endswith(".parquet"):
        found = list(dict.fromkeys(pq.read_table(io.BytesIO(data))["file"].to_pylist()))
    else:
        found = [Path(json.loads(line)["file"]).name for line in data.splitlines()]
    assert sorted(found) == [f"{i:03}.jpg" for i in range(400)]
    assert not list((tmp_path / "cache").rglob("all.*"))


def written(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "cache"
    return [path for path in folder.rglob("*all.*") if path.is_file()]


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_that_was_read_in_part_before_a_kill_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def put(output: Output, *names: str) -> None:
        for each in names:
            item = FakeItem(each, each)
            output.put(item, output.encode(item, answer(each, "cat")), lambda: None)
        output.close()

    put(open_output(f"{OUT}/{name}", OutputOptions()), "a.jpg", "b.jpg")
    read_file = s3_objects.read_file

    def killed(place: s3.Place, path: Path) -> None:
        read_file(place, path)
        os.truncate(path, path.stat().st_size // 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(s3_objects, "read_file", killed)
        with pytest.raises(KeyboardInterrupt):
            open_output(f"{OUT}/{name}", OutputOptions(resume=True))
    output = open_output(f"{OUT}/{name}", OutputOptions(resume=True))
    assert [output.has(FakeItem(each, each)) for each in ("a.jpg", "b.jpg", "c.jpg")] == [1, 1, 0]
    output.abort()


def test_an_input_taken_in_the_second_in_which_the_object_appeared_has_its_result(
    store: Store,
) -> None:
    output = open_output(f"{OUT}/all.jsonl", OutputOptions())
    item = FakeItem("a.jpg", "a.jpg")
    output.put(item, output.encode(item, answer("a.jpg")), lambda: None)
    output.close()
    written = s3_objects.written_at(s3.parse(f"{OUT}/all.jsonl"))
    assert written
    output = open_output(f"{OUT}/all.jsonl", OutputOptions(resume=True))
    assert output.has(FakeItem("a.jpg", "a.jpg", taken_at=written.timestamp() + 0.9))
    assert not output.has(FakeItem("a.jpg", "a.jpg", taken_at=written.timestamp() + 60))
    output.abort()


def test_what_cannot_be_continued_is_named_by_its_address(store: Store) -> None:
    store.put("out/all.json", b"{}")
    with pytest.raises(ConfigurationError, match=rf"^{OUT}/all.json cannot be continued"):
        open_output(f"{OUT}/all.json", OutputOptions(resume=True))
    with pytest.raises(ConfigurationError, match="has the format rois"):
        open_output(f"{OUT}/all.csv", OutputOptions(format="objects"))


def test_an_object_that_cannot_be_uploaded_acknowledges_nothing(store: Store) -> None:
    output = open_output(f"{OUT}/all.jsonl", OutputOptions())
    item, acknowledged = FakeItem("a.jpg", "a.jpg"), list[str]()
    output.put(item, output.encode(item, answer("a.jpg")), lambda: acknowledged.append("a"))
    client().delete_bucket(Bucket=BUCKET)
    with pytest.raises(OutputError, match="there is no such bucket"):
        output.close()
    output.abort()
    assert not acknowledged


def test_drawn_and_moved_images_below_the_prefix_are_no_input(store: Store) -> None:
    for key in ("a.jpg", "b/a.jpg", "drawn/a.jpg", "done/a.jpg", "out/a.jpg"):
        store.put(f"in/{key}", png())
    options = InputOptions(
        drawn_to_store=f"{IN}/drawn", move_to_store=f"{IN}/done/", ignored_addresses=(f"{IN}/out",)
    )
    source = open_input([IN], options)
    assert [item.name for item in source] == ["a.jpg", "b/a.jpg"]
    source.close()


def test_results_above_the_prefix_leave_it_as_it_is(store: Store) -> None:
    store.put("in/a.png", png())
    source = open_input([IN], InputOptions(ignored_addresses=(f"s3://{BUCKET}/", IN)))
    assert [item.name for item in source] == ["a.png"]
    source.close()


@pytest.mark.parametrize("source", [IN, f"{IN}/a.jpg"])
@pytest.mark.parametrize("option", ["drawn_to_store", "move_to_store"])
def test_images_are_not_written_over(store: Store, option: str, source: str) -> None:
    store.put("in/a.jpg", png())
    with pytest.raises(ConfigurationError, match="is where the images are"):
        open_input([source], InputOptions(**{option: IN}))  # type: ignore[arg-type]


def test_done_objects_are_moved_and_overwrite_nothing(store: Store, tmp_path: Path) -> None:
    for key in ("in/a.jpg", "in/b/c.jpg", "done/a.jpg"):
        store.put(key, SAMPLE.read_bytes() if key != "done/a.jpg" else b"other")
    store.put("in/broken.jpg", b"broken")
    done = detect(store, IN, "--to", tmp_path / "out", "--move-input", f"s3://{BUCKET}/done")
    assert done.returncode == 1, done.stderr
    assert keys("in/") == ["in/broken.jpg"]
    assert keys("done/") == ["done/a-2.jpg", "done/a.jpg", "done/b/c.jpg"]
    assert contents("done/")["a.jpg"] == b"other"


def test_an_object_that_was_copied_before_a_kill_is_not_copied_again(
    store: Store, tmp_path: Path
) -> None:
    for key in ("in/a.jpg", "done/a.jpg"):
        store.put(key, SAMPLE.read_bytes())
    done = detect(store, IN, "--to", tmp_path / "out", "--move-input", f"s3://{BUCKET}/done")
    assert done.returncode == 0, done.stderr
    assert keys("in/") == []
    assert keys("done/") == ["done/a.jpg"]


@pytest.mark.parametrize("is_same", [True, False])
def test_a_copy_in_parts_is_recognised_by_its_contents(store: Store, is_same: bool) -> None:
    large = bytes(9_000_000)
    store.put("in/clip.mp4", large)
    store.put("other.mp4", large if is_same else large[:-1] + b"x")
    s3_objects.move(s3.Place(BUCKET, "other.mp4"), s3.Place(BUCKET, "done/clip.mp4"))
    (copied,) = s3_objects.list_objects(s3.Place(BUCKET, "done/"))
    (original,) = s3_objects.list_objects(s3.Place(BUCKET, "in/"))
    assert copied.tag != original.tag
    s3_objects.move(s3.Place(BUCKET, "in/clip.mp4"), s3.Place(BUCKET, "done/clip.mp4"))
    assert keys("in/") == []
    names = ["clip.mp4"] if is_same else ["clip-2.mp4", "clip.mp4"]
    assert keys("done/") == [f"done/{name}" for name in names]


def test_inputs_are_moved_within_what_they_come_from(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"moved to an address such as s3://"):
        open_input([IN], InputOptions(move_to=tmp_path))
    with pytest.raises(ConfigurationError, match="files are moved to a folder"):
        open_input([str(SAMPLE)], InputOptions(move_to_store=OUT))


def test_videos_in_a_bucket_are_read(store: Store, tmp_path: Path) -> None:
    need_video_tools()
    make_video(tmp_path / "clip.mp4", 5)
    video = (tmp_path / "clip.mp4").read_bytes()
    for name in ("clip.mp4", "hidden.jpg"):  # by its suffix, and by its content
        store.put(f"in/{name}", video)
    store.put("in/cut.mp4", video[: len(video) // 2])
    folder = tmp_path / "temporary"
    folder.mkdir()
    failed = tmp_path / "failed"
    places: list[str | Path] = [IN, "--to", tmp_path / "out.jsonl", "--failed", failed]
    arguments = ["detect", "--model", "blood-cells", "--delete-input", *places]
    done = command.run(*arguments, TMPDIR=str(folder), **store.environment)
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    frames = [
        line["frame"] for line in lines if line["file"] in (f"{IN}/clip.mp4", f"{IN}/hidden.jpg")
    ]
    assert frames == 2 * list(range(5))
    assert keys("in/") == ["in/cut.mp4"]
    assert (failed / "cut.mp4").read_bytes() == video[: len(video) // 2]
    assert not list(folder.iterdir())


def test_annotated_videos_and_reports_are_objects_too(store: Store, tmp_path: Path) -> None:
    need_video_tools()
    store.put("in/clip.mp4", make_video(tmp_path / "clip.mp4", 5).read_bytes())
    folder = tmp_path / "temporary"
    folder.mkdir()
    arguments = ["detect", "--model", "blood-cells", IN, "--to", OUT]
    for place in (f"{OUT}/drawn", f"{OUT}/one.mkv"):
        done = command.run(*arguments, "--draw", place, TMPDIR=str(folder), **store.environment)
        assert done.returncode == 0, done.stderr
    found = contents("out/")
    reports = {f"clip.mp4.frames/{name}" for name in ("frames.csv", "statistics.csv", "counts.svg")}
    assert {name for name in found if not name.endswith(".json")} == {
        "drawn/clip.mp4", "one.mkv", *reports,
    }  # fmt: skip
    for name in ("drawn/clip.mp4", "one.mkv"):
        (tmp_path / "drawn.video").write_bytes(found[name])
        assert [number for number, *_ in frames_of(tmp_path / "drawn.video")] == list(range(5))
    assert found["clip.mp4.frames/frames.csv"].count(b"\n") == 6
    assert not list(folder.iterdir())
    fresh = f"{OUT}/fresh.mkv"
    resumed = command.run(*arguments, "--draw", fresh, "--resume", **store.environment)
    assert resumed.returncode == 0, resumed.stderr
    assert "is not written" not in resumed.stderr
    again = command.run(*arguments, "--draw", place, "--resume", **store.environment)
    assert "0 done, 0 failed, 5 skipped" in again.stderr.splitlines()[-1]


def test_a_video_in_a_bucket_is_not_drawn_over_itself(store: Store) -> None:
    store.put("in/clip.mp4", b"...")
    store.put("in/drawn.mp4", b"...")
    with pytest.raises(ConfigurationError, match="is where the images are"):
        open_input([f"{IN}/clip.mp4"], InputOptions(drawn_to_store=f"{IN}/clip.mp4"))
    source = open_input([IN], InputOptions(drawn_to_store=f"{IN}/drawn.mp4"))
    assert [item.name for item in source] == ["clip.mp4"]
    source.close()


@pytest.mark.parametrize("option", ["--failed", "--save-frames"])
def test_what_needs_a_folder_says_so(option: str) -> None:
    refused = command.run("detect", SAMPLE, option, OUT)
    assert refused.returncode == 2
    assert f"{OUT} is an address; expected a folder" in refused.stderr


def test_objects_of_several_prefixes_have_names_that_differ(store: Store, tmp_path: Path) -> None:
    for key in ("in/a.png", "more/a.png"):
        store.put(key, png())
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.png").write_bytes(png())
    sources = [str(tmp_path / "a.png"), IN, f"s3://{BUCKET}/more", str(tmp_path / "b")]
    source = open_input(sources, InputOptions())
    assert [item.name for item in source] == [
        "a.png", f"{BUCKET}/in/a.png", f"{BUCKET}/more/a.png", "b/a.png",
    ]  # fmt: skip
    source.close()
