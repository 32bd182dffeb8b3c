"""Where complete files are put: a folder, or a prefix of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from yolo_service.outputs.files import is_called_file, is_folder
from yolo_service.schemes import Scheme, load, scheme_of

SCHEMES = {"s3": Scheme("yolo_service.outputs.s3_place", "s3")}
"""Modules whose ``open_place(address)`` returns a ``FilePlace``."""


class FilePlace(Protocol):
    """Takes files that are written whole to a path first."""

    def path(self, name: str) -> Path:
        """Return where a file is written; its folder may not exist yet.

        Args:
            name: relative path of the file in this place.
        """

    def put(self, name: str) -> None:
        """Put what was written to ``path``, to stay.

        Raises:
            OutputError: that is not possible.
        """

    def written_at(self, name: str) -> float | None:
        """Return when a file was put, in seconds since 1970; None if it is not there.

        Raises:
            OutputError: that cannot be told.
        """

    def close(self) -> None:
        """Remove what was written and not put; may be called twice."""


class Folder:
    """A ``FilePlace``: a folder, in which files are written where they stay."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Return the path in the folder."""
        return self._root / name

    def put(self, name: str) -> None:
        """Do nothing: it is there."""

    def written_at(self, name: str) -> float | None:
        """Return the time of the file."""
        try:
            return self.path(name).stat().st_mtime
        except OSError:
            return None

    def close(self) -> None:
        """Do nothing."""


def open_place(address: str) -> FilePlace:
    """Open a folder, which is made when the first file is written, or a prefix of a store.

    Raises:
        ConfigurationError: the scheme is unknown, or what it needs is not installed.
        StoreError: the store refuses, or does not answer.
    """
    scheme = scheme_of(address)
    if scheme is None:
        return Folder(Path(address))
    return cast(FilePlace, load(scheme, SCHEMES).open_place(address))


def is_place(sink: str) -> bool:
    """Return whether a sink is a folder or a prefix of a store, not one file for all."""
    return is_folder(sink) or (scheme_of(sink) in SCHEMES and not is_called_file(sink))
