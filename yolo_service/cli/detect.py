"""The command ``yolo-service detect``."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolo_service.cli.options import engine_options, settings_with_model
from yolo_service.errors import ServiceError

if TYPE_CHECKING:
    from yolo_service.predictor import Answer, Predictor


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@engine_options
@click.option("--threshold", type=click.FloatRange(0, 1), help="Smallest confidence.")
@click.option("--nms", type=click.FloatRange(0, 1), help="Largest overlap of two boxes.")
@click.option("--tiles", help="For small objects: 2x2, 2x2:0.3 (overlap) or auto.")
@click.option(
    "--draw", type=click.Path(file_okay=False, path_type=Path), help="Folder for drawn images."
)
def detect(
    images: tuple[Path, ...],
    threshold: float | None,
    nms: float | None,
    tiles: str | None,
    draw: Path | None,
    **options: Any,
) -> None:
    """Detect objects in IMAGES, files or folders; one line of JSON for each.

    An image that cannot be read gets a line with "error" and does not stop the others; the exit
    code is then 1.
    """
    from yolo_service import process
    from yolo_service.predictor import Options, open_predictor

    settings = settings_with_model(**options)
    process.tune()
    paths = list(image_files(images))
    chosen = Options(threshold=threshold, nms=nms, tiles=tiles, keep_image=draw is not None)
    targets = drawn_files(paths, draw) if draw else {}
    failed = 0
    progress = click.progressbar(
        length=len(paths), file=sys.stderr, label="detecting", hidden=len(paths) < 2, show_pos=True
    )
    with open_predictor(settings) as predictor, progress as bar:
        predictor.models.get()  # raises here if the model is broken, not once per image
        submit = functools.partial(_submit, predictor, chosen, targets)
        for path, future in zip(paths, predictor.submit_each(paths, submit), strict=True):
            if not future.done():
                sys.stdout.buffer.flush()  # the lines so far must not wait for this image
            line, is_good = _line(path, future)
            failed += not is_good
            sys.stdout.buffer.write(line)
            bar.update(1)
        sys.stdout.buffer.flush()
    sys.exit(1 if failed else 0)


def image_files(images: Sequence[Path]) -> Iterator[Path]:
    """Yield files as given, and the files of folders by name."""
    for path in images:
        if path.is_dir():
            yield from sorted(child for child in path.iterdir() if child.is_file())
        else:
            yield path


def drawn_files(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the file that each image is drawn to: ``cat.png`` for ``cat.jpg``.

    Images of the same stem keep their suffix (``cat.jpg.png``); those of the same name, in several
    folders, are numbered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unique = list(dict.fromkeys(paths))
    stems = Counter(path.stem.casefold() for path in unique)
    targets: dict[Path, Path] = {}
    used: set[str] = set()
    for path in unique:
        name = path.stem if stems[path.stem.casefold()] == 1 else path.name
        candidates = (
            f"{name}-{n}" if n else name for n in itertools.chain((0,), itertools.count(2))
        )
        name = next(each for each in candidates if each.casefold() not in used)
        used.add(name.casefold())
        targets[path] = folder / f"{name}.png"
    return targets


def _submit(
    predictor: Predictor, options: Any, targets: dict[Path, Path], path: Path
) -> Future[bytes]:
    began = time.monotonic()
    data = path.read_bytes()
    fetch_ms = (time.monotonic() - began) * 1000
    finish = functools.partial(_finish, path, targets.get(path))
    return predictor.submit(data, options, finish=finish, name=path.name, fetch_ms=fetch_ms)


def _finish(path: Path, target: Path | None, answer: Answer) -> bytes:
    """Draw the image if it has a target, and return its line; runs on a worker."""
    from yolo_service.formats import objects
    from yolo_service.formats.json import to_json
    from yolo_service.images.draw import draw_file

    if target is not None:
        target.write_bytes(draw_file(answer.image, answer.detections, "png"))
    return to_json({"file": _text(path), **objects(answer)})


def _line(path: Path, future: Future[bytes]) -> tuple[bytes, bool]:
    """Return the line of an image, and whether it has no error."""
    from yolo_service.formats.json import to_json

    try:
        return future.result(), True
    except (OSError, ServiceError) as error:
        return to_json({"file": _text(path), "error": str(error)}), False


def _text(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")
