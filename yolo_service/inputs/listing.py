"""The images in a folder and its sub-folders, by their names."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from yolo_service.errors import InputError
from yolo_service.inputs.claims import claimed_name
from yolo_service.videos.content import SUFFIXES as VIDEO_SUFFIXES

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    ".bmp .dib .gif .jfif .jpe .jpeg .jpg .jps .mpo .png .tif .tiff .webp".split()
)
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""Of the files that are taken from a folder, in lower case; names ignore the case."""


class Listed(NamedTuple):
    """A file.

    Attributes:
        path: where it is.
        name: relative path within the folder, with ``/``, as it was before it was claimed.
        is_claimed: whether a process has taken it.
        has_unique_stem: whether no other image of its folder has its name but for the suffix.
    """

    path: Path
    name: str
    is_claimed: bool
    has_unique_stem: bool


def list_images(folder: Path, ignored: frozenset[Path]) -> Iterator[Listed]:
    """Yield the images of a folder by name; hidden folders and ``ignored`` ones are left out.

    Links to folders are not followed. No more is in memory than the names of the folders on the
    way.

    Raises:
        InputError: the folder cannot be read. A sub-folder that cannot be is only logged.
    """
    try:
        yield from _list(folder, "", ignored)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error


def count_images(names: Iterable[str]) -> int | None:
    """Count files; None if one seems to be a video, whose frames are items of their own."""
    count = 0
    for name in names:
        if Path(name).suffix.lower() in VIDEO_SUFFIXES:
            return None
        count += 1
    return count


def _list(folder: Path, prefix: str, ignored: frozenset[Path]) -> Iterator[Listed]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    names = {entry.name: _image_name(entry.name) for entry in entries}
    stems = Counter(Path(name).stem.casefold() for name in names.values() if name)
    for entry in entries:
        path, name = Path(entry.path), names[entry.name]
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith(".") and path.resolve() not in ignored:
                yield from _sub_folder(path, f"{prefix}{entry.name}/", ignored)
        elif name and entry.is_file():
            is_unique = stems[Path(name).stem.casefold()] == 1
            yield Listed(path, f"{prefix}{name}", name != entry.name, is_unique)


def _sub_folder(path: Path, prefix: str, ignored: frozenset[Path]) -> Iterator[Listed]:
    try:
        yield from _list(path, prefix, ignored)
    except OSError as error:
        log.warning("%s is left out: %s", path, error.strerror or error)


def _image_name(name: str) -> str | None:
    """Return the name of an image before it was claimed; None for any other file."""
    original = claimed_name(name) or name
    is_image = Path(original).suffix.lower() in SUFFIXES and not original.startswith(".")
    return original if is_image else None
