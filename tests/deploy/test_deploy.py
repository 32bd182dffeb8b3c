"""deploy/: every file is valid for its schema and consistent with the image."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # its types are a package of their own
import kubernetes_validate  # type: ignore[import-untyped] # the package has no types
import pytest
import yaml

from tests.support.kubernetes_schemas import HTTP_SCALED_OBJECT, KNATIVE_SERVICE
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
KUBERNETES = "1.37"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def pods() -> list[dict[str, Any]]:
    deployment, _ = documents("kubernetes.yaml")
    (knative,) = documents("knative.yaml")
    return [deployment["spec"]["template"]["spec"], knative["spec"]["template"]["spec"]]


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


@pytest.mark.parametrize("document", documents("kubernetes.yaml"), ids=lambda d: d["kind"])
def test_kubernetes_manifests_are_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_validator_finds_a_wrong_manifest() -> None:
    document = documents("kubernetes.yaml")[0]
    document["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("knative.yaml", KNATIVE_SERVICE),
        ("kubernetes-scale-to-zero.yaml", HTTP_SCALED_OBJECT),
    ],
)
def test_custom_resources_are_valid(name: str, schema: dict[str, Any]) -> None:
    (document,) = documents(name)
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"spec": document["spec"] | {"unknown": 1}}, schema)


def test_the_pod_of_the_knative_service_is_valid() -> None:
    """Knative takes a part of what a pod may have, and two fields of its own."""
    (service,) = documents("knative.yaml")
    spec = dict(service["spec"]["template"]["spec"])
    assert spec.pop("containerConcurrency") >= 1
    assert spec.pop("timeoutSeconds") == 60
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_without_requests_nothing_runs() -> None:
    (service,) = documents("knative.yaml")
    annotations = service["spec"]["template"]["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/min-scale"] == "0"
    (scaled,) = documents("kubernetes-scale-to-zero.yaml")
    assert scaled["spec"]["replicas"]["min"] == 0


def test_the_scaled_object_scales_the_deployment_through_its_service() -> None:
    deployment, service = documents("kubernetes.yaml")
    (scaled,) = documents("kubernetes-scale-to-zero.yaml")
    target = scaled["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]
    assert target["service"] == service["metadata"]["name"]
    assert target["port"] == service["spec"]["ports"][0]["port"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize("pod", pods(), ids=["kubernetes", "knative"])
def test_containers_have_probes_limits_and_no_rights(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    rights = pod.get("securityContext", {}) | container["securityContext"]
    assert rights["runAsNonRoot"]
    assert rights["readOnlyRootFilesystem"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not rights["allowPrivilegeEscalation"]


@pytest.mark.parametrize("pod", pods(), ids=["kubernetes", "knative"])
def test_the_platform_sets_the_port(pod: dict[str, Any]) -> None:
    """Knative refuses a PORT of one's own."""
    (container,) = pod["containers"]
    assert container["ports"][0]["containerPort"] == 8080
    assert "PORT" not in [variable["name"] for variable in container["env"]]


@pytest.mark.parametrize("pod", pods(), ids=["kubernetes", "knative"])
def test_a_pod_does_not_start_without_the_secret_of_its_api_key(pod: dict[str, Any]) -> None:
    """An optional Secret whose name is misspelt would mean a service without authentication."""
    sources = {v["name"]: v.get("valueFrom", {}) for v in pod["containers"][0]["env"]}
    reference = sources["YOLO_API_KEY"]["secretKeyRef"]
    assert reference["name"]
    assert not reference.get("optional")


@pytest.mark.parametrize("pod", pods(), ids=["kubernetes", "knative"])
def test_the_number_of_workers_is_the_default_for_the_cpu_limit(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert "YOLO_WORKERS" not in [variable["name"] for variable in container["env"]]
    assert int(container["resources"]["limits"]["cpu"]) > 0


@pytest.mark.parametrize("pod", pods(), ids=["kubernetes", "knative"])
def test_manifests_name_this_version(pod: dict[str, Any]) -> None:
    assert pod["containers"][0]["image"] == f"yolo-service:{VERSION}-blood-cells"


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
