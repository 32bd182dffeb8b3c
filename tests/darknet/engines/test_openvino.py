"""OpenVINO's requests: none runs any more when a call has ended, however it ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from darknet.cfg import parse_cfg
from darknet.engines import openvino as engine
from darknet.engines.openvino import OverlapTracker, run_requests
from darknet.errors import InferenceError
from darknet.model import Model
from tests.support.networks import TINY, random_weights


@dataclass
class Request:
    """A stand-in for an InferRequest.

    Attributes:
        fails: ``start`` or ``wait``, the method that raises.
        running: it was started and not waited for.
    """

    fails: str = ""
    running: bool = False

    def start_async(self) -> None:
        if self.fails == "start":
            raise RuntimeError("cannot start")
        self.running = True

    def wait(self) -> None:
        self.running = False
        if self.fails == "wait":
            raise RuntimeError("cannot compute")


@pytest.mark.parametrize("fails", ["start", "wait"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_no_request_runs_any_more_when_one_has_failed(fails: str, position: int) -> None:
    requests = [Request() for _ in range(3)]
    requests[position].fails = fails
    with pytest.raises(RuntimeError, match="cannot"):
        run_requests(requests)
    assert not any(request.running for request in requests)


def test_several_failures_raise_the_first() -> None:
    requests = [Request(), Request(fails="wait"), Request(), Request(fails="wait")]
    with pytest.raises(RuntimeError, match="cannot compute"):
        run_requests(requests)
    assert not any(request.running for request in requests)


def test_a_failed_call_waits_for_all_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = parse_cfg(TINY)
    model = Model(cfg, random_weights(cfg), ("cat", "dog"), "pjreddie", "letterbox")
    runner = engine.load(model, device=None, precision="fp32", streams=None).runner
    requests = [Request(fails="wait"), Request(), Request()]
    pairs = [(request, [np.empty(0, np.float32)]) for request in requests]
    monkeypatch.setattr(engine._Requests, "first", lambda _, count: pairs[:count])
    with pytest.raises(InferenceError, match="openvino on CPU failed: cannot compute"):
        runner.infer(3)
    assert not any(request.running for request in requests)


def test_calls_count_as_separate_after_a_number_of_calls_without_an_overlap() -> None:
    overlap = OverlapTracker()

    def call() -> bool:
        try:
            return overlap.enter()
        finally:
            overlap.leave()

    assert call()
    overlap.enter()
    assert not call()
    overlap.leave()
    assert [call() for _ in range(OverlapTracker.QUIET_CALLS + 1)] == [
        *([False] * OverlapTracker.QUIET_CALLS),
        True,
    ]
