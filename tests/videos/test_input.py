"""A video ends when all of its frames have, and holds few of them in memory."""

from __future__ import annotations

import functools
import itertools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.input_suite import png
from tests.support.pipelines import FakeOutput
from tests.support.predictors import MakePredictor
from tests.support.videos import make_video, need_video_tools, number_in
from tests.support.waiting import wait_until
from yolo_service.errors import ItemError
from yolo_service.inputs import Item
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.videos import MIN_FRAMES, FrameItem, VideoOptions, WithVideos, sharpness
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Image, Options
from yolo_service.results import Progress, ResultWriter

SECONDS = 20


@pytest.fixture(autouse=True)
def _tools() -> None:
    need_video_tools()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "clip.mp4", 6)
    (folder / "image.png").write_bytes(png())
    return folder


@pytest.fixture
def options(tmp_path: Path) -> InputOptions:
    return InputOptions(move_to=tmp_path / "done", failed_to=tmp_path / "failed")


def opened(folder: Path, options: InputOptions) -> WithVideos:
    return WithVideos(open_input([str(folder)], options), VideoOptions())


def test_images_and_frames_are_items_with_names_of_their_own(
    folder: Path, options: InputOptions
) -> None:
    items = list(opened(folder, options))
    frames = [f"clip.mp4.frames/img_{number:03}.jpg" for number in range(1, 7)]
    assert [item.name for item in items] == [*frames, "image.png"]
    assert items[2].details == {"time": 0.08, "frame": 2}
    assert items[2].origin == str(folder / "clip.mp4")


def test_the_number_of_images_is_unknown_with_a_video_among_them(
    folder: Path, options: InputOptions
) -> None:
    assert opened(folder, options).count() is None
    (folder / "clip.mp4").unlink()
    assert opened(folder, options).count() == 1


def test_images_that_have_a_result_are_not_in_memory_until_the_end(
    folder: Path, options: InputOptions
) -> None:
    class Late(FakeOutput):
        def keep(self, *_: object) -> None:
            pass

    writer = ResultWriter(Late(), resume=True, ended=lambda _: None)
    for item in opened(folder, options):
        writer.skip(item)
        kept = item.frame if isinstance(item, FrameItem) else item.data  # type: ignore[attr-defined]
        assert kept is None


def take_all(source: WithVideos) -> list[Item]:
    items = []
    for item in source:
        items.append(item)
        item.read()
    return items


@pytest.mark.parametrize("last", range(6))
def test_the_file_is_moved_when_the_last_frame_has_ended(
    folder: Path, options: InputOptions, tmp_path: Path, last: int
) -> None:
    frames = take_all(opened(folder, options))[:6]
    done = tmp_path / "done" / "clip.mp4"
    for item in (*frames[:last], *frames[last + 1 :]):
        item.done()
        assert not done.exists()
    frames[last].done()
    assert done.exists()


def test_one_frame_that_fails_fails_the_video(
    folder: Path, options: InputOptions, tmp_path: Path
) -> None:
    frames = take_all(opened(folder, options))[:6]
    frames[3].failed(ItemError("its result cannot be written"))
    for item in (*frames[:3], *frames[4:]):
        item.done()
    error = tmp_path / "failed" / "clip.mp4.error.txt"
    assert "its result cannot be written" in error.read_text()


@pytest.mark.parametrize("taken", [1, 3, 6])
def test_a_video_that_is_not_read_to_its_end_stays(
    folder: Path, options: InputOptions, taken: int
) -> None:
    before = sorted(folder.iterdir())
    source = opened(folder, options)
    items = list(itertools.islice(source, taken))
    source.stop()
    source.close()
    for item in items[:-1]:
        item.done()
    items[-1].release()
    assert sorted(folder.iterdir()) == before


def test_stopping_ends_within_a_video(folder: Path, options: InputOptions) -> None:
    source = opened(folder, options)
    items = iter(source)
    first = next(items)
    source.stop()
    assert len(list(items)) <= 1
    first.release()


def test_few_images_of_frames_are_in_memory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_service.inputs.videos.FRAME_BYTES", 1)
    path = make_video(tmp_path / "clip.mp4", 12)
    images: list[Image] = []
    enough = threading.Event()

    def read() -> None:
        for item in opened(path, InputOptions()):
            images.append(item.read())
            if len(images) == MIN_FRAMES:
                enough.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert enough.wait(SECONDS)
    thread.join(0.2)
    assert len(images) == MIN_FRAMES
    for number in range(12 - MIN_FRAMES):
        assert number_in(np.asarray(images[number])) == number
        images[number] = b""
        wait_until(functools.partial(_has, images, number + MIN_FRAMES + 1))
    thread.join(SECONDS)
    assert not thread.is_alive()


def _has(images: list[Image], count: int) -> bool:
    return len(images) == count


def test_frames_pass_the_pipeline_in_order(
    folder: Path, make_predictor: MakePredictor, options: InputOptions, tmp_path: Path
) -> None:
    predictor = make_predictor(workers=2, queue_seconds=float("inf"))
    output = FakeOutput()
    source = opened(folder, options)
    assert Pipeline(source, predictor, output, Options()).run() == Progress(done=7)
    source.close()
    assert list(output.results)[:6] == [f"clip.mp4.frames/img_{n:03}.jpg" for n in range(1, 7)]
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["clip.mp4", "image.png"]


def test_a_limit_leaves_the_video_where_it_was(
    folder: Path, make_predictor: MakePredictor, options: InputOptions
) -> None:
    before = sorted(folder.iterdir())
    predictor = make_predictor(workers=2, queue_seconds=float("inf"))
    source = opened(folder, options)
    assert Pipeline(source, predictor, FakeOutput(), Options(), limit=3).run().done == 3
    source.close()
    assert sorted(folder.iterdir()) == before


def test_a_watched_folder_takes_videos_too(folder: Path, options: InputOptions) -> None:
    source = opened(folder, replace(options, watch=True, poll=0.05))
    timer = threading.Timer(SECONDS, source.stop)
    timer.start()
    names = [item.name for item in itertools.islice(source, 7)]
    timer.cancel()
    source.stop()
    source.close()
    assert len(set(names)) == 7


def test_sharpness_tells_sharp_from_blurred() -> None:
    sharp = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert sharpness(sharp) > 1000
    assert sharpness(np.full((64, 64, 3), 90, np.uint8)) == 0
