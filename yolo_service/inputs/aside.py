"""Images that are not files, put aside with their errors."""

from __future__ import annotations

from pathlib import Path

from yolo_service.errors import InputError
from yolo_service.whole_files import free_name, write_whole

ERROR_SUFFIX = ".error.txt"


def put_aside(folder: Path, name: str, data: bytes, problem: str) -> None:
    """Write an image into a folder, and before it its error, so that none is there without it.

    Raises:
        InputError: it cannot be written.
    """
    target = free_name(folder / name)
    try:
        write_whole(target.with_name(f"{target.name}{ERROR_SUFFIX}"), f"{problem}\n".encode())
        write_whole(target, data)
    except OSError as error:
        raise InputError(f"{target}, which has failed, cannot be written: {error}") from error
