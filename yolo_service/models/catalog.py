"""The models that can be pulled, and the folders of those that can be served.

The catalog has two folders: ``models/`` of this project, which is part of the package, and the
models folder of the settings. Of two folders with one name the latter is used.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from yolo_service.errors import ModelNotFound, ModelUnavailable
from yolo_service.models.download import sha256
from yolo_service.models.folder import ModelOptions, Source, read_options, subfolders
from yolo_service.package_data import CATALOG

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class CatalogEntry:
    """A model that can be pulled.

    Attributes:
        name: of the model and of its folder.
        folder: where its model.yaml is.
        options: the contents of model.yaml.
    """

    name: str
    folder: Path
    options: ModelOptions

    @property
    def files(self) -> dict[str, Source]:
        """The sources of the files that belong into the model's folder, by file name."""
        return {source.file: source for source in self.options.sources if source.file}

    def missing(self, folder: Path) -> list[str]:
        """Return the names of the files that a folder lacks."""
        return [name for name in self.files if not (folder / name).is_file()]


def entries(models_dir: Path) -> list[CatalogEntry]:
    """Return every model that can be pulled, by name, without those whose model.yaml is wrong.

    Raises:
        ConfigurationError: the models folder cannot be listed.
    """
    found: dict[str, CatalogEntry] = {}
    for folder in (*subfolders(CATALOG), *subfolders(models_dir)):
        with suppress(ModelUnavailable):
            if is_name(folder.name) and (entry := read_entry(folder)).files:
                found[entry.name] = entry
    return [found[name] for name in sorted(found)]


def find_entry(name: str, models_dir: Path) -> CatalogEntry:
    """Return a model that can be pulled.

    Raises:
        ModelNotFound: the catalog has no such model.
        ModelUnavailable: its model.yaml is wrong.
        ConfigurationError: the models folder cannot be listed.
    """
    for root in (models_dir, CATALOG):
        folder = root / name
        if is_name(name) and folder in subfolders(root) and (entry := read_entry(folder)).files:
            return entry
    known = ", ".join(entry.name for entry in entries(models_dir))
    raise ModelNotFound(f"the catalog has no model {name[:100]!r}; it has: {known}")


def read_entry(folder: Path) -> CatalogEntry:
    """Read a folder's model.yaml; a folder without one has no sources.

    Raises:
        ModelUnavailable: model.yaml is wrong.
    """
    return CatalogEntry(folder.name, folder, read_options(folder))


def is_name(name: str) -> bool:
    """Return whether a model may have this name: a plain folder name, never a path."""
    return _NAME.fullmatch(name) is not None


def changed_files(folder: Path) -> list[str]:
    """Compare a model's files with its model.yaml; returns a line for each difference.

    Raises:
        ModelUnavailable: model.yaml is wrong.
    """
    entry = read_entry(folder)
    lines = [f"{name}: missing" for name in entry.missing(folder)]
    for name, source in entry.files.items():
        path = folder / name
        if not path.is_file():
            continue
        length = path.stat().st_size
        if source.bytes not in (None, length):
            lines.append(f"{name}: has {length} bytes, model.yaml says {source.bytes}")
        elif source.sha256 not in (None, sha256(path)):
            lines.append(f"{name}: its sha256 is not the one in model.yaml")
    return lines
