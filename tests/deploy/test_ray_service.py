"""deploy/ray-service.yaml and the image that it names."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # its types are a package of their own
import kubernetes_validate  # type: ignore[import-untyped] # the package has no types
import pytest
import yaml
from pydantic import PydanticDeprecatedSince20

from tests.support.paths import ROOT
from tests.support.ray_schemas import RAY_SERVICE

DEPLOY = ROOT / "deploy"
SERVICE: dict[str, Any] = yaml.safe_load((DEPLOY / "ray-service.yaml").read_text())
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
PODS = [CLUSTER["headGroupSpec"]["template"], CLUSTER["workerGroupSpecs"][0]["template"]]
CONTAINERS = [pod["spec"]["containers"][0] for pod in PODS]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

with warnings.catch_warnings():  # Ray declares a field in a deprecated way
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)
    from ray.serve.schema import ServeDeploySchema

    from yolo_service.cluster import serve


def test_the_service_is_valid() -> None:
    jsonschema.validate(SERVICE, RAY_SERVICE)
    wrong = SERVICE | {"spec": SERVICE["spec"] | {"unknown": 1}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, RAY_SERVICE)


@pytest.mark.parametrize("pod", PODS, ids=["head", "workers"])
def test_its_pods_are_valid(pod: dict[str, Any]) -> None:
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": pod["spec"]}
    kubernetes_validate.validate(whole, "1.37", strict=True)


def test_ray_serve_takes_its_configuration() -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(SERVICE["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    assert module == serve.__name__
    assert inspect.isfunction(getattr(serve, name))
    options = serve.Options.model_validate(application.args)
    assert options.num_replicas == "auto"


def test_a_worker_has_place_for_a_replica() -> None:
    (application,) = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])["applications"]
    arguments, workers = application["args"], CLUSTER["workerGroupSpecs"][0]
    limits = CONTAINERS[1]["resources"]["limits"]
    assert int(limits["cpu"]) == arguments["num_cpus"]
    assert workers["minReplicas"] == arguments["min_replicas"]
    assert workers["maxReplicas"] == arguments["max_replicas"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("container", CONTAINERS, ids=["head", "workers"])
def test_every_pod_has_the_variables_the_key_and_no_rights(container: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in container["env"]}
    for name, value in serve.CLUSTER.items():
        assert variables[name]["value"] == value
    assert variables["YOLO_API_KEY"]["valueFrom"]["secretKeyRef"]["name"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not rights["allowPrivilegeEscalation"]


def test_versions_are_those_of_the_project_and_of_the_tests() -> None:
    image = (DEPLOY / "ray.Dockerfile").read_text()
    for container in CONTAINERS:
        assert container["image"] == f"yolo-service:{VERSION}_ray-blood-cells"
    assert f"-t yolo-service:{VERSION}_ray-blood-cells" in image
    assert f"IMAGE=yolo-service:{VERSION}-blood-cells" in image
    assert CLUSTER["rayVersion"] == version("ray")
    assert f"\nray=={version('ray')} " in (ROOT / "requirements-ray.txt").read_text()


def test_hadolint_finds_nothing_in_the_image_with_ray() -> None:
    tool = Path(sys.executable).parent / "hadolint"
    subprocess.run([tool, DEPLOY / "ray.Dockerfile"], check=True)
