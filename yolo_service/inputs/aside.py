"""Images that are not files, put aside with their errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolo_service.errors import InputError
from yolo_service.whole_files import free_name, move, suffixed, write_whole

ERROR_SUFFIX = ".error.txt"


def put_aside(folder: Path, name: str, data: bytes, problem: str) -> None:
    """Write an image into a folder, and before it its error, so that none is there without it.

    Raises:
        InputError: it cannot be written.
    """
    target = free_name(folder / name)
    with _explained(target):
        _write_error(target, problem)
        write_whole(target, data)


def put_file_aside(folder: Path, name: str, file: Path, problem: str) -> None:
    """Move a file into a folder, likewise.

    Raises:
        InputError: it cannot be written.
    """
    target = free_name(folder / name)
    with _explained(target):
        _write_error(target, problem)
        move(file, target)


def _write_error(target: Path, problem: str) -> None:
    text = f"{problem}\n".encode(errors="replace")
    write_whole(target.with_name(suffixed(target.name, ERROR_SUFFIX)), text)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{target}, which has failed, cannot be written: {error}") from error
