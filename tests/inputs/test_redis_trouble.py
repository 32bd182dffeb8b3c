"""Redis under load, gone and back, with processes that are killed: what is lost and what not."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.detecting import detecting
from tests.support.fakes import FakeEngine
from tests.support.input_suite import png, take
from tests.support.predictors import MakePredictor, eventually
from tests.support.redis_runs import (
    LARGE,
    RATE,
    SECONDS,
    Running,
    holds,
    ids_of_subscribers,
    large,
    listener,
    lost,
    running,
    sha256,
)
from tests.support.redis_server import MakeRedis, RedisServer
from tests.support.waiting import wait_until
from yolo_service.errors import OutputError
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Options, Predictor


@pytest.fixture
def predictor(make_predictor: MakePredictor) -> Predictor:
    return make_predictor(workers=2, queue_seconds=float("inf"))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_400_large_images_at_once_get_400_answers_and_the_connection_is_never_cut(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """The server cuts off who has more than 32 MB to read: these are 120 MB, in a second."""
    images = [large(i) for i in range(400)]
    client, log = redis_server.client(), tmp_path / "log"
    address = redis_server.address
    with (
        listener(redis_server, "out") as answers,
        detecting(f"{address}?channel=in", f"{address}?channel=out", log),
    ):
        wait_until(lambda: client.pubsub_numsub("in")[0][1] == 1)
        subscriber = ids_of_subscribers(client)
        began = time.monotonic()
        for i, image in enumerate(images):
            time.sleep(max(0.0, began + i * LARGE / RATE - time.monotonic()))
            client.publish("in", image)
        wait_until(lambda: len(answers.documents) == len(images))
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
        wait_until(lambda: "did not fit into the buffer of 0.1 MB" in caplog.text)
        client.publish("end", b"")
        engine.go.set()
        wait_until(lambda: client.llen("out") + lost() - before == 100)
        assert client.llen("out") >= 10
        assert lost() > before


def test_the_command_shows_what_is_lost_in_its_metrics_and_once_a_second_in_its_log(
    redis_server: RedisServer, tmp_path: Path, free_port: int
) -> None:
    client, log = redis_server.client(), tmp_path / "log"
    image = png() + bytes(30_000)  # 9 MB in all: the server cuts nobody off
    source = f"{redis_server.address}?channel=in&buffer_mb=0.1"
    began = time.monotonic()

    def counted() -> float:
        url = f"http://127.0.0.1:{free_port}/metrics"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        return float(re.search(r"^yolo_input_lost_total (\S+)", text, re.MULTILINE)[1])  # type: ignore[index]

    with detecting(
        source, f"{redis_server.address}?list=out", log, "--metrics-port", str(free_port)
    ):
        wait_until(lambda: client.pubsub_numsub("in")[0][1] == 1)
        assert counted() == 0
        for _ in range(300):
            client.publish("in", image)
        wait_until(lambda: client.llen("out") + counted() == 300)
        assert counted() > 0
        wait_until(lambda: "did not fit into the buffer of 0.1 MB" in log.read_text())
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
                wait_until(lambda: client.llen("out") > 0 and holds(client, kind, victim.pid))
                victim.kill()
        answered: Counter[str] = Counter()
        until = time.monotonic() + SECONDS
        while len(answered) < len(images):
            assert time.monotonic() < until
            if found := client.blpop("out", timeout=1):
                answered[json.loads(found[1])["meta"]["sha256"]] += 1
        if kind == "stream":
            wait_until(lambda: client.xpending("in", "yolo-service")["pending"] == 0)
        else:
            wait_until(lambda: not client.keys("in:taken:*"))
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
        wait_until(lambda: client.xpending("in", "yolo-service")["pending"] == 0)


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


def test_an_element_is_not_lost_with_a_process_that_was_thought_dead(
    redis_server: RedisServer,
) -> None:
    """As one is that Redis was gone for; it dies before it says again that it lives."""
    client, address = redis_server.client(), f"{redis_server.address}?list=in"
    silent = open_input([f"{address}&claim=600"], InputOptions())
    client.delete(*client.keys("in:alive:*"))
    other = open_input([f"{address}&claim=0.3"], InputOptions())
    waiting = threading.Thread(target=take, args=(other, 1))
    waiting.start()
    wait_until(lambda: client.scard("in:processes") == 1)
    other.stop()
    waiting.join(SECONDS)
    client.rpush("in", png())
    (item,) = take(silent, 1)
    assert client.llen("in") == 0
    (again,) = take(other_process := open_input([f"{address}&claim=0.3"], InputOptions()), 1)
    assert again.read() == item.read()
    for source in (silent, other, other_process):
        source.close()


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
            wait_until(lambda: client.pubsub_numsub("in")[0][1] == 1)
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


def test_a_lost_connection_is_logged_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    source = open_input([f"{redis_server.address}?channel=in"], InputOptions())
    redis_server.kill()
    eventually(lambda: "is gone" in caplog.text)
    redis_server.start()
    wait_until(lambda: "is back" in caplog.text)
    source.close()
    assert caplog.text.count("is gone") == 1


def processes_of(pid: int) -> list[int]:
    """Return the processes that one has started and that live."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_the_process_that_receives_ends_with_the_one_that_detects(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    client, address = redis_server.client(), redis_server.address
    source = f"{address}?channel=in&buffer_mb=0.1"  # so that it has something to tell at the end
    with detecting(source, f"{address}?list=out", tmp_path / "log") as process:
        wait_until(lambda: client.pubsub_numsub("in")[0][1] == 1)
        (receiver,) = processes_of(process.pid)
        for _ in range(300):
            client.publish("in", png() + bytes(30_000))
        process.kill()
        wait_until(lambda: not Path(f"/proc/{receiver}").exists())


def test_a_run_ends_with_an_error_if_the_process_that_receives_is_killed(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    client, log = redis_server.client(), tmp_path / "log"
    address = redis_server.address
    with detecting(f"{address}?channel=in", f"{address}?list=out", log) as process:
        wait_until(lambda: client.pubsub_numsub("in")[0][1] == 1)
        (receiver,) = processes_of(process.pid)
        os.kill(receiver, signal.SIGKILL)
        assert process.wait(SECONDS) == 1
    assert "the process that receives has ended with -9" in log.read_text()


def pending(client: Any) -> int:
    return int(client.xpending("in", "yolo-service")["pending"])


def test_sigterm_waits_no_longer_for_a_sink_that_is_gone_and_gives_everything_back(
    redis_server: RedisServer, make_redis: MakeRedis, tmp_path: Path
) -> None:
    sink, client, log = make_redis(), redis_server.client(), tmp_path / "log"
    source = f"{redis_server.address}?stream=in"
    with detecting(source, f"{sink.address}?list=out", log) as process:
        client.xadd("in", {"image": png()})
        wait_until(lambda: sink.client().llen("out") == 1 and not pending(client))
        sink.kill()
        for i in range(40):
            client.xadd("in", {"image": png(i)})
        wait_until(lambda: "is gone, trying again" in log.read_text())
        began = time.monotonic()
        process.terminate()
        assert process.wait(SECONDS) == 1
        assert time.monotonic() - began < 20
    assert "does not answer" in log.read_text()
    sink.start()
    with detecting(source, f"{sink.address}?list=out", log):
        wait_until(lambda: sink.client().llen("out") == 40)
