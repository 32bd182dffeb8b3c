"""Locks on files and folders that end with their process, however it ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_held: set[tuple[int, int]] = set()
"""Files that this process has locked where there are no locks, by device and number."""


class Lock:
    """The lock of one process on a file or folder, which may be renamed meanwhile.

    Where the system or the file system has no locks, as on Windows, it keeps only this process from
    taking it again.
    """

    def __init__(self, file: int | None, held: tuple[int, int] | None = None) -> None:
        self._file, self._held = file, held

    @classmethod
    def take(cls, path: Path) -> Lock | None:
        """Lock a path without waiting; None if a process holds it.

        Raises:
            OSError: the path does not exist, or cannot be opened.
        """
        if fcntl is None:
            return cls._within_process(None, path.stat())
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return cls._within_process(file, os.fstat(file))
            os.close(file)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return cls(file)

    @classmethod
    def _within_process(cls, file: int | None, found: os.stat_result) -> Lock | None:
        held = (found.st_dev, found.st_ino)
        if held in _held:
            if file is not None:
                os.close(file)
            return None
        _held.add(held)
        return cls(file, held)

    def is_on(self, path: Path) -> bool:
        """Return whether the path is still the file that was locked."""
        if self._file is None:
            return path.exists()
        try:
            return os.path.samestat(os.fstat(self._file), path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """End the lock; may be called twice."""
        if self._held is not None:
            _held.discard(self._held)
            self._held = None
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _open(path: Path) -> int:
    """Open for writing where that is possible: NFS makes exclusive locks only then."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
