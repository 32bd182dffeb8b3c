"""The commands ``yolo-service train`` and ``yolo-service evaluate``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click

from darknet import Network
from darknet.cfg import read_cfg
from darknet.model import EngineName, Precision
from darknet.names import read_names
from yolo_service.models.opening import default_files, load_files
from yolo_service.settings import load_settings

_path = click.Path(path_type=Path)


@dataclass(frozen=True)
class Untrained:
    """The files that a model folder must hold before training."""

    folder: Path
    cfg: Path
    names: tuple[str, ...]


@click.command()
@click.option("--model", type=_path, required=True, help="Folder with one .cfg and its names.")
@click.option(
    "--data",
    type=_path,
    multiple=True,
    required=True,
    help="Labelled images: COCO .json, YOLO or VOC folder; may be repeated.",
)
@click.option("--val", type=_path, help="Labelled images to validate on.")
@click.option("--output", type=_path, help="Run folder; default: runs/NAME.")
@click.option("--weights", type=_path, help="Start from these weights.")
@click.option("--cutoff", type=click.IntRange(1), help="Load only so many layers of --weights.")
@click.option("--resume", is_flag=True, help="Continue the run in --output.")
@click.option("--strict", is_flag=True, help="Refuse data with any problem.")
@click.option("--max-batches", type=click.IntRange(1), help="Instead of the .cfg's max_batches.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32")
@click.option("--ema", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--flip-vertical", is_flag=True, help="Also flip images vertically.")
@click.option("--validate-every", type=click.IntRange(1), default=4, help="Epochs between.")
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
    untrained = _untrained(model)
    if anchors is not None:
        _print_anchors(untrained, options["data"], anchors)
        return
    with _needs_extra():
        from darknet.training.train import TrainOptions
        from darknet.training.train import train as run
    output = output or Path("runs") / untrained.folder.name
    result = run(TrainOptions(cfg=untrained.cfg, names=untrained.names, output=output, **options))
    if result.map50 >= 0:
        click.echo(f"best mAP@0.5 {100 * result.map50:.2f}: {result.best}")
    if not list(untrained.folder.glob("*.weights")):
        target = untrained.cfg.with_suffix(".weights")
        shutil.copyfile(result.best, target)
        click.echo(f"copied to {target}")


@click.command()
@click.option("--models-dir", type=_path, help="Folder of models.")
@click.option("--model", help="Name of the model's folder.")
@click.option("--data", required=True, type=_path, help="Labelled images.")
@click.option("--engine", type=click.Choice(get_args(EngineName)), help="Inference engine.")
@click.option("--device", help="cpu, cuda, cuda:1, or a device name of the engine.")
@click.option("--precision", type=click.Choice(get_args(Precision)), help="Number type.")
@click.option("--output", type=_path, help="Folder for JSON, CSV and plots.")
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
    with _needs_extra():
        from darknet.training import evaluate as evaluation
        from darknet.training.readers import read_dataset
    settings = load_settings(**{name: value for name, value in options.items() if value})
    files = default_files(settings)
    dataset = read_dataset(data, read_names(files.names), strict=strict)
    click.echo(dataset.summary())

    def load(engine: EngineName, precision: Precision) -> Network:
        chosen = settings.model_copy(update={"engine": engine, "precision": precision})
        return load_files(files, chosen)

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


def _untrained(folder: Path) -> Untrained:
    cfgs = sorted(folder.glob("*.cfg"))
    lists = sorted(folder.glob("*.names")) or sorted(folder.glob("*.data"))
    if len(cfgs) != 1 or len(lists) != 1:
        raise click.UsageError(f"{folder}: expected one .cfg and one .names or .data file")
    return Untrained(folder, cfgs[0], read_names(lists[0]))


def _print_anchors(untrained: Untrained, data: Sequence[Path], count: int) -> None:
    from darknet.training.anchors import compute_anchors
    from darknet.training.dataset import merge
    from darknet.training.readers import read_dataset

    dataset = merge([read_dataset(path, untrained.names) for path in data])
    sizes, fit = compute_anchors(dataset, read_cfg(untrained.cfg).net.input, count)
    text = ", ".join(f"{width:.0f},{height:.0f}" for width, height in sizes)
    click.echo(f"anchors={text}\n# mean IoU with the objects: {fit:.3f}")


@contextmanager
def _needs_extra() -> Iterator[None]:
    """Turn a missing package of the extra ``train`` into a message that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing; pip install 'yolo-service[train]'"
        raise click.ClickException(message) from error
