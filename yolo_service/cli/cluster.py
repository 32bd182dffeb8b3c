"""Options of ``yolo-service detect`` for clusters, and the run that they open."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolo_service.errors import ConfigurationError
from yolo_service.schemes import scheme_of

if TYPE_CHECKING:
    from yolo_service.cluster.ray_cluster import Pool
    from yolo_service.cluster.run import ClusterRun
    from yolo_service.outputs import Output
    from yolo_service.predictor import Options
    from yolo_service.settings import Settings


def _concurrency(text: str) -> tuple[int, int]:
    """Read ``4`` or ``1:8``."""
    found = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text, re.ASCII)
    least = int(found[1]) if found else 0
    most = int(found[2] or least) if found else 0
    if not 0 < least <= most:
        raise click.BadParameter(f"{text}; expected a number such as 4, or a range such as 1:8")
    return least, most


CLUSTER_OPTIONS: Sequence[Any] = (
    click.option(
        "--cluster",
        metavar="auto|local|ray://HOST:10001",
        help="Detect on a Ray cluster; see docs/ray.md.",
    ),
    click.option(
        "--concurrency",
        type=_concurrency,
        metavar="N|MIN:MAX",
        help="Number of actors; default: as many as fit.",
    ),
    click.option("--num-cpus", type=click.FloatRange(0.1), help="CPUs of each actor."),
    click.option("--num-gpus", type=click.FloatRange(0), default=0.0, help="GPUs of each actor."),
)
"""In the order of the help."""

NAMES = ("cluster", "concurrency", "num_cpus", "num_gpus")
"""Of the arguments that they give."""

_OF_ONE_MACHINE = ("watch", "rotate", "stop_file", "metrics_port", "every", "fps", "frames", "size",
                   "save_frames", "report")  # fmt: skip


_NOT_GIVEN = (None, False, "0")


def check(values: dict[str, Any], sources: Sequence[str]) -> None:
    """Check that options fit a cluster, or are not given without one.

    Raises:
        ConfigurationError: they do not.
    """
    if values["cluster"] is None:
        given = [name for name in NAMES if name != "cluster" and values[name]]
        if given:
            raise ConfigurationError(f"{_option(given[0])} is for --cluster; expected both")
        return
    if not re.fullmatch(r"auto|local|ray://.+", values["cluster"]):
        raise ConfigurationError("--cluster: expected auto, local or ray://HOST:10001")
    if given := [name for name in _OF_ONE_MACHINE if values[name] not in _NOT_GIVEN]:
        raise ConfigurationError(
            f"{_option(given[0])} is not for --cluster, which takes images that are stored"
        )
    if other := [each for each in sources if scheme_of(each) in ("redis", "rediss")]:
        raise ConfigurationError(f"{other[0]}: --cluster takes what is stored, not messages")


class Placed(NamedTuple):
    """What a run on a cluster has besides its input and output.

    Attributes:
        stack: ends the connection to the cluster.
        settings: of the actors.
        options: of the detection.
    """

    stack: ExitStack
    settings: Settings
    options: Options


def open_run(
    placed: Placed, values: dict[str, Any], output: Callable[[], Output], **run: Any
) -> ClusterRun:
    """Connect to the cluster, and prepare the run.

    Args:
        placed: see there.
        values: the options of the command line.
        output: opens the output.
        run: arguments of ``ClusterRun``: ``source``, ``resume``, ``limit`` and ``ended``.

    Raises:
        ConfigurationError: Ray is missing, the cluster does not answer, or actors do not fit.
        ModelUnavailable: a file of the model is missing.
    """
    from yolo_service.cluster.ray import require_ray

    require_ray()
    from yolo_service.cluster.dataset import Job
    from yolo_service.cluster.ray_cluster import connected
    from yolo_service.cluster.run import ClusterRun, Resources
    from yolo_service.models.bundle import ModelBundle
    from yolo_service.models.opening import default_files

    stack, settings, options = placed
    if values["num_gpus"] and settings.device is None:
        settings = settings.model_copy(update={"device": "cuda"})
    bundle = ModelBundle.of(default_files(settings))
    settings = settings.model_copy(update={"api_key": None, "ml_api_token": None})
    job = Job(settings, options, bundle, environment=_s3_variables(os.environ))
    ray = stack.enter_context(connected(values["cluster"]))
    resources = Resources(ray, *_resources(ray, values))
    return ClusterRun(resources=resources, job=job, output=output(), **run)


def _resources(ray: Any, values: dict[str, Any]) -> tuple[Any, Pool]:
    from yolo_service.cluster.ray_cluster import (
        Actor,
        Pool,
        check_places,
        default_cpus,
        nodes,
        places,
    )

    found, gpus = nodes(ray), values["num_gpus"]
    actor = Actor(values["num_cpus"] or default_cpus(found, gpus), gpus)
    least, most = values["concurrency"] or (max(1, places(found, actor)),) * 2
    check_places(found, actor, least)
    return actor, Pool(least, most)


def _s3_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that programs of AWS read."""
    return {name: value for name, value in environment.items() if name.startswith("AWS_")}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
