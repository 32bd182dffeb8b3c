"""Throughput, latency, the cost of more work and the number of replicas, as images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path

import matplotlib as mpl

from benchmarks.replicas import Needs, Plan
from benchmarks.scale_rows import STAGES, Row
from benchmarks.serving import Load
from benchmarks.sizes import SizeRow

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures give the same file

from matplotlib import pyplot as plt  # noqa: E402 - the backend has to be chosen first


def plot(folder: Path, loads: dict[str, dict[int, Load]]) -> None:
    """Write ``performance.svg``: one curve for each service."""
    figure, (rates, times) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    counts = list(next(iter(loads.values())))
    for name, row in loads.items():
        (line,) = rates.plot(list(row), [load.rate for load in row.values()], "o-", label=name)
        answered = {count: load for count, load in row.items() if load.p50}
        color = line.get_color()
        times.plot(list(answered), [load.p50 for load in answered.values()], "o-", color=color)
        times.plot(list(answered), [load.p99 for load in answered.values()], "^:", color=color)
    rates.set(xlabel="connections", ylabel="requests per second", xscale="log", ylim=(0, None))
    times.set(xlabel="connections", ylabel="ms: p50 (line), p99 (dots)", xscale="log", yscale="log")
    for axes in (rates, times):
        axes.set_xticks(counts, labels=map(str, counts))
        axes.minorticks_off()
    figure.legend(*rates.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "performance.svg", metadata={"Date": None})


def plot_scale(folder: Path, tables: dict[str, list[Row]]) -> None:
    """Write ``scale.svg``: for each table the time of every stage against the work."""
    figure, panels = plt.subplots(
        1, len(tables), figsize=(11, 4), layout="constrained", squeeze=False, sharey=True
    )
    for axes, (part, rows) in zip(panels[0], tables.items(), strict=True):
        grown = [rows[0], *(row for before, row in pairwise(rows) if row.work > before.work)]
        work = [row.work for row in grown]
        for stage in STAGES:
            axes.plot(work, [row.ms([stage]) for row in grown], "o-", label=stage)
        axes.plot(work, [row.ms() for row in grown], "k:", label="all")
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel("megapixels" if part == "images" else part)
    panels[0, 0].set_ylabel("ms of processor time")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right upper")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "scale.svg", metadata={"Date": None})


def plot_sizes(folder: Path, rows: list[SizeRow]) -> None:
    """Write ``sizes.svg``: accuracy against images per second, one point for each input size."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    rates = [row.rate for row in rows]
    axes.plot(rates, [row.map50 for row in rows], "o-", label="mAP@0.5")
    axes.plot(rates, [row.map for row in rows], "o-", label="mAP@0.5:0.95")
    for row in rows:
        axes.annotate(
            str(row.side),
            (row.rate, row.map50),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
        )
    axes.set(xlabel="images per second", ylabel="percent", xscale="log", ylim=(0, None))
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "sizes.svg", metadata={"Date": None})


def plot_replicas(folder: Path, plans: Sequence[Plan], needs: Needs) -> None:
    """Write ``scaling.svg``: cores that hold a p95, and the part of their capacity that is used."""
    figure, (cores, parts) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for (name, target), group in groupby(plans, lambda plan: (plan.name, plan.target_ms)):
        row = [plan for plan in group if plan.replicas]
        label = f"{name}, {target:.0f} ms"
        cores.plot([p.rate for p in row], [p.cores for p in row], "o-", label=label, markersize=3)
    for (arrivals, balancer), chosen in needs.items():
        used = [100 * plan.utilisation for plan in chosen]
        style, label = "o-" if arrivals == "Poisson" else "^:", f"{balancer}, {arrivals}"
        parts.plot([plan.rate for plan in chosen], used, style, label=label)
    cores.set(xlabel="requests per second", ylabel="cores", xscale="log", yscale="log")
    parts.set(xlabel="requests per second", ylabel="% of capacity used", xscale="log")
    parts.set_ylim(0, 100)
    for axes in (cores, parts):
        axes.legend(fontsize="x-small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "scaling.svg", metadata={"Date": None})
