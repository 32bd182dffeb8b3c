"""Connecting to a Ray cluster, and what fits into it. Only this package imports Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any, NamedTuple

from darknet.limits import available_cpus
from yolo_service.cluster.ray import require_ray
from yolo_service.errors import ConfigurationError

log = logging.getLogger(__name__)

LOCAL = "local"
AUTO = "auto"
CLIENT_TRIES = 3
"""A cluster gives the server that it starts for a client five seconds, too few if it is busy."""
LOCAL_STORE_BYTES = 512 << 20
"""Shared memory of a cluster that is started here, for addresses and results."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Variables that Ray reads when it is imported; those that are set stay."""


class Actor(NamedTuple):
    """What one actor reserves."""

    cpus: float
    gpus: float

    def __str__(self) -> str:
        return f"{_count(self.cpus, 'CPU')} and {_count(self.gpus, 'GPU')}"


class Pool(NamedTuple):
    """How many actors there are, at least and at most."""

    least: int
    most: int


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine.

    Args:
        address: ``local`` starts one, ``auto`` uses the one that runs on this machine or that
            ``RAY_ADDRESS`` names, if there is one, ``ray://HOST:10001`` another one.

    Raises:
        ConfigurationError: Ray is not installed, or the cluster does not answer.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    require_ray()
    import ray.data

    for logger in ("ray.data", "ray"):  # which the import has set
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # errors come as exceptions
    try:
        try:
            _connect(ray, address)
            log.info("Ray %s: %s", ray.__version__, describe(nodes(ray)))
            _check_version(ray)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            reason = " ".join(str(error).split()) or repr(error)
            raise ConfigurationError(
                f"--cluster {address} cannot be used: {reason}; expected auto, local or "
                "ray://HOST:10001 of a running cluster"
            ) from error
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == AUTO:
        try:
            ray.init(address="auto", **quiet)
            return
        except ConnectionError:
            if os.environ.get("RAY_ADDRESS"):
                raise
    if address in (AUTO, LOCAL):
        ray.init(
            address="local",
            num_cpus=available_cpus(),
            object_store_memory=LOCAL_STORE_BYTES,
            include_dashboard=False,
            **quiet,
        )
    else:
        _connect_client(ray, address, **quiet)


def _connect_client(ray: Any, address: str, **quiet: Any) -> None:
    """Connect to another machine, again if its server for clients does not start at once."""
    for _ in range(CLIENT_TRIES - 1):
        with suppress(ConnectionError):
            ray.init(address=address, **quiet)
            return
    ray.init(address=address, **quiet)


def _check_version(ray: Any) -> None:
    """Check that the machines of the cluster have this version of yolo-service.

    Raises:
        ConfigurationError: they have another one, or none.
    """

    def find() -> str | None:  # a nested function is sent as it is, not by its module's name
        import importlib.metadata
        import importlib.util

        try:
            found = importlib.util.find_spec("yolo_service.cluster")
            return importlib.metadata.version("yolo-service") if found else None
        except (ModuleNotFoundError, importlib.metadata.PackageNotFoundError):
            return None

    here, found = version("yolo-service"), ray.get(ray.remote(find).options(num_cpus=0).remote())
    if found != here:
        raise ConfigurationError(
            f"the machines of the cluster have {found or 'no yolo-service'}, this one has {here}; "
            "install one version on all of them, with its extra ray"
        )


class Node(NamedTuple):
    """The CPUs and GPUs of a machine."""

    cpus: float
    gpus: float


def nodes(ray: Any) -> list[Node]:
    """Return the machines of the cluster that are alive."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in alive]


def describe(found: Sequence[Node]) -> str:
    """Return what a cluster has, in words."""
    machines = "1 machine" if len(found) == 1 else f"{len(found)} machines"
    cpus, gpus = sum(node.cpus for node in found), sum(node.gpus for node in found)
    return f"{machines} with {_count(cpus, 'CPU')} and {_count(gpus, 'GPU')}"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"


def default_cpus(found: Sequence[Node], gpus: float) -> float:
    """Return the CPUs of an actor: all of the smallest machine, or a GPU's share of them."""
    usable = [node for node in found if node.cpus and (not gpus or node.gpus >= gpus)]
    shares = [node.cpus * (gpus / node.gpus if gpus else 1) for node in usable]
    return max(1.0, float(int(min(shares, default=1.0))))


def places(found: Sequence[Node], actor: Actor) -> int:
    """Return how many actors fit."""
    return sum(_fitting(node, actor) for node in found)


def check_places(found: Sequence[Node], actor: Actor, least: int) -> None:
    """Check that so many actors fit; Ray Data would wait for the others without an error.

    Raises:
        ConfigurationError: they do not.
    """
    if (count := places(found, actor)) >= least:
        return
    advice = f"--concurrency {count}" if count else "smaller --num-cpus or --num-gpus"
    wanted = f"{least} actors with {actor}" if least > 1 else f"an actor with {actor}"
    raise ConfigurationError(f"no room for {wanted} in {describe(found)}; choose {advice}")


def _fitting(node: Node, actor: Actor) -> int:
    by_cpu = node.cpus / actor.cpus if actor.cpus else float("inf")
    by_gpu = node.gpus / actor.gpus if actor.gpus else float("inf")
    return int(min(by_cpu, by_gpu))
