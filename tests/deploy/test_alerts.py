"""The alerts of deploy/: Prometheus reads them, and they fire at the first incident."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fixtures import ServerProcess, StartServer
from tests.support.load import detect_request, send
from tests.support.paths import ROOT
from tests.support.prometheus import CONFIG, SECONDS, Prometheus
from tests.support.real_parts import installed
from tests.support.waiting import wait_until

RULES = ROOT / "deploy" / "prometheus-alerts.yml"
RULE_TESTS = ROOT / "tests" / "deploy" / "alerts_test.yml"
DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")


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


@pytest.fixture
def service(faulty: StartServer) -> ServerProcess:
    """A service that computes one image at a time and lets one wait."""
    return faulty(workers="1", queue_size="1", batch_size="1")


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
