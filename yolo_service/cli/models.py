"""The commands ``yolo-service models ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from darknet.cfg import Cfg, read_cfg
from darknet.cfg.adapt import anchor_count
from darknet.layer_table import layer_table
from darknet.model import Dialect
from yolo_service.cli.anchors import fit_anchors
from yolo_service.cli.options import (
    input_size_option,
    models_dir_option,
    needs_train,
    path,
    progress_bar,
    settings_from,
    settings_with_model,
)
from yolo_service.errors import ModelUnavailable
from yolo_service.models.catalog import CatalogEntry, changed_files, entries, find_entry
from yolo_service.models.folder import ModelOptions, model_folders, read_folder
from yolo_service.models.opening import default_files
from yolo_service.models.pull import add_model, check_folder, pull_model
from yolo_service.models.repository import describe_folders
from yolo_service.package_data import CATALOG


@click.group()
def models() -> None:
    """List, pull, check, add, create and export models."""


@models.command("list")
@models_dir_option
def list_models(models_dir: Path | None) -> None:
    """List the models that can be served or pulled, and those with errors."""
    settings = settings_from(models_dir=models_dir)
    infos = {info.name: info for info in describe_folders(settings.model_roots)}
    catalog = {entry.name: entry for entry in entries(settings.models_dir)}
    for name in sorted(infos | catalog):
        info = infos.get(name)
        if name in catalog and (info is None or info.error):
            click.echo(_pullable(catalog[name]))
        elif info:
            click.echo(_row(name, info.input_size, len(info.classes), info.error or ""))


@models.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--mirror", help="URL, s3:// address or folder with NAME/FILE; default: YOLO_MODELS_MIRROR."
)
@models_dir_option
def pull(names: tuple[str, ...], mirror: str | None, models_dir: Path | None) -> None:
    """Download the models NAMES from where they are published, and check them."""
    settings = settings_from(models_dir=models_dir, models_mirror=mirror or None)
    root, source = settings.models_dir, settings.models_mirror
    catalog = {entry.name for entry in entries(root)}
    for name in names:
        folder = model_folders([root, CATALOG]).get(name)
        if folder and name not in catalog:
            read_folder(folder)  # nothing to pull; raises if a file is missing
        else:
            folder = pull_model(find_entry(name, root), root, mirror=source, bar=progress_bar)
        click.echo(f"{name}: complete in {folder}")


@models.command()
@click.argument("folders", nargs=-1, required=True, type=path)
def check(folders: tuple[Path, ...]) -> None:
    """Print the layers of the models in FOLDERS and check all their files."""
    for folder in folders:
        files = read_folder(folder)
        cfg = read_cfg(files.cfg, input_size=files.options.input_size)
        for line in (*layer_table(cfg), *cfg.warnings):
            click.echo(line)
        model = check_folder(folder)
        if changes := changed_files(folder):
            raise ModelUnavailable("\n".join(f"{folder.name}/{change}" for change in changes))
        seen = model.weights.header.seen
        click.echo(f"{folder.name}: complete; {len(model.names)} classes, trained on {seen} images")


@models.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True)
@click.option("--description", help="What it finds.")
@click.option("--license", help="Of the weights.")
@click.option("--dialect", type=click.Choice(get_args(Dialect)), default="alexeyab")
@models_dir_option
def add(name: str, files: tuple[str, ...], models_dir: Path | None, **options: Any) -> None:
    """Add the model NAME made of FILES: paths or URLs of a .cfg, a .weights and a .names.

    Weights may also end with .darknet, and the list of names be a file `names`, as Obico's do; a
    .data or .meta file may come along.
    """
    own = ModelOptions(**options)
    folder = add_model(
        name, files, settings_from(models_dir=models_dir).models_dir, own, bar=progress_bar
    )
    click.echo(f"{name}: complete in {folder}")


@models.command()
@click.argument("name")
@click.option("--from", "base", required=True, help="Model whose .cfg is taken.")
@click.option("--names", required=True, help="The classes, with commas between them.")
@click.option("--data", type=path, multiple=True, help="Labelled images to fit the anchors to.")
@models_dir_option
def new(name: str, base: str, names: str, data: tuple[Path, ...], models_dir: Path | None) -> None:
    """Make the folder of a new model NAME, ready to train, from another model's .cfg.

    Classes, filters and the length of the training fit --names, and the anchors --data. See
    docs/training.md.
    """
    from yolo_service.models.new import new_model

    classes = [each.strip() for each in names.split(",")]
    settings = settings_from(models_dir=models_dir)

    def fit(cfg: Cfg) -> tuple[list[tuple[float, float]], float]:
        return fit_anchors(cfg, classes, data, anchor_count(cfg))

    with needs_train():
        made = new_model(
            name, base, classes, settings, fit_anchors=fit if data else None, bar=progress_bar
        )
    click.echo(f"{name}: {made.classes} classes in {made.folder}")
    if made.fit is not None:
        click.echo(f"anchors fit the objects with a mean IoU of {made.fit:.3f}")
    start = f" --weights {made.weights} --cutoff {made.unchanged}" if made.weights else ""
    click.echo(f"yolo-service train --model {made.folder} --data TRAIN --val VAL{start}")


@models.command()
@click.argument("name")
@click.option("--to", "target", type=path, required=True, help="File; a folder for openvino.")
@click.option("--format", "kind", type=click.Choice(("onnx", "openvino")), default="onnx")
@click.option("--nms", is_flag=True, help="Suppression is part of the graph.")
@click.option("--half", is_flag=True, help="Weights and computation in float16.")
@click.option("--batch", type=click.IntRange(min=1), help="Fixed number of images.")
@click.option("--opset", type=int, default=17, show_default=True, help="Of ONNX's operators.")
@click.option("--raw", is_flag=True, help="The heads as they are, not decoded.")
@input_size_option
@models_dir_option
def export(
    name: str,
    target: Path,
    kind: str,
    input_size: str | None,
    models_dir: Path | None,
    **options: Any,
) -> None:
    """Write the model NAME as a file that needs nothing of this project; see docs/export.md."""
    from darknet.onnx import ExportOptions
    from yolo_service.models.export import write_export, write_openvino_export

    settings = settings_with_model(models_dir=models_dir, model=name, input_size=input_size)
    write = write_openvino_export if kind == "openvino" else write_export
    written = write(default_files(settings), ExportOptions(**options), target)
    click.echo(f"{name}: exported to {written}, {written.stat().st_size / 1e6:.1f} MB")


def _pullable(entry: CatalogEntry) -> str:
    own = entry.options
    size = sum(source.bytes or 0 for source in entry.files.values())
    megabytes = f"{size / 1e6:.0f} MB, " if size > 1_000_000 else ""
    hint = f"not pulled yet: {megabytes}yolo-service models pull {entry.name}"
    return _row(entry.name, own.input_size, own.classes or 0, hint)


def _row(name: str, size: tuple[int, int] | None, classes: int, remark: str) -> str:
    pixels = "{} x {}".format(*size) if size else "-"
    return f"{name:<24} {pixels:<12} {classes:>5} classes  {remark}".rstrip()
