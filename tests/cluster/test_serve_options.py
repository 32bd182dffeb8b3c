"""The options of the application, and the extra that it needs; without starting Ray."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
from pydantic import PydanticDeprecatedSince20

from tests.support.paths import ROOT
from yolo_service.errors import ConfigurationError

with warnings.catch_warnings():  # Ray declares a field in a deprecated way
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)
    from yolo_service.cluster import serve


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``app`` sets the variables that are not set."""
    for variable, value in serve.CLUSTER.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("YOLO_QUEUE_SIZE", "5")


def deployment(**arguments: str) -> Any:
    return serve.app(arguments)._bound_deployment


def test_as_many_replicas_as_the_requests_need_are_the_default() -> None:
    made = deployment()
    scaling = made._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 10)
    assert made.max_queued_requests == 50


def test_texts_of_the_command_line_are_options() -> None:
    made = deployment(num_replicas="3", num_cpus="1.5")
    assert made.num_replicas == 3
    assert made.ray_actor_options["num_cpus"] == 1.5
    assert (made.max_ongoing_requests, made.max_queued_requests) == (5, 15)


def test_replicas_may_start_with_the_first_request() -> None:
    assert deployment(min_replicas="0")._deployment_config.autoscaling_config.min_replicas == 0


@pytest.mark.parametrize("wrong", [{"replicas": "1"}, {"num_cpus": "0"}, {"num_replicas": "many"}])
def test_a_wrong_option_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        deployment(**wrong)


def test_without_ray_the_extra_is_named() -> None:
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class WithoutRay(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name == 'ray' else super().find_spec(name, path, target)\n"
        "sys.meta_path = [WithoutRay if f is PathFinder else f for f in sys.meta_path]\n"
        "import yolo_service.cluster.serve\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Ray is not installed; pip install 'yolo-service[ray]'" in done.stderr.splitlines()[-1]
