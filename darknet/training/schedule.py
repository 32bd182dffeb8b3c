"""The learning rate of each batch by the .cfg's policy; source: get_current_rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from darknet.cfg.net import Net
from darknet.errors import DataError


def learning_rate(net: Net, batch: int) -> float:
    """Return the learning rate of a batch.

    Args:
        net: policy ``constant``, ``steps``, ``exp``, ``poly`` or ``sgdr`` (half a cosine over
            all batches), with its settings.
        batch: index of the batch.

    Raises:
        DataError: the policy is not supported.
    """
    if net.policy not in POLICIES:
        raise DataError(
            f"policy={net.policy} is not supported; use one of {', '.join(sorted(POLICIES))}"
        )
    if batch < net.burn_in:
        return net.learning_rate * math.pow((batch + 1) / net.burn_in, net.power)
    return net.learning_rate * POLICIES[net.policy](net, batch)


def _steps(net: Net, batch: int) -> float:
    passed = sum(step <= batch for step in net.steps)
    return float(math.prod(net.scales[:passed]))


def _progress(net: Net, batch: int) -> float:
    return min(1.0, batch / max(1, net.max_batches))


POLICIES: Mapping[str, Callable[[Net, int], float]] = {
    "constant": lambda _net, _batch: 1.0,
    "exp": lambda net, batch: float(net.gamma**batch),
    "poly": lambda net, batch: float((1 - _progress(net, batch)) ** net.power),
    "sgdr": lambda net, batch: 0.5 * (1 + math.cos(math.pi * _progress(net, batch))),
    "steps": _steps,
}
"""(net, index of the batch) -> factor of the learning rate."""
