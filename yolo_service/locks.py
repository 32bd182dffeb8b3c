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


ARE_KEPT = fcntl is not None
"""Whether a lock keeps other processes, and this one, from taking it again."""


class Lock:
    """The lock of one process on a file or folder, which may be renamed meanwhile.

    Where the system or the file system has no locks, as on Windows, every lock can be had.
    """

    def __init__(self, file: int | None) -> None:
        self._file = file

    @classmethod
    def take(cls, path: Path) -> Lock | None:
        """Lock a path without waiting; None if a process holds it.

        Raises:
            OSError: the path does not exist, or cannot be opened.
        """
        if fcntl is None:
            path.lstat()
            return cls(None)
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(file)
                if isinstance(error, BlockingIOError):
                    return None
                raise
        return cls(file)

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
