"""How many replicas hold a p95, by simulation with service times that were measured.

Usage: python -m benchmarks.replicas --rate R --p95 MS [--times FILE ...] [--balancer NAME]
       [--bursts]
       python -m benchmarks.replicas [--plot DIR]

With --rate it prints the smallest number of replicas for that rate, without it the tables and the
plot of docs/scaling.md. FILE is what ``benchmarks.service_times`` has saved; by default those of
``benchmarks/times``, which are of the machine of docs/performance.md. A number of replicas holds a
p95 if 95 % of all requests are answered within it, and at most ``MAX_LOST`` of them with 503.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.balancers import BALANCERS, BalancerName
from benchmarks.scale_rows import progress
from benchmarks.service_times import read_times
from benchmarks.simulation import (
    Outcome,
    Seconds,
    Service,
    bursts,
    poisson,
    simulate,
)

RATES = (10, 30, 100, 300, 1000, 3000, 10_000)
TARGETS_MS = (100, 250)
MAX_LOST = 0.001
REQUESTS, MIN_SECONDS = 20_000, 20.0
"""Of each simulation."""
MIN_BURSTY_SECONDS, MAX_BURSTY_RATE = 100.0, 1000
"""There are few bursts, so these simulations are longer, and larger ones would take too long."""
TIMES = Path(__file__).resolve().parent / "times"
MEASURED = (
    "yolo-fastest-1.1-xl-2.json",
    "yolo-fastest-1.1-xl-1.json",
    "blood-cells-2.json",
    "yolov3-tiny-2.json",
)
"""In the order of the tables; signals and balancers are those of the first."""


@dataclass(frozen=True)
class Plan:
    """The smallest number of replicas that holds a p95.

    Attributes:
        service: every replica.
        rate: requests per second in all.
        target_ms: the p95 that is held.
        replicas: how many; None: no number does, because even an idle replica takes longer.
        capacity: images per second of one replica that is asked for more.
        outcome: of the simulation with these replicas.
    """

    service: Service
    rate: float
    target_ms: float
    replicas: int | None
    capacity: float
    outcome: Outcome

    @property
    def name(self) -> str:
        """Model and cores of a replica."""
        times = self.service.times
        return f"{times.model} on {times.cpus} core{'s' if times.cpus > 1 else ''}"

    @property
    def rate_each(self) -> float:
        """Requests per second and replica."""
        return self.rate / (self.replicas or math.inf)

    @property
    def utilisation(self) -> float:
        """What a replica answers, as a part of its capacity."""
        return self.rate_each / self.capacity

    @property
    def cores(self) -> int:
        """Cores of all replicas."""
        return (self.replicas or 0) * self.service.times.cpus


Arrivals = Callable[[float], Seconds]


def steady(rate: float) -> Seconds:
    """Return Poisson arrivals for one simulation."""
    return poisson(rate, max(MIN_SECONDS, REQUESTS / rate))


def bursty(rate: float) -> Seconds:
    """Return arrivals in bursts for one simulation."""
    return bursts(rate, max(MIN_BURSTY_SECONDS, REQUESTS / rate))


def plan(
    service: Service,
    rate: float,
    target_ms: float,
    balancer: BalancerName = "least outstanding",
    arrivals: Arrivals = steady,
) -> Plan:
    """Return the smallest number of replicas that holds a p95.

    Args:
        service: every replica.
        rate: requests per second on average.
        target_ms: the p95 to hold, in milliseconds.
        balancer: how requests are spread.
        arrivals: makes the times of requests from their rate.
    """
    times, capacity = arrivals(rate), service.capacity()

    def held(replicas: int) -> Outcome | None:
        outcome = simulate(times, service, replicas, balancer)
        is_held = outcome.lost <= MAX_LOST and outcome.percentile(95) <= target_ms / 1000
        return outcome if is_held else None

    if (idle := simulate(times[:1], service, 1)).percentile(95) > target_ms / 1000:
        return Plan(service, rate, target_ms, None, capacity, idle)
    # Fewer than these fall behind, slowly at first, which a short run would not show.
    too_few = math.ceil(rate / capacity) - 1
    enough, outcome = too_few + 1, held(too_few + 1)
    while outcome is None:
        too_few, enough = enough, math.ceil(1.2 * enough) + 1
        outcome = held(enough)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if better := held(middle):
            enough, outcome = middle, better
        else:
            too_few = middle
    return Plan(service, rate, target_ms, enough, capacity, outcome)


def table(plans: Sequence[Plan]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield (
        "| model | cores of a replica | requests/s | p95 within | replicas | requests/s of each "
        "| of its capacity | p50 | p95 | 503 |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for one in plans:
        times, outcome = one.service.times, one.outcome
        start = f"| {times.model} | {times.cpus} | {one.rate:,.0f} | {one.target_ms:.0f} ms |"
        if one.replicas is None:
            yield f"{start} none | | | | | |"
            continue
        p50, p95 = (1000 * outcome.percentile(percent) for percent in (50, 95))
        yield (
            f"{start} {one.replicas} | {one.rate_each:.1f} | {100 * one.utilisation:.0f} % "
            f"| {p50:.0f} ms | {p95:.0f} ms | {100 * outcome.lost:.2f} % |"
        )


Needs = dict[tuple[str, BalancerName], list[Plan]]
"""Plans for several rates, by the name of the arrivals and the balancer."""


def compare(service: Service, target_ms: float) -> Needs:
    """Return what each balancer needs, for steady arrivals and for bursts."""
    kinds = {
        "Poisson": (steady, RATES),
        "bursts": (bursty, [r for r in RATES if r <= MAX_BURSTY_RATE]),
    }
    cases = [(name, balancer) for name in kinds for balancer in BALANCERS]
    needs: Needs = {}
    for name, balancer in progress(cases, "balancers"):
        make, rates = kinds[name]
        needs[name, balancer] = [plan(service, r, target_ms, balancer, make) for r in rates]
    return needs


def comparison(needs: Needs) -> Iterator[str]:
    """Yield the lines of a table in Markdown: replicas by balancer and rate."""
    yield "| arrivals | balancer |" + "".join(f" {rate:,}/s |" for rate in RATES)
    yield "|---|---|" + "---|" * len(RATES)
    for (arrivals, balancer), plans in needs.items():
        cells = [str(one.replicas) for one in plans] + [""] * (len(RATES) - len(plans))
        yield f"| {arrivals} | {balancer} | " + " | ".join(cells) + " |"


LOADS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.5, 2.0)
"""Parts of the capacity of all replicas."""


def signals(service: Service, counts: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: what an autoscaler could see at each load."""
    yield "| load |" + "".join(
        f" {count} x: CPUs | workers busy | mean wait | p95 | 503 |" for count in counts
    )
    yield "|---|" + "---|" * 5 * len(counts)
    capacity = service.capacity()
    for load in progress(LOADS, "signals"):
        cells = (_signal(service, load * capacity, count) for count in counts)
        yield f"| {100 * load:.0f} % | " + " | ".join(cells) + " |"


def _signal(service: Service, rate_each: float, replicas: int) -> str:
    outcome = simulate(steady(rate_each * replicas), service, replicas)
    waits = outcome.waits[np.isfinite(outcome.waits)]
    last, times = 1000 * outcome.percentile(95), service.times
    return (
        f"{100 * outcome.cores / replicas / times.cpus:.0f} % "
        f"| {100 * outcome.workers / replicas / len(times.group_ms):.0f} % "
        f"| {1000 * waits.mean():.1f} ms "
        f"| {f'{last:.0f} ms' if math.isfinite(last) else '-'} | {100 * outcome.lost:.1f} %"
    )


def main() -> None:
    """Print one answer, or all tables."""
    options = _options()
    services = [Service(read_times(path)) for path in options.times]
    if options.rate:
        arrivals = bursty if options.bursts else steady
        plans = [
            plan(service, options.rate, options.p95, options.balancer, arrivals)
            for service in progress(services, "replicas")
        ]
        print(*table(plans), sep="\n")
        return
    cases = [(s, target, rate) for s in services for target in TARGETS_MS for rate in RATES]
    plans = [plan(s, rate, target) for s, target, rate in progress(cases, "replicas")]
    print(*table(plans), sep="\n")
    needs = compare(services[0], TARGETS_MS[0])
    print("", *comparison(needs), "", *signals(services[0], (1, 10)), sep="\n")
    if options.plot:
        from benchmarks.plots import plot_replicas

        plot_replicas(options.plot, plans, needs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float)
    parser.add_argument("--p95", type=float, default=100.0)
    parser.add_argument(
        "--times", type=Path, nargs="+", default=[TIMES / name for name in MEASURED]
    )
    parser.add_argument("--balancer", choices=list(BALANCERS), default="least outstanding")
    parser.add_argument("--bursts", action="store_true")
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
