"""The process: how it starts, what it logs, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.answers import problem, wait_for_metric
from tests.support.fixtures import (
    BOUNDARY,
    Answer,
    ServerProcess,
    StartServer,
    multipart,
    start_process,
)
from tests.support.networks import write_model
from yolo_service.threads import NICENESS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(start_server: StartServer, number: int) -> None:
    server = start_server()
    assert server.stop(signal.Signals(number)) == 0
    assert any("stopped" in line for line in server.log)


def test_an_accepted_request_is_finished_after_the_signal(
    faulty: StartServer, faults: Path, photo: bytes
) -> None:
    """The engine hangs until the signal has come."""
    server = faulty(workers="1")
    (faults / "hang").touch()
    client = server.client()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.post, [("image_file", photo)])
        wait_for_metric(server, "yolo_workers_busy", 1)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        (faults / "hang").unlink()
        assert answer.result().status == 200
        assert answer.result().headers["Connection"] == "close"
    client.close()
    assert server.wait() == 0


def test_a_signal_during_the_start_ends_the_process_in_order(models: Path) -> None:
    server = start_process({"YOLO_MODELS_DIR": str(models)})
    server.wait_for("listening on")
    assert server.stop() == 0
    assert "Traceback" not in "".join(server.log)


def failed(settings: dict[str, str], code: int, words: str) -> None:
    """Check that a process with these settings does not start, and says why in words."""
    process = start_process(settings)
    assert process.wait() == code
    log = "".join(process.log)
    assert words in log
    assert "Traceback" not in log


def test_bad_settings_end_the_start_with_a_message(models: Path) -> None:
    failed({"YOLO_PORT": "http"}, 2, "YOLO_PORT: ")


def test_a_start_without_a_model_ends_with_a_message(tmp_path: Path) -> None:
    failed({"YOLO_MODELS_DIR": str(tmp_path)}, 2, "put one there")
    failed({"YOLO_MODELS_DIR": str(tmp_path), "YOLO_MODEL": "a"}, 2, "no model 'a'")


def test_a_broken_default_model_ends_the_start_with_a_message(models: Path) -> None:
    settings = {"YOLO_MODELS_DIR": str(models), "YOLO_MODEL": "c-broken"}
    failed(settings, 1, "the names list has 1")


def test_a_missing_device_ends_the_start_with_a_message(models: Path) -> None:
    settings = {"YOLO_MODELS_DIR": str(models), "YOLO_ENGINE": "openvino", "YOLO_DEVICE": "GPU.7"}
    failed(settings, 1, "GPU.7")


def test_a_port_in_use_ends_the_start_with_a_message(models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        failed({"YOLO_MODELS_DIR": str(models), "YOLO_PORT": port}, 2, "set YOLO_HOST or YOLO_PORT")


def test_the_classic_variables_are_served(tmp_path: Path, photo: bytes) -> None:
    folder = write_model(tmp_path / "classic")
    (folder / "coco.data").write_text("names = model.names\n")
    server = start_process(
        {
            "config_file": str(folder / "model.cfg"),
            "weights_file": str(folder / "model.weights"),
            "meta_file": str(folder / "coco.data"),
        }
    )
    try:
        server.wait_until_ready()
        client = server.client()
        assert client.post([("image_file", photo)]).status == 200
        client.close()
    finally:
        assert server.stop() == 0


def test_the_log_says_what_is_served_and_where_to_look(server: ServerProcess) -> None:
    (line,) = [line for line in server.log if "serving " in line]
    assert "serving a-tiny with " in line
    assert " in fp32; " in line
    assert f"http://127.0.0.1:{server.port}/" in line


def test_the_log_names_a_misspelt_variable(start_server: StartServer) -> None:
    server = start_server({"YOLO_TRESHOLD": "0.5"}, api_kye="secret", log_format="json")
    lines = [json.loads(line) for line in server.log]
    warnings = [line["message"] for line in lines if line["level"] == "warning"]
    assert warnings == [
        "YOLO_API_KYE is no setting; did you mean YOLO_API_KEY?",
        "YOLO_TRESHOLD is no setting; the README lists those there are",
    ]


def test_the_log_can_be_json(start_server: StartServer) -> None:
    server = start_server(log_format="json")
    client = server.client()
    client.get("/healthz?secret=1", **{"X-Request-ID": "my-id"})
    client.close()
    server.stop()
    (line,) = [entry for entry in map(json.loads, server.log) if "path" in entry]
    assert line["request_id"] == "my-id"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/healthz", 400)
    assert "secret" not in "".join(server.log)


def test_threads_that_compute_have_a_lower_priority_than_the_event_loop(
    start_server: StartServer,
) -> None:
    server = start_server(workers="2")
    priorities = Counter(
        os.getpriority(os.PRIO_PROCESS, int(task.name))
        for task in Path(f"/proc/{server.process.pid}/task").iterdir()
    )
    own = os.getpriority(os.PRIO_PROCESS, server.process.pid)
    behind = min(19, own + NICENESS)
    assert own == os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities[behind] >= 2 + 1  # workers, and who loaded the model


def test_sigusr1_prints_the_stack_of_every_thread_and_the_service_goes_on(
    start_server: StartServer,
) -> None:
    server = start_server(workers="2")
    server.process.send_signal(signal.SIGUSR1)
    server.wait_for(r"^(Current thread|Thread) 0x\w+ .*\(most recent call first\)")
    for _ in range(2):  # the stacks of the workers, which wait for jobs
        server.wait_for(r'File ".*queue\.py", line \d+ in take$')
    server.wait_for(r"^Current thread 0x\w+ .*\(most recent call first\)")  # the event loop's
    client = server.client()
    assert client.get("/healthz").status == 200
    client.close()


def test_every_answer_of_a_kept_alive_connection_is_sent_in_one_write(
    server: ServerProcess,
) -> None:
    """Of several small writes, all but the first wait 40 ms for a delayed acknowledgement."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            head, _, body = connection.recv(65_536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert json.loads(body) == {"status": "ok"}


def test_a_chunked_upload_is_served_and_limited(server: ServerProcess, photo: bytes) -> None:
    def post(padding: int) -> Answer:
        body = multipart([("image_file", photo + bytes(padding))])
        pieces = [body[i : i + 50_000] for i in range(0, len(body), 50_000)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Transfer-Encoding": "chunked",
        }
        client = server.client()
        try:
            return client.request("POST", "/detect", chunks + b"0\r\n\r\n", headers)
        finally:
            client.close()

    assert post(200_000).status == 200
    problem(post(20_100_000), 413, "YOLO_MAX_UPLOAD_MB")


def test_an_idle_model_leaves_the_memory_and_comes_back_with_the_next_request(
    start_server: StartServer, photo: bytes
) -> None:
    server = start_server(model_idle_timeout="0.5")
    server.wait_for("model a-tiny unloaded")
    client = server.client()
    assert client.get("/readyz").status == 200
    assert client.post([("image_file", photo)]).status == 200
    client.close()
