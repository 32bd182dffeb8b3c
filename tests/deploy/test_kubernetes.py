"""deploy/kubernetes: what kubectl makes of it is valid, and fits the image and the service."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # its types are a package of their own
import kubernetes_validate  # type: ignore[import-untyped] # the package has no types
import pytest
import yaml

from tests.support.kubernetes_schemas import CUSTOM
from tests.support.kustomize import (
    COMPONENTS,
    OVERLAYS,
    Document,
    composed,
    container,
    of_kind,
    overlay,
    pod,
    render,
    settings,
    workload,
)
from tests.support.paths import ROOT
from yolo_service.http.serve import CLOSE_SECONDS, REQUESTS_SECONDS
from yolo_service.settings import load_settings, unknown_variables

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
KUBERNETES = "1.37"
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
FROM_ZERO = ("knative", "scale-to-zero")
PULL_SECONDS = 600

every_overlay = pytest.mark.parametrize("name", OVERLAYS)
every_component = pytest.mark.parametrize("component", COMPONENTS)
both_kinds = pytest.mark.parametrize("base", ["cpu", "knative"])


def validate(document: Document) -> None:
    """Hold a manifest to the schema of its kind.

    Raises:
        ValidationError: of kubernetes_validate or jsonschema.
    """
    schema = CUSTOM.get((document["apiVersion"], document["kind"]))
    if schema is None:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    else:
        jsonschema.validate(document, schema)


def as_pod(documents: list[Document]) -> Document:
    """Return the pods' specification as Kubernetes' schema knows it."""
    own = ("containerConcurrency", "timeoutSeconds")  # Knative's
    spec = {name: value for name, value in pod(documents).items() if name not in own}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}


def validate_all(documents: list[Document]) -> None:
    for document in documents:
        validate(document)
    validate(as_pod(documents))


def api_key(documents: list[Document]) -> dict[str, Any] | None:
    """Return where the API key comes from; None: there is none."""
    sources = {each["name"]: each["valueFrom"] for each in container(documents).get("env") or []}
    found: dict[str, Any] | None = sources.get("YOLO_API_KEY")
    return found


@every_overlay
def test_manifests_are_valid(name: str) -> None:
    validate_all(overlay(name))


@both_kinds
@every_component
def test_every_component_fits_both_kinds_of_workload(
    tmp_path: Path, base: str, component: str
) -> None:
    documents = composed(tmp_path, base, [component])
    validate_all(documents)
    assert workload(documents) != workload(overlay(base))


@every_overlay
def test_the_schemas_refuse_an_unknown_field(name: str) -> None:
    for document in overlay(name):
        wrong = copy.deepcopy(document)
        (wrong.get("spec") or wrong)["unknown"] = 1
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            validate(wrong)


@every_overlay
def test_containers_have_probes_limits_and_no_rights(name: str) -> None:
    found = container(overlay(name))
    assert found["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert found["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert {"cpu", "memory"} <= found["resources"]["limits"].keys()
    rights = pod(overlay(name)).get("securityContext", {}) | found["securityContext"]
    assert rights["runAsNonRoot"]
    assert rights["readOnlyRootFilesystem"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not rights["allowPrivilegeEscalation"]


@every_overlay
def test_nothing_is_restarted_while_a_model_is_pulled(name: str) -> None:
    """The liveness probe begins when the startup probe has passed."""
    probe = container(overlay(name))["startupProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    assert probe["periodSeconds"] * probe["failureThreshold"] >= PULL_SECONDS


@every_overlay
def test_what_the_service_writes_is_a_bounded_volume(name: str) -> None:
    mounts = {each["mountPath"]: each["name"] for each in container(overlay(name))["volumeMounts"]}
    volumes = {each["name"]: each["emptyDir"] for each in pod(overlay(name))["volumes"]}
    assert "HOME=/tmp" in (ROOT / "Dockerfile").read_text()
    assert {"/tmp", settings(overlay(name))["YOLO_CACHE_DIR"]} == mounts.keys()
    assert all("sizeLimit" in volumes[volume] for volume in mounts.values())


@every_overlay
def test_the_platform_sets_the_port(name: str) -> None:
    """Knative refuses a PORT of one's own."""
    assert container(overlay(name))["ports"][0]["containerPort"] == 8080
    assert not {"PORT", "YOLO_PORT"} & settings(overlay(name)).keys()


@every_overlay
def test_a_pod_does_not_start_without_the_secret_of_its_api_key(name: str) -> None:
    """An optional Secret whose name is misspelt would mean a service without authentication."""
    source = api_key(overlay(name))
    assert source == {"secretKeyRef": {"name": "yolo-service", "key": "api-key"}}


@every_overlay
def test_a_service_for_everybody_needs_no_secret(tmp_path: Path, name: str) -> None:
    documents = composed(tmp_path, name, ["public"])
    assert api_key(documents) is None
    assert "secret" not in str(pod(documents)).lower()


@every_overlay
def test_the_number_of_workers_is_the_default_for_the_cpu_limit(name: str) -> None:
    assert "YOLO_WORKERS" not in settings(overlay(name))
    assert int(container(overlay(name))["resources"]["limits"]["cpu"]) > 0


@every_overlay
def test_the_settings_are_settings_of_the_service(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in settings(overlay(name)).items():
        monkeypatch.setenv(variable, value)
    assert unknown_variables(settings(overlay(name))) == []
    assert load_settings().log_format == "json"


@every_overlay
def test_pods_read_the_settings_by_the_name_with_the_hash(name: str) -> None:
    (config,) = of_kind(overlay(name), "ConfigMap")
    assert re.fullmatch(r"yolo-service-\w{10}", config["metadata"]["name"])
    assert container(overlay(name))["envFrom"] == [
        {"configMapRef": {"name": config["metadata"]["name"]}}
    ]


@both_kinds
def test_other_settings_start_other_pods(tmp_path: Path, base: str) -> None:
    generator = {"name": "yolo-service", "behavior": "merge", "literals": ["YOLO_PRECISION=fast"]}
    documents = composed(tmp_path, base, [], configMapGenerator=[generator])
    assert settings(documents) == {**settings(overlay(base)), "YOLO_PRECISION": "fast"}
    (config,) = of_kind(documents, "ConfigMap")
    (reference,) = container(documents)["envFrom"]
    assert reference["configMapRef"]["name"] == config["metadata"]["name"]
    assert reference not in container(overlay(base))["envFrom"]


@every_overlay
def test_manifests_name_this_version_and_the_variant_of_the_hardware(name: str) -> None:
    found = container(overlay(name))
    variant = "_cuda_tc" if name.endswith("gpu") else ""
    assert found["image"] == f"yolo-service:{VERSION}{variant}-blood-cells"
    assert found["resources"]["limits"].get("nvidia.com/gpu") == ("1" if variant else None)


@pytest.mark.parametrize("name", [name for name in OVERLAYS if not name.endswith("gpu")])
def test_every_overlay_for_cpus_has_one_for_gpus_that_differs_in_its_pods_only(name: str) -> None:
    gpu = "gpu" if name == "cpu" else f"{name}-gpu"
    theirs, ours = overlay(gpu), overlay(name)
    assert [each for each in theirs if each != workload(theirs)] == [
        each for each in ours if each != workload(ours)
    ]
    if workload(theirs)["kind"] == "Deployment":  # Knative has a flag for tolerations
        (toleration,) = pod(theirs)["tolerations"]
        assert toleration["key"] in container(theirs)["resources"]["limits"]


@pytest.mark.parametrize("name", [n for n in OVERLAYS if n.removesuffix("-gpu") in FROM_ZERO])
def test_without_requests_nothing_runs(name: str) -> None:
    documents = overlay(name)
    if name.startswith("knative"):
        annotations = workload(documents)["spec"]["template"]["metadata"]["annotations"]
        assert annotations["autoscaling.knative.dev/min-scale"] == "0"
    else:
        (scaled,) = of_kind(documents, "ScaledObject")
        assert scaled["spec"]["minReplicaCount"] == 0
        assert "replicas" not in workload(documents)["spec"]


@pytest.mark.parametrize("name", ["scale-to-zero", "scale-to-zero-gpu"])
def test_requests_start_the_first_pod_through_the_route_to_the_service(name: str) -> None:
    documents = overlay(name)
    (route,) = of_kind(documents, "InterceptorRoute")
    (service,) = of_kind(documents, "Service")
    (scaled,) = of_kind(documents, "ScaledObject")
    (push,) = (each for each in scaled["spec"]["triggers"] if each["type"] == "external-push")
    assert push["metadata"]["interceptorRoute"] == route["metadata"]["name"]
    target = {"service": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    assert route["spec"]["target"] == target


@pytest.mark.parametrize("name", [name for name in OVERLAYS if not name.startswith("knative")])
def test_deployments_stop_without_losing_requests(name: str) -> None:
    found = container(overlay(name))
    _, seconds = found["lifecycle"]["preStop"]["exec"]["command"]
    limit = pod(overlay(name))["terminationGracePeriodSeconds"]
    assert int(seconds) + REQUESTS_SECONDS + CLOSE_SECONDS < limit


@pytest.mark.parametrize("name", [name for name in OVERLAYS if not name.startswith("knative")])
def test_the_service_and_the_scaled_object_find_the_deployment(name: str) -> None:
    documents = overlay(name)
    (service,) = of_kind(documents, "Service")
    labels = workload(documents)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] == container(documents)["ports"][0]["name"]
    for scaled in of_kind(documents, "ScaledObject"):
        assert scaled["spec"]["scaleTargetRef"]["name"] == workload(documents)["metadata"]["name"]


@every_overlay
def test_the_policies_select_the_pods(name: str) -> None:
    documents = overlay(name)
    labels = workload(documents)["spec"]["template"]["metadata"]["labels"]
    (budget,) = of_kind(documents, "PodDisruptionBudget")
    selectors = [budget["spec"]["selector"]]
    selectors += [each["spec"]["podSelector"] for each in of_kind(documents, "NetworkPolicy")]
    selectors += [
        each["labelSelector"] for each in pod(documents).get("topologySpreadConstraints", [])
    ]
    assert all(each["matchLabels"].items() <= labels.items() for each in selectors)


@every_overlay
def test_pods_reach_names_and_the_internet_but_no_private_network(name: str) -> None:
    policies = {each["metadata"]["name"]: each for each in of_kind(overlay(name), "NetworkPolicy")}
    names, internet = policies["yolo-service-egress"]["spec"]["egress"]
    assert {each["port"] for each in names["ports"]} == {53}
    v4, v6 = (each["ipBlock"] for each in internet["to"])
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(v4["except"])
    assert v6["except"] == ["fc00::/7", "fe80::/10"]


@both_kinds
@pytest.mark.parametrize("component", ["models-pull", "models-volume"])
def test_models_get_a_volume_where_the_image_has_its_models(
    tmp_path: Path, base: str, component: str
) -> None:
    documents = composed(tmp_path, base, [component])
    mounts = {each["name"]: each["mountPath"] for each in container(documents)["volumeMounts"]}
    assert f"YOLO_MODELS_DIR={mounts['models']}" in (ROOT / "Dockerfile").read_text()
    assert "models" in {each["name"] for each in pod(documents)["volumes"]}


@pytest.mark.parametrize("component", ["models-pull", "gpu"])
def test_knative_lets_a_request_wait_for_a_long_start(tmp_path: Path, component: str) -> None:
    documents = composed(tmp_path, "knative", [component])
    assert pod(overlay("knative"))["timeoutSeconds"] == 60
    assert pod(documents)["timeoutSeconds"] == PULL_SECONDS


def test_images_can_pull_from_s3() -> None:
    """The Dockerfile installs these pins."""
    assert "\nboto3==" in (ROOT / "requirements.txt").read_text()


def test_the_documentation_lists_every_overlay_and_every_component() -> None:
    cells = re.findall(r"^\| (`.*?) \|", DOCUMENT, re.MULTILINE)
    rows = [re.findall(r"`([\w-]+)`", cell) for cell in cells]
    assert sorted(name for row in rows for name in row) == sorted([*OVERLAYS, *COMPONENTS])


def test_the_overlay_of_the_documentation_is_valid(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    (tmp_path / "yolo-service").symlink_to(ROOT)
    (tmp_path / "kustomization.yaml").write_text(text)
    documents = render(tmp_path)
    validate_all(documents)
    assert {each["metadata"]["namespace"] for each in documents} == {
        yaml.safe_load(text)["namespace"]
    }
    assert unknown_variables(settings(documents)) == []
    assert container(documents)["image"].startswith("registry.example.org/")
