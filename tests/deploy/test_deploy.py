"""deploy/compose.yaml and the workflow: valid for their schemas and consistent with the image."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.compose-spec", "deploy/compose.yaml"),
        ("vendor.github-workflows", ".github/workflows/images.yml"),
    ],
)
def test_files_are_valid_for_their_schemas(schema: str, path: str) -> None:
    tool = Path(sys.executable).parent / "check-jsonschema"
    subprocess.run([tool, "--builtin-schema", schema, ROOT / path], check=True)


def test_compose_builds_this_version_for_cpu_and_gpu() -> None:
    services = documents("compose.yaml")[0]["services"]
    default = "${VERSION:-" + VERSION + "}"
    assert services["cpu"]["image"] == f"yolo-service:{default}-${{MODEL:-blood-cells}}"
    assert services["gpu"]["image"] == f"yolo-service:{default}_cuda_tc-${{MODEL:-blood-cells}}"
    assert services["gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"]


def test_compose_publishes_every_port_on_this_machine_only_unless_it_is_told_otherwise() -> None:
    for service in documents("compose.yaml")[0]["services"].values():
        for port in service["ports"]:
            assert port.startswith(("127.0.0.1:", "${ADDRESS:-127.0.0.1}:")), port


def test_every_compose_service_is_an_option() -> None:
    services = documents("compose.yaml")[0]["services"]
    profiles = {name: service["profiles"] for name, service in services.items()}
    assert profiles == {
        "cpu": ["cpu"],
        "gpu": ["gpu"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


@pytest.mark.parametrize("key", ["", 'a "quoted" $key'])
def test_prometheus_finds_the_key_where_compose_writes_it(tmp_path: Path, key: str) -> None:
    prometheus = documents("compose.yaml")[0]["services"]["prometheus"]
    (job,) = documents("prometheus.yml")[0]["scrape_configs"]
    path = job["authorization"]["credentials_file"]
    assert Path(path).parent.as_posix() in prometheus["tmpfs"]
    (script,) = prometheus["command"]
    assert path in script
    command = script.replace(path, str(tmp_path / "key")).replace("$$", "$")
    fake = tmp_path / "prometheus"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "YOLO_API_KEY": key}
    subprocess.run([*prometheus["entrypoint"], command], env=environment, check=True)
    assert (tmp_path / "key").read_text() == key


def test_what_compose_mounts_exists() -> None:
    for service in documents("compose.yaml")[0]["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source


def test_compose_mounts_the_rules_beside_the_configuration_that_names_them() -> None:
    (rules,) = documents("prometheus.yml")[0]["rule_files"]
    volumes = documents("compose.yaml")[0]["services"]["prometheus"]["volumes"]
    assert f"./{rules}:/etc/prometheus/{rules}:ro" in volumes
