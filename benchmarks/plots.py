"""Throughput against concurrency, and latency percentiles, as pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from benchmarks.serving import Load

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures give the same file

from matplotlib import pyplot as plt  # noqa: E402 - the backend has to be chosen first


def plot(folder: Path, loads: dict[str, dict[int, Load]]) -> None:
    """Write ``performance.svg``: one curve for each service."""
    figure, (rates, times) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    counts = list(next(iter(loads.values())))
    for name, row in loads.items():
        (line,) = rates.plot(list(row), [load.rate for load in row.values()], "o-", label=name)
        times.plot(list(row), [load.p50 for load in row.values()], "o-", color=line.get_color())
        times.plot(list(row), [load.p99 for load in row.values()], "^:", color=line.get_color())
    rates.set(xlabel="connections", ylabel="requests per second", xscale="log", ylim=(0, None))
    times.set(xlabel="connections", ylabel="ms: p50 (line), p99 (dots)", xscale="log", yscale="log")
    for axes in (rates, times):
        axes.set_xticks(counts, labels=map(str, counts))
        axes.minorticks_off()
    figure.legend(*rates.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "performance.svg", metadata={"Date": None})
