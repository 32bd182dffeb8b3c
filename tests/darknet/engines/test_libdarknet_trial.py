"""A library that ends its process ends no process of ours: it becomes an error with its words."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darknet.child_process import Ended, run_module
from darknet.engines import libdarknet_trial
from darknet.engines.cache import GraphCache
from darknet.engines.libdarknet import load
from darknet.engines.libdarknet_trial import require_survival
from darknet.errors import EngineUnavailableError, UnsupportedError
from darknet.model import Model, Thresholds
from tests.support.fixtures import StartServer
from tests.support.libdarknet_models import an_image, engine_of, model_of, tiny_with
from tests.support.networks import TINY, write_model
from tests.support.other_forks import build_fork

ENVIRONMENT = dict(os.environ)
DEADLY = tiny_with("[maxpool]", "[dropout]\n[maxpool]")
pytestmark = pytest.mark.usefixtures("libdarknet")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "DIES_IN_LOAD",
            r"given this network .*SIGABRT: .*Error: \[dropout\] is not supported",
        ),
        ("DIES_IN_PREDICT", r"first image .*ended with SIGFPE: "),
    ],
)
def test_a_network_that_the_library_dies_of_is_an_error_with_what_it_printed(
    tmp_path: Path, fault: str, words: str
) -> None:
    library = build_fork(tmp_path, fault)
    with pytest.raises(UnsupportedError, match=f"{words}.*use engine openvino"):
        engine_of(model_of(DEADLY), library)
    engine = engine_of(model_of(TINY), library)  # it still serves what it survives
    assert len(engine.detect([an_image()], Thresholds(0.01))[0])
    engine.close()


def test_a_library_that_exits_when_it_is_opened_is_unavailable(tmp_path: Path) -> None:
    library = build_fork(tmp_path, "DIES_AT_ONCE")
    words = "opened in a process of its own, which ended with exit code 7: wrong argument"
    with pytest.raises(EngineUnavailableError, match=words):
        engine_of(model_of(TINY), library)


def test_a_library_that_hangs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libdarknet_trial, "SECONDS", 0.01)
    with pytest.raises(EngineUnavailableError, match=r"gave no answer within 0\.01 seconds"):
        engine_of(model_of(tiny_with("filters=8", "filters=9")), build_fork(tmp_path))


def trials(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by one entry for each process that is started."""
    started: list[str] = []

    def counting(module: str, *arguments: str, **options: Any) -> Ended:
        started.append(module)
        return run_module(module, *arguments, **options)

    monkeypatch.setattr("darknet.engines.libdarknet_trial.run_module", counting)
    return started


def test_a_model_is_tried_once_per_library_and_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = trials(monkeypatch)
    monkeypatch.setattr(libdarknet_trial, "_survivors", set())
    model, library, cache = model_of(TINY), build_fork(tmp_path), GraphCache(tmp_path / "cache")
    for _ in range(2):
        load(model, library=library, device=None, cache=cache).close()
    assert len(started) == 1
    monkeypatch.setattr(libdarknet_trial, "_survivors", set())  # as in the next process
    load(model, library=library, device=None, cache=cache).close()
    assert len(started) == 1
    contents = library.read_bytes()
    library.unlink()  # it is loaded: writing into the file would change the code in memory
    library.write_bytes(contents + b"\0")  # another build at the same place
    require_survival(model, str(library), None, cache)
    assert len(started) == 2
    require_survival(other_weights(model), str(library), None, cache)
    assert len(started) == 3


def other_weights(model: Model) -> Model:
    other = model_of(TINY)
    other.weights.layers[0]["biases"][0] += 1
    assert model.weights.layers[0]["biases"][0] != other.weights.layers[0]["biases"][0]
    return other


def test_a_model_that_died_is_tried_again_after_the_library_was_repaired(tmp_path: Path) -> None:
    model = model_of(DEADLY)
    with pytest.raises(UnsupportedError):
        engine_of(model, build_fork(tmp_path, "DIES_IN_LOAD"))
    (tmp_path / "repaired").mkdir()
    engine_of(model, build_fork(tmp_path / "repaired")).close()


# Standard output


def test_what_a_prediction_prints_is_not_on_standard_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = engine_of(model_of(TINY), build_fork(tmp_path, "PRINTS"))
    with caplog.at_level(logging.DEBUG, logger="darknet"):
        engine.detect([an_image()], Thresholds())
    engine.close()
    assert "Used AVX" not in capfd.readouterr().out


def test_detect_prints_its_lines_only_whatever_the_library_prints(
    tmp_path: Path, darknet_data: Path
) -> None:
    library = build_fork(tmp_path, "PRINTS")
    write_model(tmp_path / "models" / "tiny")
    photos = [str(darknet_data / "data" / f"{name}.jpg") for name in ("dog", "eagle")]
    command = [sys.executable, "-m", "yolo_service.cli.main", "detect", "--engine", "libdarknet"]
    settings = {"YOLO_LIBDARKNET": str(library), "YOLO_MODELS_DIR": str(tmp_path / "models")}
    ended = subprocess.run(
        [*command, *photos], capture_output=True, text=True, env=ENVIRONMENT | settings, check=True
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["file"] for line in lines] == photos
    assert "AVX detected." not in ended.stdout


def test_the_log_of_a_server_stays_json_whatever_the_library_prints(
    tmp_path: Path, start_server: StartServer, photo: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    library = build_fork(tmp_path, "PRINTS")
    server = start_server(engine="libdarknet", libdarknet=str(library), log_format="json")
    client = server.client()
    assert client.post([("image_file", photo)]).status == 200
    client.close()
    assert server.stop() == 0
    messages = [json.loads(line)["message"] for line in server.log]
    assert "printed by native code: AVX detected." in messages
    assert capfd.readouterr().out == ""
