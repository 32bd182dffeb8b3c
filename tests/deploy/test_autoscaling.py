"""The queries of KEDA's triggers, answered by the Prometheus that alerts are tested with."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fixtures import ServerProcess, StartServer
from tests.support.kustomize import of_kind, overlay
from tests.support.load import detect_request, send
from tests.support.prometheus import SECONDS, Prometheus
from tests.support.real_parts import installed
from tests.support.waiting import wait_until

WAIT, BUSY = "queue-wait", "busy-workers"

WAIT_SUM = 'yolo_queue_duration_seconds_sum{{pod="{}"}}'
WAIT_COUNT = 'yolo_queue_duration_seconds_count{{pod="{}"}}'
WORKERS_BUSY = 'yolo_workers_busy{{pod="{}"}}'
WORKERS = 'yolo_workers{{pod="{}"}}'


def triggers(name: str = "autoscale") -> dict[str, Any]:
    (scaled,) = of_kind(overlay(name), "ScaledObject")
    return {each["name"]: each for each in scaled["spec"]["triggers"]}


def query(name: str) -> str:
    return str(triggers()[name]["metadata"]["query"])


def evaluated(folder: Path, series: Mapping[str, str], expected: Mapping[str, float]) -> None:
    """Have promtool answer the queries after 10 minutes of series with a value each 15 seconds."""
    answers = [
        {"expr": query(name), "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": value}]}
        for name, value in expected.items()
    ]
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": answers,
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    subprocess.run([installed("promtool", "prometheus"), "test", "rules", path], check=True)


def pod_series(pod: str, wait_sum: str, wait_count: str, busy: str) -> dict[str, str]:
    """Return the metrics of a pod with 3 workers, in promtool's notation."""
    return {
        WAIT_SUM.format(pod): wait_sum,
        WAIT_COUNT.format(pod): wait_count,
        WORKERS_BUSY.format(pod): busy,
        WORKERS.format(pod): "3x40",
    }


def test_without_pods_both_are_0(tmp_path: Path) -> None:
    evaluated(tmp_path, {}, {WAIT: 0, BUSY: 0})


def test_without_images_both_are_0(tmp_path: Path) -> None:
    evaluated(tmp_path, pod_series("a", "0x40", "0x40", "0x40"), {WAIT: 0, BUSY: 0})


def test_after_the_last_image_both_are_0_again(tmp_path: Path) -> None:
    series = pod_series("a", "0+30x20 600x20", "0+60x20 1200x20", "3x20 0x20")
    evaluated(tmp_path, series, {WAIT: 0, BUSY: 0})


def test_pods_that_are_gone_do_not_count(tmp_path: Path) -> None:
    gone = dict.fromkeys(pod_series("b", "", "", ""), "3x20")
    series = pod_series("a", "0+30x40", "0+60x40", "1.5x40") | gone
    evaluated(tmp_path, series, {WAIT: 0.5, BUSY: 0.5})


def test_the_wait_is_the_mean_of_all_images_of_all_pods(tmp_path: Path) -> None:
    """Half of the images wait 0.5 s in one pod, the others 0.1 s in the other."""
    series = pod_series("a", "0+30x40", "0+60x40", "3x40")
    series |= pod_series("b", "0+6x40", "0+60x40", "3x40")
    evaluated(tmp_path, series, {WAIT: 0.3, BUSY: 2})


def test_one_image_in_a_minute_is_enough_for_a_wait(tmp_path: Path) -> None:
    steps = " ".join(str(n // 4) for n in range(41))
    evaluated(tmp_path, pod_series("a", steps, steps, "0x40"), {WAIT: 1, BUSY: 0})


def test_busy_pods_stay_although_nothing_waits(tmp_path: Path) -> None:
    """Four pods, filled to 75 %: one more is wanted; the wait alone would leave one."""
    pods = [pod_series(pod, "0x40", "0+60x40", "2.25x40") for pod in "abcd"]
    series = {name: values for pod in pods for name, values in pod.items()}
    evaluated(tmp_path, series, {WAIT: 0, BUSY: 3})
    assert math.ceil(3 / float(triggers()[BUSY]["metadata"]["threshold"])) == 5


def test_what_is_a_mean_is_compared_as_it_is_and_what_is_a_sum_for_each_pod() -> None:
    kinds = {name: trigger["metricType"] for name, trigger in triggers().items()}
    assert kinds == {WAIT: "Value", BUSY: "AverageValue"}


def test_every_overlay_with_keda_asks_the_same() -> None:
    for name in ("autoscale-gpu", "scale-to-zero", "scale-to-zero-gpu"):
        assert triggers(name).items() >= triggers().items()


@pytest.fixture
def service(faulty: StartServer) -> ServerProcess:
    """A service that computes one image at a time and lets eight wait."""
    return faulty(workers="1", queue_size="8", batch_size="1")


def test_both_rise_when_images_wait_for_a_busy_worker(
    service: ServerProcess, prometheus: Prometheus, faults: Path, photo: bytes
) -> None:
    wait_until(lambda: prometheus.scrapes() >= 4)
    assert prometheus.value(query(WAIT)) == prometheus.value(query(BUSY)) == 0
    (faults / "hang").touch()
    with ThreadPoolExecutor(1) as executor:
        burst = executor.submit(send, service.port, detect_request(photo), rate=40, seconds=0.1)
        wait_until(lambda: above(prometheus, BUSY))
        (faults / "hang").unlink()
        assert [sample.status for sample in burst.result(SECONDS)] == [200] * 4
    wait_until(lambda: above(prometheus, WAIT))


def above(prometheus: Prometheus, name: str) -> bool:
    """Whether a trigger asks for another pod, where there is one."""
    threshold = float(triggers()[name]["metadata"]["threshold"])
    return (prometheus.value(query(name)) or 0) > threshold
