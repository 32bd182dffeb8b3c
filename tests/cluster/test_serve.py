"""The service behind Ray Serve: real Ray, on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.answers import problem
from tests.support.contract_fuzzing import run_schemathesis
from tests.support.fixtures import Answer, Client, Part
from tests.support.paths import ROOT
from tests.support.ray_serve import RayServe, start_ray_serve
from tests.support.waiting import wait_until

QUEUE_SIZE = 4
"""Of a replica; Ray Serve sends it so many requests at once."""

ANNOUNCED_SECONDS = 3
"""When proxies surely know which models a replica has; it takes 0.2 s, and nothing tells it."""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def cluster(models: Path) -> Iterator[RayServe]:
    """Ray Serve with one replica at ``/``."""
    ray_serve = start_ray_serve(
        {
            "YOLO_MODELS_DIR": str(models),
            "YOLO_QUEUE_SIZE": str(QUEUE_SIZE),
            "YOLO_URL_ALLOW_NETWORKS": "127.0.0.0/8",
        }
    )
    try:
        ray_serve.deploy("one", "/", num_replicas=1)
        yield ray_serve
    finally:
        code = ray_serve.stop()
    assert code == 0, "\n".join(ray_serve.log[-100:])


@pytest.fixture
def client(cluster: RayServe) -> Iterator[Client]:
    connection = cluster.client()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def two(cluster: RayServe) -> str:
    """The prefix of an application of two replicas."""
    cluster.deploy("two", "/two", num_replicas=2)
    return "/two"


@pytest.fixture(scope="module")
def large_photo() -> bytes:
    """A small file of many pixels, which takes a replica a while."""
    return cv2.imencode(".jpg", np.zeros((4000, 6000, 3), np.uint8))[1].tobytes()


def test_routes_answer_as_without_ray(cluster: RayServe, tmp_path: Path) -> None:
    """The tests of the application in one process, asked of Ray Serve."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/api", "-q", "-p", "no:cacheprovider"],
        env={**os.environ, "YOLO_TEST_API_PORT": str(cluster.port)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " skipped" not in done.stdout


def test_generated_requests_are_answered_as_the_contract_tells(
    cluster: RayServe, tmp_path: Path
) -> None:
    done = run_schemathesis(cluster.port, tmp_path, "-n", "2", "--generation-deterministic")
    assert done.returncode == 0, done.stdout


def test_pages_health_and_metrics_are_served(client: Client) -> None:
    assert b"<html" in client.get("/").body
    assert client.get("/readyz").json == {"status": "ready"}
    # Ray limits the CPUs of a replica by OMP_NUM_THREADS.
    assert b"\nyolo_workers 2.0\n" in client.get("/metrics").body
    assert b'yolo_http_requests_total{method="GET",route="/readyz",status="200"}' in (
        client.get("/metrics").body
    )


def test_an_answer_has_the_id_of_its_request_once(client: Client) -> None:
    answer = client.get("/healthz", **{"X-Request-ID": "mine-1"})
    assert answer.headers.get_all("X-Request-ID") == ["mine-1"]  # type: ignore[attr-defined]
    answer = client.get("/healthz", **{"X-Request-ID": "not one", "x-session-id": "\xe9"})
    assert answer.status == 200
    assert answer.headers["X-Request-ID"] != "not one"


def test_requests_that_name_a_model_go_to_the_replica_that_has_it(
    cluster: RayServe, two: str, client: Client, photo: bytes
) -> None:
    def ask(number: int, **more: str) -> int:
        name = f"model-{number}"
        parts: list[Part] = [("image_file", photo), *more.items()]
        assert client.post(parts, f"{two}/detect", **{"X-Request-ID": name}).status == 200
        return cluster.replica_of(name)

    first = ask(0, model="b-shy")
    time.sleep(ANNOUNCED_SECONDS)
    assert {ask(number, model="b-shy") for number in range(1, 20)} == {first}
    assert len({ask(number) for number in range(20, 60)}) == 2


def test_what_no_replica_can_take_is_answered_503_with_retry_after(
    cluster: RayServe, two: str, large_photo: bytes
) -> None:
    def ask(_: int) -> Answer:
        client = cluster.client()
        try:
            return client.post([("image_file", large_photo)], f"{two}/annotate")
        finally:
            client.close()

    answers: list[Answer] = []
    with ThreadPoolExecutor(10 * QUEUE_SIZE) as pool:
        while 503 not in {answer.status for answer in answers}:
            assert len(answers) < 1000
            answers += pool.map(ask, range(10 * QUEUE_SIZE))
    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            problem(answer, 503, "")
            assert int(answer.headers["Retry-After"]) > 0


def test_a_killed_replica_under_load_fails_no_request(
    cluster: RayServe, two: str, client: Client, photo: bytes
) -> None:
    """Its requests go to the other one; a request may be told to try again."""
    client.get(f"{two}/healthz", **{"X-Request-ID": "victim"})
    victim, stop = cluster.replica_of("victim"), threading.Event()
    answers: list[Answer] = []

    def ask(_: int) -> None:
        mine = cluster.client()
        while not stop.is_set():
            answers.append(mine.post([("image_file", photo)], f"{two}/detect"))
        mine.close()

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        wait_until(lambda: len(answers) > 40)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(answers) > 120)
        stop.set()
        for each in asking:
            each.result()
    assert all(answer.status == 200 or "Retry-After" in answer.headers for answer in answers)
    assert [answer.status for answer in answers].count(200) > 100


def test_the_first_request_starts_a_replica(cluster: RayServe, client: Client) -> None:
    cluster.deploy("zero", "/zero", min_replicas=0)
    assert client.get("/zero/readyz").status == 200
