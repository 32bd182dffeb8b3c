"""The commands ``yolo-service train`` and ``yolo-service evaluate``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from darknet import Network
from darknet.cfg import read_cfg
from darknet.model import EngineName, Precision
from darknet.names import read_names
from yolo_service.cli.anchors import fit_anchors
from yolo_service.cli.options import engine_options, needs_train, path, settings_from
from yolo_service.models.folder import files_by_kind
from yolo_service.models.opening import default_files, load_files


@click.command()
@click.option("--model", type=path, required=True, help="Folder with one .cfg and its names.")
@click.option(
    "--data",
    type=path,
    multiple=True,
    required=True,
    help="Labelled images: COCO .json, YOLO or VOC folder; may be repeated.",
)
@click.option("--val", type=path, help="Labelled images to validate on; needed to train.")
@click.option("--output", type=path, help="Run folder; default: runs/NAME.")
@click.option("--weights", type=path, help="Start from these weights.")
@click.option("--cutoff", type=click.IntRange(1), help="Load only so many layers of --weights.")
@click.option("--resume", is_flag=True, help="Continue the run in --output.")
@click.option("--strict", is_flag=True, help="Refuse data with any problem.")
@click.option("--max-batches", type=click.IntRange(1), help="Instead of the .cfg's max_batches.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Number type to compute in.",
)
@click.option(
    "--ema",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Decay of the moving average of the weights; 0: none.",
)
@click.option("--flip-vertical", is_flag=True, help="Also flip images vertically.")
@click.option(
    "--validate-every",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Epochs between two validations.",
)
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True)
@click.option("--nodes", type=click.IntRange(1), default=1, help="Machines.")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes that load images.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--anchors", type=click.IntRange(1), help="Print so many anchors for --data and exit."
)
def train(model: Path, output: Path | None, anchors: int | None, **options: Any) -> None:
    """Train the network of a model folder on labelled images.

    The run folder gets best.weights, last.weights, results.csv with a plot, and validation images.
    best.weights are copied into a model folder without .weights, which can then be served.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("darknet").setLevel(logging.INFO)
    cfg, names = _untrained(model)
    if anchors is not None:
        _print_anchors(cfg, names, options["data"], anchors)
        return
    with needs_train():
        from darknet.training.train import TrainOptions
        from darknet.training.train import train as run
    output = output or Path("runs") / model.name
    result = run(TrainOptions(cfg=cfg, names=names, output=output, **options))
    if result.map50 >= 0:
        click.echo(f"best mAP@0.5 {100 * result.map50:.2f}: {result.best}")
    if not files_by_kind(model)["weights"]:
        target = cfg.with_suffix(".weights")
        shutil.copyfile(result.best, target)
        click.echo(f"copied to {target}")


@click.command()
@engine_options
@click.option(
    "--data", required=True, type=path, help="Labelled images: COCO .json, YOLO or VOC folder."
)
@click.option("--output", type=path, help="Folder for JSON, CSV and plots.")
@click.option("--strict", is_flag=True, help="Refuse data with any problem.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Compare all engines and precisions, without a report.",
)
def evaluate(
    data: Path, output: Path | None, strict: bool, everything: bool, **options: Any
) -> None:
    """Compute average precision on labelled images by COCO's rules."""
    with needs_train():
        from darknet.training import evaluate as evaluation
        from darknet.training.readers import read_dataset
    settings = settings_from(**options)
    files = default_files(settings)
    dataset = read_dataset(data, files.read_names(), strict=strict)
    click.echo(dataset.summary())

    def load(engine: EngineName, precision: Precision) -> Network:
        return load_files(files, settings, engine=engine, precision=precision)

    if everything:
        for line in evaluation.table(evaluation.compare(load, dataset)):
            click.echo(line)
        return
    with load(settings.engine, settings.precision) as network:
        result = evaluation.evaluate(network, dataset)
    for line in (*evaluation.table([result]), *evaluation.class_lines(result)):
        click.echo(line)
    if output:
        evaluation.write_report(result, output)
        click.echo(f"report in {output}")


def _untrained(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the .cfg and the class names of a model folder."""
    files = files_by_kind(folder)
    cfgs, lists = files["cfg"], files["names"] or files["data"]
    if len(cfgs) != 1 or len(lists) != 1:
        raise click.UsageError(f"{folder}: expected one .cfg and one .names or .data file")
    return cfgs[0], read_names(lists[0])


def _print_anchors(cfg: Path, names: tuple[str, ...], data: Sequence[Path], count: int) -> None:
    sizes, fit = fit_anchors(read_cfg(cfg), names, data, count)
    text = ", ".join(f"{width:.0f},{height:.0f}" for width, height in sizes)
    click.echo(f"anchors={text}\n# mean IoU with the objects: {fit:.3f}")
