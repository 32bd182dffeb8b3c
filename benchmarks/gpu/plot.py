"""Images per second against the batch size, with the limits of the card and of decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.gpu.report import card_limits
from benchmarks.gpu.results import Results
from benchmarks.gpu.work import VALUE_BYTES, limit_seconds

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures give the same file

from matplotlib import pyplot as plt  # noqa: E402 - the backend has to be chosen first


def plot(path: Path, results: Results) -> None:
    """Write a panel for each model that was measured."""
    rows = [row for row in results.rows("engines", "torch") if row.figures]
    models = list(dict.fromkeys(row.subject for row in rows))
    ways = list(dict.fromkeys((row.way, row.precision) for row in rows))
    colors = plt.colormaps["tab20"]
    figure, panels = plt.subplots(
        1, len(models), figsize=(4 + 4 * len(models), 5), layout="constrained", squeeze=False
    )
    for axes, model in zip(panels[0], models, strict=True):
        for number, way in enumerate(ways):
            mine = [row for row in rows if (row.subject, row.way, row.precision) == (model, *way)]
            rates = [row.figures["rate"] for row in mine]
            label = f"{way[0]}, {way[1]}"
            axes.plot(
                [row.count for row in mine], rates, "o-", color=colors(number % 20), label=label
            )
        counts = sorted({row.count for row in rows if row.subject == model})
        _limits(axes, results, model, counts)
        axes.set(title=model, xlabel="images in a batch", xscale="log", yscale="log")
        axes.set_xticks(counts, labels=map(str, counts))
    panels[0, 0].set_ylabel("images per second")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _limits(axes: Any, results: Results, model: str, counts: list[int]) -> None:
    for style, precision in zip(("--", ":"), VALUE_BYTES, strict=True):
        times = [
            limit_seconds(results.models[model], count, precision, card_limits(results))
            for count in counts
        ]
        rates = [count / time for count, time in zip(counts, times, strict=True) if time]
        if rates:
            axes.plot(counts, rates, f"k{style}", label=f"limit of the card, {precision}")
    decoded = [row for row in results.rows("decode") if row.way == "simplejpeg, fast"]
    for style, row in zip(("-", "-."), (row for row in decoded if row.count == 1), strict=False):
        label = f"a core decodes {row.subject}"
        axes.axhline(row.figures["rate"], color="grey", linestyle=style, label=label)
