"""Reading a model's text files, which may be anything that somebody put into its folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_BYTES = 16 << 20
"""Largest text file; the largest published one, YOLO9000's class tree, has 0.1 MB."""


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a regular file.

    Raises:
        OSError: it cannot be read, is a device, a pipe or a folder, or is larger than
            ``max_bytes``.
    """
    # Without this flag, opening a pipe waits for somebody to write into it.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "is not a regular file")
        content = opened.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(0, f"is larger than {max_bytes} bytes, which is no text file of a model")
    return content
