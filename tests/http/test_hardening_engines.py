"""Responses, readiness and the end of the process while an engine hangs or fails."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.answers import problem, wait_for_metric
from tests.support.attacks import Peer
from tests.support.fixtures import Client, Part, StartServer, start_process
from tests.support.load import detect_request
from tests.support.predictors import eventually


def until_ready_is(client: Client, status: int) -> None:
    """Wait for readiness to change; liveness must not."""
    end = time.monotonic() + 60
    while (answer := client.get("/readyz")).status != status:
        assert time.monotonic() < end, answer.body
        assert client.get("/healthz").status == 200
        time.sleep(0.02)


def test_a_service_whose_engine_hangs_is_not_ready_but_alive_until_it_answers_again(
    faulty: StartServer, faults: Path, photo: bytes
) -> None:
    server = faulty(request_timeout="1", queue_size="2", workers="2", batch_size="1")
    client = server.client()
    parts: list[Part] = [("image_file", photo)]
    assert client.post(parts).status == 200
    (faults / "hang").touch()
    clients = [server.client() for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        taken = [threads.submit(each.post, parts) for each in clients[:2]]
        eventually(lambda: b"\nyolo_workers_busy 2.0\n" in client.get("/metrics").body)
        others = [threads.submit(each.post, parts) for each in clients[2:]]
        answers = [future.result() for future in (*taken, *others)]
    assert sorted(answer.status for answer in answers) == [503, 503, 504, 504, 504, 504]
    until_ready_is(client, 503)
    problem(client.get("/readyz"), 503, "restart the service")
    problem(client.get("/ping"), 503, "restart the service")
    assert client.get("/hc/").status == 503
    (faults / "hang").unlink()
    until_ready_is(client, 200)
    assert client.post(parts).status == 200
    for each in (client, *clients):
        each.close()


def test_a_service_whose_engine_fails_is_not_ready_until_it_works_again(
    faulty: StartServer, faults: Path, photo: bytes
) -> None:
    server = faulty()
    client = server.client()
    parts: list[Part] = [("image_file", photo)]
    (faults / "fail").touch()
    assert client.get("/readyz").status == 200  # no image has failed yet
    problem(client.post(parts), 503, "the device is lost")
    problem(client.get("/readyz"), 503, "fails with every image")
    (faults / "fail").unlink()
    # No request comes while it is not ready, so it has to find out by itself.
    until_ready_is(client, 200)
    assert client.post(parts).status == 200
    client.close()
    assert any("model a-tiny failed: openvino on CPU failed" in line for line in server.log)


@pytest.mark.parametrize("workers", [1, 24])
def test_the_process_ends_in_its_grace_period_however_many_workers_hang(
    faulty: StartServer, faults: Path, photo: bytes, workers: int
) -> None:
    """Waiting a second for each of 24 workers would take longer than ``stop`` allows."""
    server = faulty(workers=str(workers), batch_size="1")
    (faults / "hang").touch()
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(Peer(server.port, detect_request(photo)))
        wait_for_metric(server, "yolo_workers_busy", workers)
        assert server.stop() == 0
    assert any("some requests took more than 7 seconds" in line for line in server.log)
    assert any("stopped while a model was still computing" in line for line in server.log)


def test_an_unexpected_error_at_the_start_ends_the_process_with_a_message(
    models: Path, faults: Path
) -> None:
    (faults / "bug").touch()
    settings = {"YOLO_MODELS_DIR": str(models), "FAULTS": str(faults)}
    process = start_process(settings, "-m", "tests.support.faulty")
    assert process.wait() == 1
    log = "".join(process.log)
    assert "cannot start because of an unexpected error" in log
    assert "ZeroDivisionError: a bug in the engine" in log
    assert "stopped" in log
