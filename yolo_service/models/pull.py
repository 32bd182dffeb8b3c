"""Models pulled from the catalog into the models folder.

Everything is staged in ``models/.NAME.pull/`` and checked there as a whole model; only then are
the files renamed into ``models/NAME/``, the weights last. So a folder never holds half a model or
a wrong one, and what an interrupted pull leaves is the hidden folder, where the next one goes on.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import yaml
from pydantic import ValidationError

from darknet.cfg import read_cfg
from darknet.errors import DarknetError
from darknet.model import Model
from darknet.network import load_model
from darknet.weights import Header, expected_bytes
from yolo_service.errors import ModelNotFound, ModelUnavailable, PullError
from yolo_service.models.catalog import CatalogEntry, find_entry, is_name
from yolo_service.models.download import PAUSES, Bar, Wanted, download, no_bar, sha256
from yolo_service.models.folder import OPTIONS_FILE, ModelOptions, Source, read_folder
from yolo_service.settings import Settings

log = logging.getLogger(__name__)

_LOCK = "lock"
_OLD_HEADER = Header(major=0, minor=1)
"""The header of weights written before 2018, four bytes shorter."""


def pull_model(
    entry: CatalogEntry,
    models_dir: Path,
    *,
    mirror: str | None = None,
    bar: Bar = no_bar,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Bring a model's missing files into the models folder; returns the model's folder.

    Files that are there already are kept. Several pulls of one model, of any processes, wait for
    each other.

    Args:
        entry: the model.
        models_dir: the folder of models; made if it is missing.
        mirror: a URL or a folder that has ``NAME/FILE``; nothing else is asked then.
        bar: opens a progress bar for each file.
        pauses: seconds between tries.

    Raises:
        PullError: a file cannot be had or is not what it has to be; nothing of it stays but,
            where the server allows it, a part that the next pull resumes.
    """
    target = models_dir / entry.name
    try:
        with _staging(models_dir / f".{entry.name}.pull") as staging:
            if entry.missing(target):
                _bring(_mirrored(entry, mirror), staging, target, bar, pauses)
                _check(entry.name, staging)
                _publish(staging, target)
    except OSError as error:
        raise PullError(
            f"{entry.name} could not be pulled: {error}; the models folder {models_dir} must be "
            "writable and have room, see YOLO_MODELS_DIR"
        ) from error
    return target


def is_there(folder: Path) -> bool:
    """Say whether a folder has the files of a model; they are not read."""
    try:
        read_folder(folder)
    except ModelUnavailable:
        return False
    return True


def ensure_model(settings: Settings, bar: Bar = no_bar) -> None:
    """Pull the default model if the settings name one of the catalog that is not there yet.

    Raises:
        PullError: it cannot be pulled.
    """
    if settings.model is None or is_there(settings.models_dir / settings.model):
        return
    try:
        entry = find_entry(settings.model, settings.models_dir)
    except (ModelNotFound, ModelUnavailable):
        return  # whoever opens the models folder says what is wrong
    log.info("pulling model %s", entry.name)
    pull_model(entry, settings.models_dir, mirror=settings.models_mirror, bar=bar)


def add_model(
    name: str,
    places: Sequence[str],
    models_dir: Path,
    options: ModelOptions,
    *,
    bar: Bar = no_bar,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Bring a new model into the models folder and write its model.yaml.

    Args:
        name: of the model and its folder.
        places: URLs or paths of one .cfg, one .weights, a .names list or .data file, and whatever
            else these name (class trees, maps).
        models_dir: the folder of models; made if it is missing.
        options: what its model.yaml is to say.
        bar: opens a progress bar for each file.
        pauses: seconds between tries.

    Raises:
        PullError: the name is taken or not a plain one, or a file cannot be had; nothing of it
            stays.
    """
    target = models_dir / name
    if not is_name(name) or target.exists():
        raise PullError(f"model {name!r}: expected a new name of letters, digits and . _ -")
    sources = tuple(map(_source, places))
    entry = CatalogEntry(name, target, options.model_copy(update={"sources": sources}))
    try:
        with _staging(models_dir / f".{name}.pull") as staging:
            _bring(entry, staging, target, bar, pauses)
            _write_options(entry, staging)
            _check(name, staging)
            _publish(staging, target)
    except OSError as error:
        raise PullError(f"{name} could not be added: {error}") from error
    return target


def check_folder(folder: Path) -> Model:
    """Read and check all files of a model as a whole.

    Raises:
        DarknetError: a file is wrong or they do not belong together.
        ModelUnavailable: one is missing, or model.yaml is wrong.
    """
    files = read_folder(folder)
    own = files.options
    return load_model(
        files.cfg,
        files.weights,
        files.names,
        dialect=own.dialect,
        resize=own.resize,
        use_map=own.use_map,
    )


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


def _bring(
    entry: CatalogEntry, staging: Path, target: Path, bar: Bar, pauses: Sequence[float]
) -> None:
    """Fill the staging folder until it shows the whole model; the weights come last."""
    _link_what_is_there(entry, staging, target)
    for name in sorted(entry.missing(target), key=_weights_last):
        wanted = _wanted(entry, name, staging)
        if not wanted.is_at(staging / name):
            download(wanted, staging / name, bar=bar, pauses=pauses)


def _link_what_is_there(entry: CatalogEntry, staging: Path, target: Path) -> None:
    there = {OPTIONS_FILE: entry.folder / OPTIONS_FILE} | {p.name: p for p in target.glob("*")}
    for name, path in there.items():
        if path.is_file():
            (staging / name).unlink(missing_ok=True)
            (staging / name).symlink_to(path.resolve())


def _check(name: str, staging: Path) -> None:
    try:
        check_folder(staging)
    except (DarknetError, ModelUnavailable) as error:
        _empty(staging)
        raise PullError(f"{name}: the files are no model: {error}") from error


def _wanted(entry: CatalogEntry, name: str, staging: Path) -> Wanted:
    source = entry.files[name]
    sizes = frozenset({source.bytes} if source.bytes else ())
    if name.endswith(".weights"):
        sizes = _weights_sizes(entry, staging, source)
    return Wanted(f"{entry.name}/{name}", (source.url, *source.mirrors), sizes, source.sha256)


def _weights_sizes(entry: CatalogEntry, staging: Path, source: Source) -> frozenset[int]:
    """The lengths that the .cfg implies, with either header."""
    try:
        cfg = read_cfg(next(staging.glob("*.cfg"), staging / "*.cfg"))
    except DarknetError as error:
        raise PullError(f"{entry.name}: the pulled .cfg is no network: {error}") from error
    sizes = frozenset({expected_bytes(cfg), expected_bytes(cfg, _OLD_HEADER)})
    if source.bytes is None:
        return sizes
    if source.bytes not in sizes:
        raise PullError(
            f"{entry.name}: {OPTIONS_FILE} says that {source.file} has {source.bytes} bytes, but "
            f"its .cfg needs {max(sizes)}; they are of different models"
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
        if path.is_symlink() and path.name == OPTIONS_FILE and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
        elif not path.is_symlink() and path.name != _LOCK:
            path.replace(target / path.name)


def _weights_last(name: str) -> tuple[bool, str]:
    return name.endswith(".weights"), name


def _empty(staging: Path) -> None:
    for path in staging.iterdir():
        if path.name != _LOCK:
            path.unlink()


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield the folder while nobody else has it; removes it unless it holds a part to resume."""
    with _locked(folder):
        try:
            yield folder
        finally:
            if not any(folder.glob("*.part")):
                _remove(folder)


def _remove(staging: Path) -> None:
    """Remove the folder, the lock last: the next to wait may make a lock of its own then."""
    _empty(staging)
    (staging / _LOCK).unlink()
    with suppress(OSError):
        staging.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a file lock, which ends with the process, however that ends."""
    while True:
        with _opened(folder / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_current(lock, folder / _LOCK):
                yield
                return


def _opened(path: Path) -> IO[bytes]:
    while True:
        with suppress(FileExistsError):
            path.parent.mkdir(parents=True)
        try:
            return path.open("wb")
        except FileNotFoundError:
            continue  # whoever had the folder removed it between the two lines


def _is_current(lock: IO[bytes], path: Path) -> bool:
    """Say whether the locked file is still in the folder; who had it before may have removed it."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False
