"""The alerts of deploy/: Prometheus reads them, and they fire at the first incident."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fixtures import ServerProcess, StartServer
from tests.support.load import detect_request, send
from tests.support.paths import ROOT
from tests.support.real_parts import installed

CONFIG = ROOT / "deploy" / "prometheus.yml"
RULES = ROOT / "deploy" / "prometheus-alerts.yml"
RULE_TESTS = ROOT / "tests" / "deploy" / "alerts_test.yml"
DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
INTERVAL = "250ms"
SECONDS = 60


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def refused(service: ServerProcess) -> float:
    """How many requests a service says it has refused."""
    client = service.client()
    text = client.get("/metrics").body.decode()
    client.close()
    found = re.search(r'^yolo_errors_total\{type="overloaded"\} (.+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0


def wait_until(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.05)


class Prometheus:
    """Prometheus with the rules of deploy/, which scrapes one service."""

    def __init__(self, folder: Path, service: ServerProcess) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
        config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
        (job,) = config["scrape_configs"]
        del job["authorization"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._log = folder / "log"
        command = [
            installed("prometheus", "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log)

    def ask(self, path: str) -> Any:
        """Return the data of an answer of the API; None while Prometheus starts."""
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}") as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def scrapes(self) -> int:
        """How often the service was scraped."""
        found = self.ask("query?query=count_over_time(up[1h])")
        return int(found["result"][0]["value"][1]) if found and found["result"] else 0

    def firing(self) -> set[str]:
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)


@pytest.fixture
def service(faulty: StartServer) -> ServerProcess:
    """A service that computes one image at a time and lets one wait."""
    return faulty(workers="1", queue_size="1", batch_size="1")


@pytest.fixture
def prometheus(service: ServerProcess, tmp_path: Path) -> Iterator[Prometheus]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    started = Prometheus(folder, service)
    yield started
    started.stop()


def test_the_first_incident_fires(
    service: ServerProcess, prometheus: Prometheus, faults: Path, photo: bytes
) -> None:
    wait_until(lambda: prometheus.scrapes() >= 4)
    assert prometheus.firing() == set()
    (faults / "hang").touch()
    with ThreadPoolExecutor(1) as executor:
        burst = executor.submit(send, service.port, detect_request(photo), rate=600, seconds=0.1)
        wait_until(lambda: refused(service) >= 50)
        (faults / "hang").unlink()
        statuses = Counter(sample.status for sample in burst.result(SECONDS))
    assert statuses.keys() == {200, 503}
    assert statuses.total() == 60
    wait_until(lambda: prometheus.firing() == {"YoloServiceRefusesRequests"})


def test_a_model_that_cannot_be_loaded_and_an_unexpected_error_fire(
    service: ServerProcess, prometheus: Prometheus, faults: Path, photo: bytes
) -> None:
    wait_until(lambda: prometheus.scrapes() >= 4)
    client = service.client()
    (faults / "bug").touch()
    assert client.post([("image_file", photo)]).status == 500
    (faults / "bug").unlink()
    assert client.post([("image_file", photo), ("model", "c-broken")]).status == 503
    client.close()
    wait_until(lambda: prometheus.firing() == {"YoloServiceFails", "YoloServiceModelIsBroken"})


def test_the_rules_fire_when_their_tests_say() -> None:
    subprocess.run([installed("promtool", "prometheus"), "test", "rules", RULE_TESTS], check=True)


def test_every_alert_is_tested_for_firing_and_for_silence() -> None:
    cases = [
        alert
        for test in yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
        for alert in test["alert_rule_test"]
    ]
    alerts = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts


def test_the_configuration_is_valid() -> None:
    tool = installed("promtool", "prometheus")
    subprocess.run([tool, "check", "config", "--syntax-only", CONFIG], check=True)
    subprocess.run([tool, "check", "rules", RULES], check=True)


def test_the_documentation_lists_every_alert() -> None:
    assert set(re.findall(r"^\| `(Yolo\w+)`", DOCUMENT, re.MULTILINE)) == {
        rule["alert"] for rule in rules()
    }


def test_the_documentation_makes_a_resource_for_the_operator_of_prometheus(tmp_path: Path) -> None:
    (command,) = re.findall(r"^```sh\n(\{.*?)\n```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\ncat\n")
    kubectl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    made = subprocess.check_output(["sh", "-c", command], cwd=ROOT, env=environment)
    resource = yaml.safe_load(made)
    assert resource["kind"] == "PrometheusRule"
    assert resource["spec"]["groups"][0]["rules"] == rules()
