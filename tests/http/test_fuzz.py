"""Generated requests to every route of swagger.yaml; ``make fuzz`` sends them for longer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attacks import Cost
from tests.support.contract_fuzzing import run_schemathesis
from tests.support.fixtures import ServerProcess, start_process
from tests.support.networks import write_model

SECONDS = int(os.environ.get("YOLO_TEST_FUZZ_SECONDS", "0"))
"""How long; 0 stands for the same cases every time, which take about half a minute."""

LAZY_THREADS = 15
"""Started when first needed: gevent's ten for look-ups, and those that load, list and parse."""


@pytest.fixture
def sound_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server without broken models: those are answered 503, as a server error would be."""
    write_model(tmp_path / "a-tiny")
    process = start_process({"YOLO_MODELS_DIR": str(tmp_path), "YOLO_URL_TIMEOUT": "0.5"})
    try:
        process.wait_until_ready()
        yield process
    finally:
        assert process.stop() == 0
    assert "Traceback" not in "".join(process.log)


@pytest.mark.timeout(60 + 2 * SECONDS)
def test_every_answer_is_one_that_the_contract_tells(
    sound_server: ServerProcess, tmp_path: Path
) -> None:
    cost = Cost(sound_server.process.pid)
    files, threads = cost.files, cost.threads
    budget = ("--max-time", str(SECONDS)) if SECONDS else ("-n", "10", "--generation-deterministic")
    done = run_schemathesis(sound_server.port, tmp_path, *budget)
    assert done.returncode == 0, done.stdout
    assert cost.files <= files + 5
    assert cost.threads <= threads + LAZY_THREADS
