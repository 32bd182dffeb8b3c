"""The command ``yolo-service detect``."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolo_service.cli.models import progress_bar
from yolo_service.cli.options import engine_options, settings_from
from yolo_service.errors import ServiceError
from yolo_service.models.pull import ensure_model

if TYPE_CHECKING:
    from yolo_service.predictor import Answer, Predictor


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@engine_options
@click.option("--threshold", type=click.FloatRange(0, 1), help="Smallest confidence.")
@click.option("--nms", type=click.FloatRange(0, 1), help="Largest overlap of two boxes.")
@click.option(
    "--draw", type=click.Path(file_okay=False, path_type=Path), help="Folder for drawn images."
)
def detect(
    images: tuple[Path, ...],
    threshold: float | None,
    nms: float | None,
    draw: Path | None,
    **options: Any,
) -> None:
    """Detect objects in IMAGES, files or folders; one line of JSON for each.

    An image that cannot be read gets a line with "error" and does not stop the others; the exit
    code is then 1.
    """
    from yolo_service import process
    from yolo_service.predictor import Options, open_predictor

    settings = settings_from(options)
    ensure_model(settings, progress_bar)
    process.tune()
    paths = list(image_files(images))
    chosen = Options(threshold=threshold, nms=nms, keep_image=draw is not None)
    targets = drawn_files(paths, draw) if draw else {}
    failed = 0
    with open_predictor(settings) as predictor, _progress(len(paths)) as bar:
        predictor.models.get()  # what is wrong with the model is no fault of an image
        submit = functools.partial(_submit, predictor, chosen, targets)
        for path, future in zip(paths, predictor.submit_each(paths, submit), strict=True):
            line, is_good = _line(path, future)
            failed += not is_good
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            bar.update(1)
    sys.exit(1 if failed else 0)


def image_files(images: Sequence[Path]) -> Iterator[Path]:
    """Yield files as given, and the files of folders by name."""
    for path in images:
        if path.is_dir():
            yield from sorted(child for child in path.iterdir() if child.is_file())
        else:
            yield path


def drawn_files(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return where each image is drawn: ``cat.png`` for ``cat.jpg``, each file a name of its own.

    Where images share a stem, their suffix stays (``cat.jpg.png``); where they share the whole
    name, being of several folders, they are numbered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unique = list(dict.fromkeys(paths))
    stems = Counter(path.stem.casefold() for path in unique)
    targets: dict[Path, Path] = {}
    used: set[str] = set()
    for path in unique:
        name = path.stem if stems[path.stem.casefold()] == 1 else path.name
        name = _first_unused(name, used)
        used.add(name.casefold())
        targets[path] = folder / f"{name}.png"
    return targets


def _first_unused(name: str, used: set[str]) -> str:
    candidate, number = name, 1
    while candidate.casefold() in used:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def _submit(
    predictor: Predictor, options: Any, targets: dict[Path, Path], path: Path
) -> Future[bytes]:
    began = time.monotonic()
    data = path.read_bytes()
    fetch_ms = (time.monotonic() - began) * 1000
    finish = functools.partial(_finish, path, targets.get(path))
    return predictor.submit(data, options, finish=finish, name=path.name, fetch_ms=fetch_ms)


def _finish(path: Path, target: Path | None, answer: Answer) -> bytes:
    """Draw if asked to, and write the line; runs on a worker."""
    from yolo_service.formats import objects
    from yolo_service.formats.json import to_json
    from yolo_service.images.draw import draw, encode

    if target is not None:
        target.write_bytes(encode(draw(answer.image, answer.detections), "png"))
    return to_json({"file": _text(path), **objects(answer)})


def _line(path: Path, future: Future[bytes]) -> tuple[bytes, bool]:
    """Return the line of an image, and whether something could be detected in it."""
    from yolo_service.formats.json import to_json

    try:
        return future.result(), True
    except (OSError, ServiceError) as error:
        return to_json({"file": _text(path), "error": str(error)}), False


def _text(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")


def _progress(count: int) -> Any:
    """Draw a progress bar on standard error if it is a terminal."""
    return click.progressbar(
        length=count, file=sys.stderr, label="detecting", hidden=count < 2, show_pos=True
    )
