"""Files that one process alone handles: renamed to a hidden name, and locked.

``cat.jpg`` becomes ``.cat.jpg.0123abcd.claimed``. A rename succeeds for one process only, so
several share a folder without talking to each other. The lock ends with its process: what a killed
process leaves is found by its name and taken over by the next one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from yolo_service.errors import InputError, ItemError
from yolo_service.locks import Lock
from yolo_service.whole_files import ends_move, is_same, move, rename_new

_CLAIMED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.claimed", re.DOTALL)


def claimed_name(name: str) -> str | None:
    """Return the name that a file had before it was claimed; None if it is not claimed."""
    found = _CLAIMED.fullmatch(name)
    return found[1] if found else None


def claimed_pattern(pattern: str) -> str:
    """Return the pattern that files which match one match when they are claimed."""
    folder, name = os.path.split(pattern)
    if name == "**":
        folder, name = pattern, "*"
    return os.path.join(folder, f".{name}.{8 * '[0-9a-f]'}.claimed")  # noqa: PTH118 - a pattern


class Claim:
    """The hold on a file.

    Attributes:
        path: where it is now.
        original: where it was found.
        taken_at: when an earlier process took it, in seconds since 1970 by the file system's
            clock; None if none has.
    """

    def __init__(self, path: Path, original: Path, lock: Lock, taken_at: float | None) -> None:
        self.path, self.original, self.taken_at = path, original, taken_at
        self._lock = lock

    @classmethod
    def take(cls, path: Path) -> Claim | None:
        """Claim a file; None if another process is faster.

        Raises:
            ItemError: the file cannot be opened.
            OSError: it cannot be renamed.
        """
        hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.claimed")
        try:
            if not (lock := Lock.take(path)):
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise InputError(
                    f"{path} cannot be locked: {error.strerror}; raise the limit (ulimit -n), or "
                    "use --limit"
                ) from error
            raise ItemError(f"cannot be read: {error.strerror or error}") from error
        try:
            path.rename(hidden)
        except FileNotFoundError:
            lock.release()
            return None
        except OSError:
            lock.release()
            raise
        if not lock.is_on(hidden):  # another file has got this name since it was locked
            lock.release()
            return cls._locked(hidden, path, None)
        return cls(hidden, path, lock, None)

    @classmethod
    def take_over(cls, hidden: Path) -> Claim | None:
        """Claim what a process has claimed that is gone; None if it lives, or is done with it."""
        original = hidden.with_name(claimed_name(hidden.name) or hidden.name)
        try:
            taken_at = hidden.stat().st_ctime  # of its renaming
            return cls._locked(hidden, original, taken_at)
        except OSError:  # it is gone, or of another user
            return None

    @classmethod
    def _locked(cls, hidden: Path, original: Path, taken_at: float | None) -> Claim | None:
        lock = Lock.take(hidden)
        if lock and not lock.is_on(hidden):
            lock.release()
            return None
        return cls(hidden, original, lock, taken_at) if lock else None

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink()
        self._lock.release()

    def move(self, target: Path) -> Path:
        """Move the file; returns where it is, see ``whole_files.move``."""
        moved = move(self.path, target)
        self._lock.release()
        return moved

    def ends_move(self, target: Path) -> bool:
        """Remove the old name of a file that an earlier process has moved, killed before that.

        Returns:
            False if the file was not moved to the target.
        """
        is_moved = ends_move(self.path, target)
        if is_moved:
            self._lock.release()
        return is_moved

    def ends_release(self) -> bool:
        """Remove the hidden name of a file that an earlier process has given back, likewise.

        Returns:
            False if the file was not given back.
        """
        if not is_same(self.path, self.original):
            return False
        self.remove()
        return True

    def release(self) -> None:
        """Give the file its name back, unless another one has it by now.

        Then it keeps its hidden name, under which the next process finds it.
        """
        with suppress(FileExistsError):
            rename_new(self.path, self.original)
        self._lock.release()
