"""The model of the three files of the classic service: paths, or addresses that are pulled."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from darknet.errors import NamesError
from darknet.names import DATA_SUFFIXES, find_list, list_name
from yolo_service.errors import ConfigurationError, ModelUnavailable, PullError
from yolo_service.models.download import Bar, Wanted, download, no_bar
from yolo_service.models.folder import ModelFiles, ModelOptions, is_complete, read_folder
from yolo_service.models.pull import install_places
from yolo_service.models.sources import is_url
from yolo_service.settings import Settings

FOLDER = ".files"
"""Folder inside the models folder with one folder for each three addresses; not listed."""


def classic_files(settings: Settings) -> ModelFiles | None:
    """Return the model of the three files, named after its .cfg; None: they are not set.

    Raises:
        ConfigurationError: one of them is an address that was not pulled yet.
    """
    cfg, weights, names = settings.config_file, settings.weights_file, settings.meta_file
    if cfg is None or weights is None or names is None:
        return None
    stem = Path(cfg).stem
    if isinstance(cfg, Path) and isinstance(weights, Path) and isinstance(names, Path):
        return ModelFiles(stem, cfg, weights, names)
    try:
        return replace(read_folder(_folder(settings)), name=stem)
    except ModelUnavailable as error:
        raise ConfigurationError(f"config_file, weights_file, meta_file: {error}") from error


def pull_classic(settings: Settings, bar: Bar = no_bar) -> None:
    """Pull the three files if one of them is an address and they are not there yet.

    Raises:
        PullError: a file cannot be downloaded, or they are no model.
    """
    places = [str(place) for place in _places(settings)]
    folder = _folder(settings)
    if not any(map(is_url, places)) or is_complete(folder):
        return
    meta = places[-1]
    if Path(meta).suffix in DATA_SUFFIXES:
        places.append(_list_place(meta))
    install_places(folder.name, places, folder, ModelOptions(), bar=bar)


def _places(settings: Settings) -> list[Path | str]:
    files = (settings.config_file, settings.weights_file, settings.meta_file)
    return [file for file in files if file is not None]


def _folder(settings: Settings) -> Path:
    """Return the folder of three files: other addresses get another one."""
    key = hashlib.sha256("\n".join(map(str, _places(settings))).encode()).hexdigest()
    return settings.models_dir / FOLDER / key[:16]


def _list_place(meta: str) -> str:
    """Return where the list is that a .data or .meta file names: beside it if it is an address."""
    try:
        if not is_url(meta):
            return str(find_list(Path(meta)))
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / Path(meta).name
            download(Wanted(copy.name, (meta,)), copy)
            return f"{meta.rpartition('/')[0]}/{Path(list_name(copy)).name}"
    except NamesError as error:
        raise PullError(f"meta_file: {error}") from error
