"""What has failed, put aside with its error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from yolo_service.errors import InputError
from yolo_service.whole_files import free_name, move, suffixed, write_whole

ERROR_SUFFIX = ".error.txt"
"""Of the file beside a failed one that has its error, and of what stands for its result."""


def put_aside(folder: Path, name: str, data: bytes, problem: str) -> None:
    """Write an image into a folder, beside its error.

    Raises:
        InputError: it cannot be written.
    """
    _put(folder / name, problem, lambda target: write_whole(target, data))


def put_file_aside(folder: Path, name: str, file: Path, problem: str) -> None:
    """Move a file into a folder, likewise.

    Raises:
        InputError: it cannot be written.
    """
    _put(folder / name, problem, lambda target: move(file, target))


def write_error(target: Path, problem: str) -> None:
    """Write the error of a file beside it: before the file, so that none is there without it.

    Raises:
        OSError: that is not possible.
    """
    text = f"{problem}\n".encode(errors="replace")
    write_whole(target.with_name(suffixed(target.name, ERROR_SUFFIX)), text)


def _put(wanted: Path, problem: str, write: Callable[[Path], object]) -> None:
    target = free_name(wanted)
    try:
        write_error(target, problem)
        write(target)
    except OSError as error:
        raise InputError(f"{target}, which has failed, cannot be written: {error}") from error
