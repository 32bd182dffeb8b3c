"""The simulation of replicas against queueing theory, and against the queue of the service."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.balancers import BALANCERS, BalancerName
from benchmarks.replicas import TIMES, plan
from benchmarks.service_times import ServiceTimes, read_times
from benchmarks.simulation import (
    BURST_FACTOR,
    BURST_PART,
    Outcome,
    Seconds,
    Service,
    bursts,
    poisson,
    simulate,
)

MEAN = 0.01
"""Seconds of a request on an idle replica."""
COUNT = 60_000

EXPONENTIAL = tuple(-np.log1p(-(np.arange(2000) + 0.5) / 2000))
CONSTANT = (1.0,)


def unlimited(
    group_ms: list[list[float]], spread: Sequence[float] = CONSTANT, cpus: int = 1
) -> Service:
    """A replica that refuses nothing and takes one image at a time."""
    times = ServiceTimes("theory", cpus, group_ms, list(spread))
    return Service(times, queue_size=10**9, queue_seconds=math.inf, batch_size=1)


def arrivals_for(utilisation: float, servers: int = 1, seed: int = 1) -> Seconds:
    rate = utilisation * servers / MEAN
    return poisson(rate, COUNT / rate, seed)


def expected(outcome: Outcome, seconds: float) -> None:
    """Compare a mean time with theory, by the means of 30 parts of the run (a t-test at 99.9 %)."""
    means = np.array([part.mean() for part in np.array_split(outcome.seconds, 30)])
    error = means.std(ddof=1) / math.sqrt(len(means))
    assert abs(means.mean() - seconds) < 3.66 * error, (means.mean(), seconds, error)
    assert error < 0.1 * seconds  # else anything would be expected


@pytest.mark.parametrize("utilisation", [0.3, 0.7, 0.85])
def test_random_service_times_wait_as_in_m_m_1(utilisation: float) -> None:
    outcome = simulate(arrivals_for(utilisation), unlimited([[1000 * MEAN]], EXPONENTIAL), 1)
    expected(outcome, MEAN / (1 - utilisation))


@pytest.mark.parametrize("utilisation", [0.3, 0.7, 0.85])
def test_constant_service_times_wait_as_in_m_d_1(utilisation: float) -> None:
    outcome = simulate(arrivals_for(utilisation), unlimited([[1000 * MEAN]]), 1)
    expected(outcome, MEAN + utilisation * MEAN / (2 * (1 - utilisation)))


@pytest.mark.parametrize("servers", [2, 5])
def test_workers_with_cores_of_their_own_wait_as_in_m_m_c(servers: int) -> None:
    utilisation = 0.8
    service = unlimited([[1000 * MEAN]] * servers, EXPONENTIAL, servers)
    outcome = simulate(arrivals_for(utilisation, servers), service, 1)
    load = utilisation * servers
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) / (1 - utilisation)
    waits = last / (sum(terms) + last)  # Erlang's C
    expected(outcome, MEAN + waits * MEAN / (servers * (1 - utilisation)))


def test_workers_that_share_a_core_take_as_long_as_with_processor_sharing() -> None:
    """The mean time does then not depend on the spread of service times."""
    utilisation, workers = 0.6, 60
    sharing = [[1000 * MEAN * busy] for busy in range(1, workers + 1)]
    for spread in (CONSTANT, EXPONENTIAL):
        outcome = simulate(arrivals_for(utilisation), unlimited(sharing, spread), 1)
        expected(outcome, MEAN / (1 - utilisation))


def test_a_full_queue_refuses_as_many_as_in_m_m_1_k() -> None:
    utilisation, queued = 0.9, 4
    service = replace(unlimited([[1000 * MEAN]], EXPONENTIAL), queue_size=queued)
    outcome = simulate(arrivals_for(utilisation), service, 1)
    places = queued + 1  # one is computed
    blocked = (1 - utilisation) * utilisation**places / (1 - utilisation ** (places + 1))
    assert outcome.lost == pytest.approx(blocked, abs=0.01)
    assert blocked > 0.1


def test_a_wait_that_is_too_long_is_refused() -> None:
    service = replace(unlimited([[1000 * MEAN]]), queue_seconds=3.5 * MEAN)
    outcome = simulate(arrivals_for(1.5), service, 1)
    later = outcome.seconds[100:]  # the first ones come before the time of an image is known
    assert 0.3 < outcome.lost < 0.37  # a third cannot be answered
    assert later[np.isfinite(later)].max() < 6 * MEAN


def test_random_choice_makes_a_small_service_of_each_replica() -> None:
    utilisation, replicas = 0.7, 6
    service = unlimited([[1000 * MEAN]], EXPONENTIAL)
    outcome = simulate(arrivals_for(utilisation, replicas), service, replicas, "random")
    expected(outcome, MEAN / (1 - utilisation))


def test_balancers_that_know_more_wait_less() -> None:
    service = unlimited([[1000 * MEAN]], EXPONENTIAL)
    names: list[BalancerName] = ["random", "round robin", "least outstanding"]
    arrivals = arrivals_for(0.8, 6)
    times = [simulate(arrivals, service, 6, name).seconds.mean() for name in names]
    assert times[0] > 1.2 * times[1] > 1.4 * times[2]


def test_a_worker_takes_its_share_of_the_images_that_wait() -> None:
    """Worked out by hand: two workers that compute an image in 1 s, a group of two in 1.5 s."""
    times = ServiceTimes("hand", 2, [[1000.0, 1500.0, 2000.0]] * 2, [1.0])
    service = Service(times, batch_size=3)
    arrivals = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    outcome = simulate(arrivals, service, 1)
    # Both workers take one; the one that is done at 1.0 takes all three that wait, until 3.0.
    assert sorted(outcome.groups) == [1, 1, 3]
    assert outcome.seconds + arrivals == pytest.approx([1.0, 1.1, 3.0, 3.0, 3.0])


def test_a_group_slows_down_when_another_worker_begins() -> None:
    """Worked out by hand: alone 1 s, two at once 3 s each."""
    service = unlimited([[1000.0], [3000.0]])
    outcome = simulate(np.array([0.0, 0.5]), service, 1)
    # Half of the first is done alone; the rest takes 1.5 s. Of the second 0.5 are left then.
    assert outcome.seconds == pytest.approx([2.0, 2.0])


def test_http_takes_its_time_from_the_cores() -> None:
    times = ServiceTimes("loop", 2, [[10.0, 20.0]] * 3, [1.0], request_ms=1, http_ms=1.5)
    assert Service(times).group_seconds() == [
        pytest.approx([0.011, 0.022]),
        pytest.approx([0.011, 0.022]),
        pytest.approx([0.0115, 0.023]),
    ]
    outcome = simulate(np.array([0.0]), Service(times), 1)
    assert outcome.seconds == pytest.approx([0.0115])  # request_ms is a part of http_ms


def test_the_first_group_after_a_pause_takes_longer() -> None:
    times = ServiceTimes("pause", 2, [[1000.0]] * 2, [1.0], after_pause=1.5)
    outcome = simulate(np.array([0.0, 0.5, 5.0]), Service(times), 1)
    assert outcome.seconds == pytest.approx([1.5, 1.0, 1.5])


def measured() -> Service:
    return Service(read_times(min(TIMES.glob("*.json"))))


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("load", [0.5, 2.0])
def test_every_request_is_answered_once_or_refused(balancer: BalancerName, load: float) -> None:
    service = measured()
    arrivals = poisson(load * 3 * service.capacity(), 20)
    outcome = simulate(arrivals, service, 3, balancer)
    answered = np.isfinite(outcome.seconds)
    assert sum(outcome.groups) == answered.sum()
    assert (outcome.seconds[answered] > 0).all()
    assert np.bincount(outcome.replicas, minlength=3).sum() == len(arrivals)
    assert (outcome.lost > 0.3) == (load > 1)


def test_the_same_seed_gives_the_same_outcome() -> None:
    service, arrivals = measured(), bursts(200, 20, seed=5)
    assert (arrivals == bursts(200, 20, seed=5)).all()
    outcomes = [simulate(arrivals, service, 2, "random", seed) for seed in (1, 1, 2)]
    assert (outcomes[0].seconds == outcomes[1].seconds).all()
    assert (outcomes[0].seconds != outcomes[2].seconds).any()


def test_bursts_have_the_average_rate_and_vary_more_than_poisson() -> None:
    rate, seconds = 50, 4000
    arrivals = bursts(rate, seconds)
    assert len(arrivals) == pytest.approx(rate * seconds, rel=0.1)
    assert (np.diff(arrivals) >= 0).all()
    counts = np.bincount(arrivals.astype(int), minlength=seconds)
    busiest = np.sort(counts)[-int(seconds * BURST_PART / 2) :].mean()
    assert busiest == pytest.approx(BURST_FACTOR * rate, rel=0.2)
    assert counts.var() > 5 * counts.mean()
    steady = np.bincount(poisson(rate, seconds).astype(int), minlength=seconds)
    assert steady.var() == pytest.approx(steady.mean(), rel=0.1)


def test_a_plan_is_the_smallest_number_that_holds() -> None:
    service = unlimited([[1000 * MEAN]])
    found = plan(service, 500, 30)
    assert found.replicas
    assert found.outcome.percentile(95) <= 0.03
    arrivals = poisson(500, 60)
    fewer = simulate(arrivals, service, found.replicas - 1)
    assert fewer.percentile(95) > 0.03
    assert found.utilisation == pytest.approx(500 * MEAN / found.replicas, rel=0.02)


def test_no_number_of_replicas_makes_one_faster() -> None:
    assert plan(unlimited([[1000 * MEAN]]), 10, 9).replicas is None


def test_more_requests_need_more_replicas_but_each_does_more() -> None:
    plans = [plan(measured(), rate, 100) for rate in (100, 300, 1000)]
    for few, many in itertools.pairwise(plans):
        assert few.replicas
        assert many.replicas
        assert few.replicas < many.replicas
        assert many.utilisation > 0.98 * few.utilisation
