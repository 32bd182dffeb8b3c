"""Redis as source and sink, with a real server: nothing lost, whoever dies."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prometheus_client import REGISTRY

from tests.support.detecting import detecting
from tests.support.fakes import FakeEngine
from tests.support.input_suite import png, take
from tests.support.predictors import MakePredictor, eventually
from tests.support.redis_server import MakeRedis, RedisServer
from yolo_service.errors import ConfigurationError, InputError, OutputError
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options, Predictor

SECONDS = 60
LARGE = 300_000
RATE = 250e6
"""Bytes in a second, twice as many as a network of a gigabit brings."""


@pytest.fixture
def predictor(make_predictor: MakePredictor) -> Predictor:
    return make_predictor(workers=2, queue_seconds=float("inf"))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Running:
    """A pipeline between two places of a server, in a thread."""

    def __init__(self, server: RedisServer, predictor: Predictor, source: str, sink: str) -> None:
        self.source = open_input([f"{server.address}?{source}"], InputOptions())
        output = open_output(f"{server.address}?{sink}", OutputOptions())
        self.pipeline = Pipeline(self.source, predictor, output, Options(threshold=0.5))
        self._thread = threading.Thread(target=self.pipeline.run)
        self._thread.start()

    def end(self) -> None:
        self.pipeline.stop()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        self.source.close()


@contextmanager
def running(server: RedisServer, predictor: Predictor, source: str, sink: str) -> Iterator[Running]:
    run = Running(server, predictor, source, sink)
    try:
        yield run
    finally:
        run.end()


class Listener:
    """Collects what is published on a channel, in a thread."""

    def __init__(self, server: RedisServer, channel: str) -> None:
        self.documents: list[Any] = []
        self._subscriber = server.client().pubsub(ignore_subscribe_messages=True)
        self._subscriber.subscribe(channel)
        self._subscriber.get_message(timeout=10)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            if message := self._subscriber.get_message(timeout=0.1):
                self.documents.append(json.loads(message["data"]))

    def end(self) -> None:
        self._stopped.set()
        self._thread.join(SECONDS)
        self._subscriber.close()


@contextmanager
def listener(server: RedisServer, channel: str) -> Iterator[Listener]:
    listening = Listener(server, channel)
    try:
        yield listening
    finally:
        listening.end()


def large(seed: int) -> bytes:
    """Return a JPEG of 300 kB, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (300, 400, 3), np.uint8)
    data = bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    assert len(data) < LARGE
    return data + bytes(LARGE - len(data))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ids_of_subscribers(client: Any) -> set[str]:
    """Return the numbers of connections; one that was cut off has another one afterwards."""
    return {each["id"] for each in client.client_list(_type="pubsub")}


def holds(client: Any, kind: str, pid: int) -> bool:
    """Return whether a process has taken images that are not acknowledged."""
    if kind == "list":
        return any(client.llen(key) for key in client.keys(f"in:taken:*-{pid}-*"))
    consumers = client.xinfo_consumers("in", "yolo-service")
    return any(each["pending"] for each in consumers if b"-%d-" % pid in each["name"])


def lost() -> float:
    return REGISTRY.get_sample_value("yolo_input_lost_total") or 0.0


def soon(condition: Any, seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_answer_is_opex_with_name_sha256_and_model(
    redis_server: RedisServer, predictor: Predictor
) -> None:
    client = redis_server.client()
    with running(redis_server, predictor, "stream=in", "list=out"):
        number = client.xadd("in", {"name": "cam 1/a.png", "image": png()}).decode()
        _, message = client.blpop("out", timeout=SECONDS)
    answer = json.loads(message)
    name = f"in/{number}/cam 1/a.png"
    assert answer["meta"] == {
        "entry": number,
        "given_name": "cam 1/a.png",
        "name": name,
        "sha256": sha256(png()),
        "model": "a",
    }
    assert answer["id"] == name
    assert [each["label"] for each in answer["objects"]] == ["dog"]
    assert all(isinstance(value, str) for value in answer["meta"].values())


@pytest.mark.parametrize("kind", ["channel", "list", "stream"])
def test_an_image_that_fails_is_answered_without_objects_and_with_its_error(
    redis_server: RedisServer, predictor: Predictor, kind: str
) -> None:
    client = redis_server.client()
    with running(redis_server, predictor, f"{kind}=in", "list=out"):
        for data in (b"no image", png()):
            if kind == "channel":
                client.publish("in", data)
            elif kind == "list":
                client.rpush("in", data)
            else:
                client.xadd("in", {"image": data})
        first, second = (json.loads(client.blpop("out", timeout=SECONDS)[1]) for _ in range(2))
    assert first["objects"] == []
    assert "no image of a known format" in first["meta"]["error"]
    assert first["meta"]["sha256"] == sha256(b"no image")
    assert len(second["objects"]) == 1
    if kind == "list":
        assert client.lrange("in:failed", 0, -1) == [b"no image"]
    if kind == "stream":
        assert client.xlen("in") == 2
        assert client.xpending("in", "yolo-service")["pending"] == 0


def test_an_entry_without_an_image_is_answered_with_what_it_has(
    redis_server: RedisServer, predictor: Predictor
) -> None:
    client = redis_server.client()
    with running(redis_server, predictor, "stream=in", "stream=out"):
        client.xadd("in", {"picture": png()})
        ((_, ((_, fields),)),) = client.xread({"out": "0"}, block=SECONDS * 1000)
    assert "no field image, but picture" in json.loads(fields[b"result"])["meta"]["error"]


def test_400_large_images_at_once_get_400_answers_and_the_connection_is_never_cut(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """The server cuts off who has more than 32 MB to read: these are 120 MB, in half a second."""
    images = [large(i) for i in range(400)]
    client, log = redis_server.client(), tmp_path / "log"
    address = redis_server.address
    with (
        listener(redis_server, "out") as answers,
        detecting(f"{address}?channel=in", f"{address}?channel=out", log),
    ):
        soon(lambda: client.pubsub_numsub("in")[0][1] == 1)
        subscriber = ids_of_subscribers(client)
        began = time.monotonic()
        for i, image in enumerate(images):
            time.sleep(max(0.0, began + i * LARGE / RATE - time.monotonic()))
            client.publish("in", image)
        soon(lambda: len(answers.documents) == len(images))
        assert ids_of_subscribers(client) == subscriber
    assert "is gone" not in log.read_text()
    assert {each["meta"]["sha256"] for each in answers.documents} == set(map(sha256, images))
    assert not any("error" in each["meta"] for each in answers.documents)


def test_what_does_not_fit_into_the_buffer_is_counted_and_logged(
    redis_server: RedisServer,
    predictor: Predictor,
    engine: FakeEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine.go.clear()
    before, image = lost(), png() + bytes(10_000)
    with running(redis_server, predictor, "channel=in&buffer_mb=0.1", "list=out"):
        client = redis_server.client()
        for _ in range(100):
            client.publish("in", image)
        soon(lambda: "did not fit into the buffer of 0.1 MB" in caplog.text)
        client.publish("end", b"")
        engine.go.set()
        soon(lambda: client.llen("out") + lost() - before == 100)
        assert client.llen("out") >= 10
        assert lost() > before


def test_the_command_shows_what_is_lost_in_its_metrics_and_once_a_second_in_its_log(
    redis_server: RedisServer, tmp_path: Path, free_port: int
) -> None:
    client, log, image = redis_server.client(), tmp_path / "log", large(0)
    source = f"{redis_server.address}?channel=in&buffer_mb=1"
    began = time.monotonic()

    def counted() -> float:
        url = f"http://127.0.0.1:{free_port}/metrics"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        return float(re.search(r"^yolo_input_lost_total (\S+)", text, re.MULTILINE)[1])  # type: ignore[index]

    with detecting(
        source, f"{redis_server.address}?list=out", log, "--metrics-port", str(free_port)
    ):
        soon(lambda: client.pubsub_numsub("in")[0][1] == 1)
        assert counted() == 0
        for _ in range(300):
            client.publish("in", image)
        soon(lambda: client.llen("out") + counted() == 300)
        assert counted() > 0
        soon(lambda: "did not fit into the buffer of 1 MB" in log.read_text())
    lines = [line for line in log.read_text().splitlines() if "did not fit" in line]
    assert len(lines) <= time.monotonic() - began + 1


def test_what_comes_after_the_end_is_counted_too(
    redis_server: RedisServer, predictor: Predictor, engine: FakeEngine
) -> None:
    engine.go.clear()
    before, client = lost(), redis_server.client()
    run = Running(redis_server, predictor, "channel=in", "list=out")
    for _ in range(100):
        client.publish("in", png())
    assert engine.entered.acquire(timeout=SECONDS)
    run.pipeline.stop()
    engine.go.set()
    run.end()
    assert client.llen("out") + lost() - before == 100


@pytest.mark.parametrize("kind", ["list", "stream"])
def test_nothing_is_lost_if_one_of_two_workers_is_killed_under_load(
    redis_server: RedisServer, tmp_path: Path, kind: str
) -> None:
    images = [png(i) for i in range(600)]
    client, address = redis_server.client(), redis_server.address
    source, sink = f"{address}?{kind}=in&claim=1", f"{address}?list=out"
    with ExitStack() as workers:
        victim, _ = (
            workers.enter_context(detecting(source, sink, tmp_path / str(i))) for i in range(2)
        )
        for i, image in enumerate(images):
            if kind == "list":
                client.rpush("in", image)
            else:
                client.xadd("in", {"image": image})
            if i == len(images) // 2:
                soon(lambda: client.llen("out") > 0 and holds(client, kind, victim.pid))
                victim.kill()
        answered: Counter[str] = Counter()
        until = time.monotonic() + SECONDS
        while len(answered) < len(images):
            assert time.monotonic() < until
            if found := client.blpop("out", timeout=1):
                answered[json.loads(found[1])["meta"]["sha256"]] += 1
        if kind == "stream":
            soon(lambda: client.xpending("in", "yolo-service")["pending"] == 0)
        else:
            soon(lambda: not client.keys("in:taken:*"))
    assert set(answered) == set(map(sha256, images))
    # Twice is at most what was sent and not acknowledged yet at that moment: one.
    assert sum(answered.values()) <= len(images) + 1


def test_an_entry_is_acknowledged_after_its_answer_is_sent(
    redis_server: RedisServer, predictor: Predictor
) -> None:
    client = redis_server.client()
    client.set("out", "no list")
    source = open_input([f"{redis_server.address}?stream=in"], InputOptions())
    output = open_output(f"{redis_server.address}?list=out", OutputOptions())
    client.xadd("in", {"image": png()})
    with pytest.raises(OutputError, match="refuses a command: WRONGTYPE"):
        Pipeline(source, predictor, output, Options()).run()
    source.close()
    assert client.xpending("in", "yolo-service")["pending"] == 1
    client.delete("out")
    with running(redis_server, predictor, "stream=in", "list=out"):
        assert client.blpop("out", timeout=SECONDS)
        soon(lambda: client.xpending("in", "yolo-service")["pending"] == 0)


def test_an_entry_that_kills_its_processes_fails(redis_server: RedisServer) -> None:
    client = redis_server.client()
    client.xgroup_create("in", "yolo-service", mkstream=True)
    number = client.xadd("in", {"image": png()})
    for _ in range(5):
        client.xreadgroup("yolo-service", "dead", {"in": ">"})
        client.xclaim("in", "yolo-service", "dead", 0, [number])
    time.sleep(0.02)
    source = open_input([f"{redis_server.address}?stream=in&claim=0.01"], InputOptions())
    (item,) = take(source, 1)
    assert item.taken_at == int(number.split(b"-")[0]) / 1000
    with pytest.raises(Exception, match="6 processes that took it have died"):
        item.read()
    item.failed(ValueError())
    source.close()
    assert client.xpending("in", "yolo-service")["pending"] == 0


def test_a_slow_worker_keeps_what_it_says_it_has(redis_server: RedisServer) -> None:
    client, address = redis_server.client(), f"{redis_server.address}?stream=in&claim=0.3"
    client.xadd("in", {"image": png()})
    slow = open_input([address], InputOptions())
    (item,) = take(slow, 1)
    other = open_input([address], InputOptions())
    threading.Timer(1.5, other.stop).start()
    assert list(other) == []
    item.done()
    slow.close()
    other.close()


@pytest.mark.parametrize("kind", ["channel", "list", "stream"])
def test_it_goes_on_within_five_seconds_when_redis_was_gone_for_ten(
    redis_server: RedisServer, predictor: Predictor, kind: str
) -> None:
    def send(image: bytes) -> None:
        if kind == "channel":
            assert client.publish("in", image)
        elif kind == "list":
            client.rpush("in", image)
        else:
            client.xadd("in", {"image": image})

    client = redis_server.client()
    with running(redis_server, predictor, f"{kind}=in", "list=out"):
        send(png(0))
        assert client.blpop("out", timeout=SECONDS)
        client.ping()  # else the answer to the process may be lost, and it sends again
        redis_server.kill()
        time.sleep(10)
        redis_server.start()
        back = time.monotonic()
        if kind == "channel":
            soon(lambda: client.pubsub_numsub("in")[0][1] == 1)
        send(png(1))
        _, message = client.blpop("out", timeout=SECONDS)
        assert time.monotonic() - back < 5
    assert json.loads(message)["meta"]["sha256"] == sha256(png(1))


def test_a_stream_that_is_gone_after_a_restart_is_begun_again(
    make_redis: MakeRedis, predictor: Predictor
) -> None:
    server = make_redis()
    client = server.client()
    with running(server, predictor, "stream=in", "list=out"):
        client.xadd("in", {"image": png()})
        assert client.blpop("out", timeout=SECONDS)
        server.kill()
        server.start()
        client = server.client()
        client.xadd("in", {"image": png()})
        assert client.blpop("out", timeout=SECONDS)


def test_a_password_comes_from_a_variable(
    make_redis: MakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_redis("--requirepass", "secret word")
    address = f"{server.address}?list=in"
    with pytest.raises(InputError, match=r"127.0.0.1:.* refuses access: .*set REDIS_PASSWORD"):
        open_input([address], InputOptions())
    monkeypatch.setenv("REDIS_PASSWORD", "wrong word")
    with pytest.raises(OutputError, match="refuses access") as caught:
        open_output(address, OutputOptions())
    assert "wrong word" not in str(caught.value)
    monkeypatch.setenv("REDIS_PASSWORD", "secret word")
    open_input([address], InputOptions()).close()
    monkeypatch.setenv("OTHER", "secret word")
    monkeypatch.delenv("REDIS_PASSWORD")
    open_output(f"{address}&password_env=OTHER", OutputOptions()).close()


def test_an_encrypted_connection_checks_the_certificate(
    make_redis: MakeRedis, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    server = make_redis(
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-auth-clients", "no"),
    )
    server.address = f"rediss://localhost:{server.port}/0"
    with pytest.raises(InputError, match=r"does not answer: .*certificate"):
        open_input([f"{server.address}?list=in"], InputOptions())
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = server.client(host="localhost", ssl=True, ssl_ca_certs=str(certificate))
    with running(server, predictor, "list=in", "list=out"):
        client.rpush("in", png())
        assert client.blpop("out", timeout=SECONDS)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "exactly one of"),
        ("?channel=a&list=b", "exactly one of"),
        ("?channel=a&group=g", "a channel has no parameter group here; known are buffer_mb"),
        ("?stream=a&claim=never", "claim has to be a number above 0"),
        ("?stream=a&password_env=NO_SUCH_THING", "variable NO_SUCH_THING is not set"),
    ],
)
def test_a_wrong_address_is_one_clear_line(
    redis_server: RedisServer, query: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")) as caught:
        open_input([f"redis://user:secret@127.0.0.1:{redis_server.port}{query}"], InputOptions())
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"redis://127.0.0.1:1/0\?list=in does not answer"):
        open_input(["redis://127.0.0.1:1/0?list=in"], InputOptions())


@pytest.mark.parametrize("options", [OutputOptions(format="voc"), OutputOptions(resume=True)])
def test_a_sink_that_cannot_do_what_is_asked_says_so(
    redis_server: RedisServer, options: OutputOptions
) -> None:
    with pytest.raises(ConfigurationError, match=r"expected one of|nobody can tell"):
        open_output(f"{redis_server.address}?list=out", options)


def test_other_formats_have_the_same_facts_beside_them(
    redis_server: RedisServer, predictor: Predictor
) -> None:
    client = redis_server.client()
    source = open_input([f"{redis_server.address}?list=in"], InputOptions())
    output = open_output(f"{redis_server.address}?list=out", OutputOptions(format="darknet"))
    client.rpush("in", png())
    Pipeline(source, predictor, output, Options(threshold=0.5), limit=1).run()
    source.close()
    answer = json.loads(client.lpop("out"))
    assert answer["meta"]["sha256"] == sha256(png())
    assert len(answer["detections"]) == 1


def test_what_fails_is_put_aside_with_its_error(
    redis_server: RedisServer, predictor: Predictor, tmp_path: Path
) -> None:
    client = redis_server.client()
    options = InputOptions(failed_to=tmp_path / "failed")
    source = open_input([f"{redis_server.address}?stream=in"], options)
    output = open_output(f"{redis_server.address}?list=out", OutputOptions())
    client.xadd("in", {"image": b"no image", "name": "a.jpg"})
    Pipeline(source, predictor, output, Options(), limit=1).run()
    source.close()
    image, error = sorted((tmp_path / "failed").rglob("a.jpg*"))
    assert image.read_bytes() == b"no image"
    assert "no image of a known format" in error.read_text()


def test_a_lost_connection_is_logged_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    source = open_input([f"{redis_server.address}?channel=in"], InputOptions())
    redis_server.kill()
    eventually(lambda: "is gone" in caplog.text)
    redis_server.start()
    soon(lambda: "is back" in caplog.text)
    source.close()
    assert caplog.text.count("is gone") == 1
