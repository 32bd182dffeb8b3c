"""What more work costs: more workers, larger images, more objects, more classes.

Usage: python -m benchmarks.scale [PART ...] [--models-dir DIR] [--model NAME] [--seconds S]
       [--rounds N] [--no-http] [--plot DIR]

Parts are workers, images, objects and classes; all of them unless some are named. ``make bench``
prints the same tables.

Each row has more of something than the row above. ``slope`` tells how the time of the stages that
depend on it grew: it is the exponent, so 0 is no growth, 1 is proportional, and a cliff would be
well above 1. Stages are milliseconds of processor time of all threads, with which neighbours on the
machine interfere least; rows take turns, and figures are medians. ``req/s`` and ``p50 ms`` are what
8 clients see of the service, ``cost`` is its processor time for each answer in milliseconds, and
``MB`` the most memory that it took above its rest, divided by its workers: what an image needs
while it is computed, with the uploads that wait.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.scale_models import smears, spots, write_counter, write_random
from benchmarks.scale_rows import (
    CLIENTS,
    MAX_PIXELS,
    STAGES,
    Effort,
    Row,
    measure_service,
    measure_stages,
    progress,
    served,
)
from yolo_service import benchmark, process
from yolo_service.images.decode import DecodeOptions, decode_image
from yolo_service.models.folder import ModelFiles, read_options
from yolo_service.models.repository import default_files, load_files
from yolo_service.settings import Settings, load_settings

WORKERS = (1, 2, 4)
IMAGES = ((640, 480), (1920, 1080), (4000, 3000), (8000, 6000))
OBJECTS = (1, 10, 50, 100, 200, 500, 1000, 2000)
CLASSES = (1, 20, 80, 601, 9418)
PARTS = ("workers", "images", "objects", "classes")
DARKNET = Path("/usr/share/darknet")
"""Where Debian's package ``darknet`` puts YOLO9000's .cfg and class tree."""

GROWING = {
    "images": ("decode", "resize"),
    "objects": ("boxes", "json"),
    "classes": ("infer", "boxes", "json"),
}
"""The stages that depend on the work of a table."""


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description="Measure what more work costs.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--model")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-http", dest="http", action="store_false")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; choose from {', '.join(PARTS)}")
    settings = load_settings(models_dir=options.models_dir, model=options.model)
    process.tune()
    effort = Effort(options.seconds, options.rounds, options.http)
    report(settings, effort, options.parts or PARTS, options.plot)


def report(
    settings: Settings, effort: Effort, parts: Sequence[str] = PARTS, plot: Path | None = None
) -> None:
    """Measure and print, and draw a plot into a folder.

    Args:
        settings: engine and precision, and the model of the parts ``workers`` and ``images``.
        effort: how much to measure.
        parts: which tables, of ``PARTS``.
        plot: None: none is drawn.
    """
    measured: dict[str, list[Row]] = {}
    for part in parts:
        if part == "workers":
            print("", *_workers(settings, effort), sep="\n", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows = measured[part] = ROWS[part](settings, Path(folder))
            _measure(rows, settings, effort)
        print("", *_table(part, rows), sep="\n", flush=True)
    if plot and measured:
        from benchmarks.plots import plot_scale

        plot_scale(plot, measured)


def _workers(settings: Settings, effort: Effort) -> Iterator[str]:
    files, data = default_files(settings), smears(*IMAGES[0])
    heads = "".join(f"{head:>10}" for head in ("images/s", "req/s", "p50 ms", "p99 ms", "alone ms"))
    yield f"{'workers':<18}{heads}"
    for count in progress(WORKERS, "workers"):
        chosen = settings.model_copy(update={"workers": count})
        line = f"{count:<18}{_throughput(files, data, chosen, effort):>10.0f}"
        if effort.http:
            with served(files, chosen, data) as server:
                many, one = (server.load(clients, 2 * effort.seconds) for clients in (CLIENTS, 1))
            figures = (many.rate, many.p50, many.p99, one.p50)
            line += "".join(f"{figure:>10.1f}" for figure in figures)
        yield line


def _throughput(files: ModelFiles, data: bytes, settings: Settings, effort: Effort) -> float:
    """Return images per second of as many threads as there are workers, without HTTP."""
    threads = settings.workers
    with load_files(files, settings, threads) as network:

        def call() -> object:
            image = decode_image(data, DecodeOptions.for_network(network), max_pixels=MAX_PIXELS)
            return network.detect([image.pixels])

        rounds = range(effort.rounds)
        return median(benchmark.throughput(call, effort.seconds, threads) for _ in rounds)


def _images(settings: Settings, _: Path) -> list[Row]:
    files = default_files(settings)
    return [
        Row(f"{width} x {height}", width * height / 1e6, files, smears(width, height))
        for width, height in IMAGES
    ]


def _objects(_: Settings, folder: Path) -> list[Row]:
    files = write_counter(folder / "objects", classes=80, cell=8)
    return [Row(f"{count} objects", count, files, spots(count, cell=8)) for count in OBJECTS]


def _classes(settings: Settings, folder: Path) -> list[Row]:
    data = spots(100, cell=32)
    rows = [
        Row(f"{count} classes", count, write_counter(folder / f"{count}", count, cell=32), data)
        for count in CLASSES
    ]
    tree, cfg = DARKNET / "data" / "9k.tree", DARKNET / "cfg" / "yolo9000.cfg"
    if tree.exists() and cfg.exists():
        count = CLASSES[-1]
        files = write_counter(folder / "tree", count, cell=32, tree=tree)
        rows.append(Row(f"{count} in a tree", count, files, data))
        options = read_options(settings.models_dir / "yolo9000")
        files = write_random(folder / "yolo9000", cfg, options)
        rows.append(Row("YOLO9000", count, files, smears(*IMAGES[0])))
    return rows


ROWS: dict[str, Callable[[Settings, Path], list[Row]]] = {
    "images": _images,
    "objects": _objects,
    "classes": _classes,
}
"""What makes the rows of a table; the models are written into a folder."""


def _measure(rows: list[Row], settings: Settings, effort: Effort) -> None:
    # On a thread, as on the service's workers: glibc gives threads their memory in another way.
    with ThreadPoolExecutor(1) as worker:
        worker.submit(measure_stages, rows, settings, effort).result()
    if effort.http:
        for _, group in itertools.groupby(rows, lambda row: row.files.name):
            measure_service(list(group), settings, effort)


def _table(part: str, rows: list[Row]) -> Iterator[str]:
    heads = "".join(f"{stage:>8}" for stage in (*STAGES, "all ms", "slope"))
    yield f"{part:<18}{heads} {'req/s':>7} {'p50 ms':>7} {'cost':>6} {'MB':>4}"
    before: Row | None = None
    for row in rows:
        times = "".join(f"{row.ms([stage]):>8.2f}" for stage in STAGES)
        line = f"{row.label:<18}{times}{row.ms():>8.1f}{_slope(part, before, row):>8}"
        if row.load:
            line += (
                f" {row.load.rate:>7.1f} {row.load.p50:>7.1f} {row.cost:>6.1f} {row.memory:>4.0f}"
            )
            line += f" ({row.load.failed} failed)" if row.load.failed else ""
        yield line
        before = row


def _slope(part: str, before: Row | None, row: Row) -> str:
    """Return the exponent by which time grew with work; nothing where work did not grow."""
    if before is None or before.work == row.work:
        return "-"
    grown = row.ms(GROWING[part]) / before.ms(GROWING[part])
    return f"{math.log(grown) / math.log(row.work / before.work):.2f}"


if __name__ == "__main__":
    main()
