"""Buckets as sources and sinks, with moto's server."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import command
from tests.support.input_suite import InputSuite, Source, png, take
from tests.support.output_suite import OutputSuite, Sink, answer
from tests.support.pipelines import FakeItem
from tests.support.predictors import MakePredictor
from tests.support.stores import BUCKET, IN, OUT, SAMPLE, Store, client, contents, detect, keys
from yolo_service import s3_objects
from yolo_service.errors import ConfigurationError, InputError, OutputError
from yolo_service.inputs import Input
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.s3 import AHEAD
from yolo_service.outputs import Output
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options


class InBucket:
    keeps = True

    def __init__(self, store: Store, options: InputOptions) -> None:
        self._store, self._options = store, options
        self.forgets, self.waits = options.delete, options.watch

    def fill(self, images: Mapping[str, bytes]) -> None:
        for name, image in images.items():
            self._store.put(f"in/{name}", image)

    def open(self) -> Input:
        return open_input([IN], self._options)


class TestBucketAsSource(InputSuite):
    @pytest.fixture(
        params=[InputOptions(), InputOptions(delete=True), InputOptions(watch=True, poll=0.05)],
        ids=["stays", "deleted", "watched"],
    )
    def source(self, store: Store, request: pytest.FixtureRequest) -> Source:
        return InBucket(store, request.param)


class OutBucket:
    remembers = keeps_errors = True
    shows_nothing = False

    def open(self, resume: bool = False) -> Output:
        return open_output(OUT, OutputOptions(resume=resume))

    def results(self) -> Mapping[str, list[str]]:
        return {
            name.removesuffix(".json"): [one["label"] for one in json.loads(data)["detections"]]
            for name, data in contents("out/").items()
            if name.endswith(".json")
        }

    def errors(self) -> Mapping[str, str]:
        suffix = ".error.txt"
        return {
            name.removesuffix(suffix): data.decode()
            for name, data in contents("out/").items()
            if name.endswith(suffix)
        }


class TestBucketAsSink(OutputSuite):
    @pytest.fixture
    def sink(self, store: Store) -> Sink:
        return OutBucket()


def test_1100_objects_are_listed_in_pages_while_they_are_read(store: Store) -> None:
    for i in range(1100):
        client().put_object(Bucket=BUCKET, Key=f"in/{i:04}.png", Body=b"%d" % i)
    pages, reads = list[int](), list[int]()
    events = client().meta.events
    events.register(
        "after-call.s3.ListObjectsV2", lambda parsed, **_: pages.append(parsed["KeyCount"])
    )
    events.register("after-call.s3.GetObject", lambda **_: reads.append(1))
    source = open_input([IN], InputOptions())
    pages.clear()
    items = iter(source)
    first = next(items)
    assert (first.name, first.read()) == ("0000.png", b"0")
    assert pages == [1000]
    assert len(reads) <= AHEAD
    assert [item.read() for item in items] == [b"%d" % i for i in range(1, 1100)]
    assert pages == [1000, 100]
    source.close()


def test_what_is_no_image_or_elsewhere_is_left_out(store: Store) -> None:
    for key in ("in/a.JPG", "in/a.txt", "in/", "in/b/c.png", "in2/d.png", "in//..//e.png"):
        store.put(key, b"x")
    source = open_input([IN], InputOptions())
    assert [item.name for item in source] == ["%/%2E%2E/%/e.png", "a.JPG", "b/c.png"]
    assert source.count() == 3
    source.close()


def test_one_object_may_be_named(store: Store) -> None:
    store.put("in/a.bin", png())
    store.put("in/a.bin.png", b"other")
    source = open_input([f"{IN}/a.bin"], InputOptions())
    (item,) = take(source, 2)
    assert (item.name, item.origin, item.read()) == ("a.bin", f"{IN}/a.bin", png())
    source.close()


def test_new_and_changed_objects_are_taken_when_it_is_watched(store: Store) -> None:
    source = open_input([IN], InputOptions(watch=True, poll=0.02))
    store.put("in/a.png", b"1")
    items = iter(source)
    timer = threading.Timer(30, source.stop)
    timer.start()
    assert next(items).read() == b"1"
    store.put("in/b.png", b"2")
    assert next(items).read() == b"2"
    store.put("in/a.png", b"3")
    assert next(items).read() == b"3"
    timer.cancel()
    source.stop()
    source.close()


def test_objects_that_are_gone_or_too_large_fail_and_the_others_go_on(
    store: Store, make_predictor: MakePredictor, tmp_path: Path
) -> None:
    for name in "abc":
        store.put(f"in/{name}.png", png())
    store.put("in/large.png", bytes(10_000))
    options = InputOptions(max_bytes=9_000, delete=True, failed_to=tmp_path)
    source = open_input([IN], options)
    deleted = threading.Event()

    def delete(**_: Any) -> None:
        if not deleted.is_set():
            deleted.set()
            client().delete_object(Bucket=BUCKET, Key="in/b.png")

    predictor = make_predictor(queue_seconds=float("inf"))
    output = open_output(OUT, OutputOptions())
    client().meta.events.register("after-call.s3.ListObjectsV2", delete)
    progress = Pipeline(source, predictor, output, Options(threshold=0.5)).run()
    source.close()
    assert (progress.done, progress.failed) == (2, 2)
    found = contents("out/")
    assert sorted(found) == [
        "a.png.json",
        "b.png.error.txt",
        "c.png.json",
        "large.png.error.txt",
    ]
    assert b"there is no such object" in found["b.png.error.txt"]
    assert b"YOLO_MAX_UPLOAD_MB" in found["large.png.error.txt"]
    assert keys("in/") == ["in/large.png"]
    assert "YOLO_MAX_UPLOAD_MB" in (tmp_path / "large.png.error.txt").read_text()


def test_the_command_reads_and_writes_buckets_and_resumes(store: Store, tmp_path: Path) -> None:
    for i in range(5):
        store.put(f"in/{i}.jpg", SAMPLE.read_bytes())
    store.put("in/broken.jpg", b"broken")
    done = detect(store, IN, "--to", OUT, "--draw", f"s3://{BUCKET}/drawn")
    assert done.returncode == 1, done.stderr
    assert keys("drawn/") == [f"drawn/{i}.jpg" for i in range(5)]
    assert keys("out/") == [*(f"out/{i}.jpg.json" for i in range(5)), "out/broken.jpg.error.txt"]
    assert json.loads(contents("out/")["0.jpg.json"])["detections"]
    store.put("in/broken.jpg", SAMPLE.read_bytes())
    again = detect(store, IN, "--to", OUT, "--resume")
    assert again.returncode == 0, again.stderr
    assert "5 skipped" in again.stderr.splitlines()[-1]
    assert keys("out/") == [*(f"out/{i}.jpg.json" for i in range(5)), "out/broken.jpg.json"]
    local = detect(store, SAMPLE, "--to", f"{OUT}/local", "--format", "opex")
    assert local.returncode == 0, local.stderr
    assert json.loads(contents("out/local/")["sample.jpg.json"])["id"] == "sample.jpg"


@pytest.mark.parametrize("call", ["write", "delete"])
def test_a_kill_leaves_no_error_beside_a_result(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    item = FakeItem("a.jpg", "a.jpg")
    store.put("out/a.jpg.error.txt", b"it is broken")

    def put() -> None:
        output = open_output(OUT, OutputOptions(resume=True))
        if not output.has(item):
            output.put(item, output.encode(item, answer("a.jpg", "cat")), lambda: None)
        output.close()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(s3_objects, call, killed)
        with pytest.raises(KeyboardInterrupt):
            put()
    put()
    assert keys("out/") == ["out/a.jpg.json"]


@pytest.mark.parametrize("is_sink", [False, True], ids=["source", "sink"])
def test_missing_credentials_are_one_clear_line(
    store: Store, tmp_path: Path, is_sink: bool
) -> None:
    environment = {
        "AWS_ENDPOINT_URL": store.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_CONFIG_FILE": "/nowhere",
    }
    places: list[str | Path] = [SAMPLE, "--to", OUT] if is_sink else [IN, "--to", tmp_path / "out"]
    done = command.run("detect", "--model", "blood-cells", *places, **environment)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "credentials" in line]
    assert "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line
    assert "Traceback" not in done.stderr


def test_wrong_credentials_are_one_clear_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """moto checks them after as many requests as it is told."""

    def checked_after(count: str) -> None:
        url, headers = f"{store.url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        request = urllib.request.Request(url, data=count.encode(), headers=headers)
        urllib.request.urlopen(request, timeout=10).close()

    checked_after("0")
    try:
        done = detect(store, IN, "--to", tmp_path / "out")
        assert done.returncode == 2
        assert "does not know the key AWS_ACCESS_KEY_ID" in done.stderr.splitlines()[-1]
        with pytest.raises(ConfigurationError, match="does not know the key"):
            open_output(OUT, OutputOptions())
    finally:
        checked_after("Infinity")


def test_a_bucket_that_is_not_there_is_one_clear_line(store: Store) -> None:
    with pytest.raises(ConfigurationError, match=r"^s3://elsewhere/in: there is no such bucket$"):
        open_input(["s3://elsewhere/in"], InputOptions())
    with pytest.raises(ConfigurationError, match=r"^s3://elsewhere/out/: there is no such bucket$"):
        open_output("s3://elsewhere/out", OutputOptions())


def test_a_store_that_refuses_later_ends_the_run_and_acknowledges_nothing(store: Store) -> None:
    output = open_output(OUT, OutputOptions())
    client().delete_bucket(Bucket=BUCKET)
    item, acknowledged = FakeItem("a.jpg", "a.jpg"), list[str]()
    output.put(item, output.encode(item, answer("a.jpg")), lambda: acknowledged.append("a"))
    with pytest.raises(OutputError, match="there is no such bucket"):
        output.flush()
    output.abort()
    assert not acknowledged


def test_a_store_that_is_gone_for_a_moment_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    store.put("in/a.png", png())
    source = open_input([IN], InputOptions())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    threading.Timer(1, os.environ.__setitem__, ("AWS_ENDPOINT_URL", store.url)).start()
    began = time.monotonic()
    assert [item.read() for item in source] == [png()]
    assert time.monotonic() - began < 30
    assert "trying again" in caplog.text
    source.close()


def test_a_store_that_stays_away_ends_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("in/a.png", png())
    source = open_input([IN], InputOptions())
    monkeypatch.setattr(s3_objects.again, "__defaults__", (0.5,))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="no answer"):
        list(source)
    source.close()
