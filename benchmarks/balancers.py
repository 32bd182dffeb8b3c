"""How a load balancer chooses one of equal replicas."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np


class Balancer(Protocol):
    """Chooses a replica for every request."""

    def choose(self) -> int:
        """Return the replica of the next request."""

    def done(self, replica: int) -> None:
        """Count a request as answered."""


class RandomChoice:
    """Every replica alike, as a Service of Kubernetes chooses for every connection."""

    def __init__(self, replicas: int, random: np.random.Generator) -> None:
        self._random, self._replicas = random, replicas

    def choose(self) -> int:
        """See ``Balancer``."""
        return int(self._random.integers(self._replicas))

    def done(self, replica: int) -> None:
        """See ``Balancer``."""


class RoundRobin:
    """One after the other."""

    def __init__(self, replicas: int, _: np.random.Generator) -> None:
        self._order = itertools.cycle(range(replicas))

    def choose(self) -> int:
        """See ``Balancer``."""
        return next(self._order)

    def done(self, replica: int) -> None:
        """See ``Balancer``."""


class LeastOutstanding:
    """The replica with the fewest unanswered requests; equal ones take turns."""

    def __init__(self, replicas: int, _: np.random.Generator) -> None:
        self._counts = [0] * replicas
        self._levels: list[dict[int, None]] = [dict.fromkeys(range(replicas))]

    def choose(self) -> int:
        """See ``Balancer``."""
        replica = next(iter(next(level for level in self._levels if level)))
        self._move(replica, 1)
        return replica

    def done(self, replica: int) -> None:
        """See ``Balancer``."""
        self._move(replica, -1)

    def _move(self, replica: int, step: int) -> None:
        del self._levels[self._counts[replica]][replica]
        self._counts[replica] += step
        if self._counts[replica] == len(self._levels):
            self._levels.append({})
        self._levels[self._counts[replica]][replica] = None


BalancerName = Literal["random", "round robin", "least outstanding"]
BALANCERS: dict[BalancerName, Callable[[int, np.random.Generator], Balancer]] = {
    "random": RandomChoice,
    "round robin": RoundRobin,
    "least outstanding": LeastOutstanding,
}
