"""Download models of the catalog into the models folder.

Files are staged in ``models/.NAME.pull/`` and checked there as a whole model; only then are they
renamed into ``models/NAME/``, the weights last. So a model's folder never holds a wrong model or a
part of one. An interrupted pull leaves the staging folder, and the next pull resumes from it.
"""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import yaml
from filelock import FileLock
from pydantic import ValidationError

from darknet.cfg import read_cfg
from darknet.errors import DarknetError
from darknet.model import Model
from darknet.network import load_model
from darknet.weights import Header, expected_bytes
from yolo_service.errors import ModelNotFound, ModelUnavailable, PullError
from yolo_service.models.catalog import CatalogEntry, find_entry, is_name
from yolo_service.models.download import PAUSES, Bar, Wanted, download, no_bar, sha256
from yolo_service.models.folder import (
    OPTIONS_FILE,
    ModelOptions,
    Source,
    is_complete,
    kind_of,
    model_folders,
    read_folder,
)
from yolo_service.settings import Settings

log = logging.getLogger(__name__)

_OLD_HEADER = Header(major=0, minor=1)
"""The header of weights written before 2018, four bytes shorter."""

Save = Callable[[Wanted, Path], None]
"""Downloads a file to a path."""


def pull_model(
    entry: CatalogEntry,
    models_dir: Path,
    *,
    mirror: str | None = None,
    bar: Bar = no_bar,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Download a model's missing files into the models folder; returns the model's folder.

    Existing files are kept. Several pulls of one model, by any processes, wait for each other.

    Args:
        entry: the model.
        models_dir: the folder of models; made if it is missing.
        mirror: a URL, an address of S3 or a folder that has ``NAME/FILE``, used instead of the
            model's own sources.
        bar: see ``download``.
        pauses: see ``download``.

    Raises:
        PullError: a file cannot be downloaded or is not the expected one. Nothing of the model
            stays but, where the server allows it, a part that the next pull resumes.
    """
    save = functools.partial(download, bar=bar, pauses=pauses)
    return _install(_mirrored(entry, mirror), models_dir / entry.name, save)


def pull_named(settings: Settings, bar: Bar = no_bar) -> None:
    """Pull the default model if the settings name one of the catalog that is not complete.

    Raises:
        PullError: it cannot be pulled.
        ConfigurationError: the models folder cannot be listed.
    """
    if settings.model is None or is_served(settings.model, settings):
        return
    try:
        entry = find_entry(settings.model, settings.models_dir)
    except (ModelNotFound, ModelUnavailable):
        return  # opening the models folder reports what is wrong
    log.info("pulling model %s", entry.name)
    pull_model(entry, settings.models_dir, mirror=settings.models_mirror, bar=bar)


def is_served(name: str, settings: Settings) -> bool:
    """Return whether a model of this name has all its files.

    Raises:
        ConfigurationError: the models folder cannot be listed.
    """
    folder = model_folders(settings.model_roots).get(name)
    return folder is not None and is_complete(folder)


def add_model(
    name: str,
    places: Sequence[str],
    models_dir: Path,
    options: ModelOptions,
    *,
    bar: Bar = no_bar,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Copy or download a new model into the models folder and write its model.yaml.

    Args:
        name: of the model and its folder.
        places: URLs or paths of the .cfg, the weights, a names list or .data file, and the files
            that these name (class trees, maps); see ``kind_of``.
        models_dir: the folder of models; made if it is missing.
        options: the contents of its model.yaml, but for the sources.
        bar: see ``download``.
        pauses: see ``download``.

    Raises:
        PullError: the name is taken or not a plain one, a file cannot be had, or the files are
            no model. Nothing of the model stays.
    """
    target = models_dir / name
    if not is_name(name) or target.exists():
        raise PullError(f"model {name!r}: expected a new name of letters, digits and . _ -")
    return install_places(name, places, target, options, bar=bar, pauses=pauses)


def install_places(
    name: str,
    places: Sequence[str],
    target: Path,
    options: ModelOptions,
    *,
    bar: Bar = no_bar,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Copy or download the files of a model into the folder ``target``; see ``add_model``."""
    sources = tuple(map(_source, places))
    entry = CatalogEntry(name, target, options.model_copy(update={"sources": sources}))
    return _install(entry, target, functools.partial(download, bar=bar, pauses=pauses))


def check_folder(folder: Path) -> Model:
    """Read and check all files of a model as a whole.

    Raises:
        DarknetError: a file is wrong or they do not belong together.
        ModelUnavailable: one is missing, or model.yaml is wrong.
    """
    return load_model(**read_folder(folder).load_arguments())


def _source(place: str) -> Source:
    try:
        return Source(file=place.rsplit("/", 1)[-1], url=place)
    except ValidationError as error:
        raise PullError(f"{place!r}: expected a path or URL that ends with a file name") from error


def _mirrored(entry: CatalogEntry, mirror: str | None) -> CatalogEntry:
    """Return the model with the mirror as its only source."""
    if mirror is None:
        return entry
    sources = tuple(
        source.model_copy(
            update={"url": f"{mirror.rstrip('/')}/{entry.name}/{name}", "mirrors": ()}
        )
        for name, source in entry.files.items()
    )
    return replace(entry, options=entry.options.model_copy(update={"sources": sources}))


def _install(entry: CatalogEntry, target: Path, save: Save) -> Path:
    """Bring the files that are missing into the model's folder, and return it."""
    try:
        with _staging(target.with_name(f".{entry.name}.pull")) as staging:
            if not target.is_dir() or entry.missing(target):
                _fill(entry, staging, target, save)
                _check(entry.name, staging)
                _publish(staging, target)
    except OSError as error:
        raise PullError(
            f"{entry.name} could not be pulled: {error}; the models folder {target.parent} must be "
            "writable and have space, see YOLO_MODELS_DIR"
        ) from error
    return target


def _fill(entry: CatalogEntry, staging: Path, target: Path, save: Save) -> None:
    """Copy existing files into the staging folder and download the others, the weights last."""
    _copy_existing(entry, staging, target)
    for name in sorted(entry.missing(target), key=_weights_last):
        wanted = _wanted(entry, name, staging)
        if not wanted.is_at(staging / name):
            save(wanted, staging / name)
    if not (entry.folder / OPTIONS_FILE).exists():
        _write_options(entry, staging)


def _copy_existing(entry: CatalogEntry, staging: Path, target: Path) -> None:
    existing = {OPTIONS_FILE: entry.folder / OPTIONS_FILE} | {p.name: p for p in target.glob("*")}
    for name, path in existing.items():
        if path.is_file():
            (staging / name).unlink(missing_ok=True)
            shutil.copyfile(path, staging / name)


def _check(name: str, staging: Path) -> None:
    try:
        check_folder(staging)
    except (DarknetError, ModelUnavailable) as error:
        for path in staging.iterdir():
            path.unlink()
        reason = str(error).removeprefix(f"{staging.name}: ")
        raise PullError(f"{name}: the files are no model: {reason}") from error


def _wanted(entry: CatalogEntry, name: str, staging: Path) -> Wanted:
    source = entry.files[name]
    sizes = frozenset({source.bytes} if source.bytes else ())
    if kind_of(name) == "weights":
        sizes = _weights_sizes(entry, staging, source)
    return Wanted(f"{entry.name}/{name}", (source.url, *source.mirrors), sizes, source.sha256)


def _weights_sizes(entry: CatalogEntry, staging: Path, source: Source) -> frozenset[int]:
    """Return the lengths that the .cfg implies, with either header."""
    try:
        cfg = read_cfg(next(staging.glob("*.cfg"), staging / "*.cfg"))
    except DarknetError as error:
        raise PullError(f"{entry.name}: the pulled .cfg is no network: {error}") from error
    sizes = frozenset({expected_bytes(cfg), expected_bytes(cfg, _OLD_HEADER)})
    if source.bytes is None:
        return sizes
    if source.bytes not in sizes:
        raise PullError(
            f"{entry.name}: {OPTIONS_FILE} has {source.bytes} bytes for {source.file}, but its "
            f".cfg needs {max(sizes)}; they are of different models"
        )
    return frozenset({source.bytes})


def _write_options(entry: CatalogEntry, staging: Path) -> None:
    """Write model.yaml, with length and hash of everything that came from a URL."""
    sources = []
    for name, source in entry.files.items():
        path = staging / name
        if "://" in source.url:
            found = {"bytes": path.stat().st_size, "sha256": sha256(path)}
            sources.append(source.model_copy(update=found))
    options = entry.options.model_copy(update={"sources": tuple(sources)})
    data = options.model_dump(mode="json", exclude_defaults=True)
    (staging / OPTIONS_FILE).write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def _publish(staging: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(staging.iterdir(), key=lambda path: _weights_last(path.name)):
        if not (target / path.name).exists():
            path.replace(target / path.name)


def _weights_last(name: str) -> tuple[bool, str]:
    return kind_of(name) == "weights", name


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Make the staging folder, locked against other pulls, and remove it afterwards.

    A folder that holds a part to resume stays. The lock ends with the process, however that ends.
    The lock file is removed while it is locked: filelock makes a new one if the file that it has
    locked is gone.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_suffix(".lock")
    with FileLock(lock):
        try:
            folder.mkdir(exist_ok=True)
            yield folder
        finally:
            if not any(folder.glob("*.part")):
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(PermissionError):  # Windows does not remove open files
                lock.unlink(missing_ok=True)
