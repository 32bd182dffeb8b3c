"""Files that appear whole or not at all, and moves that overwrite nothing."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import itertools
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from yolo_service.locks import Lock

MAX_NAME = 255
"""Bytes of a name in the file systems of Linux."""

_CLOCK_SECONDS = 2.0
"""How coarse the times of files are at worst (FAT)."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def write_whole(target: Path, data: bytes) -> None:
    """Write a file under a hidden name beside it, to the disk, and rename it.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = hidden_beside(target)
    try:
        hidden.write_bytes(data)
        publish(hidden, target)
    finally:
        hidden.unlink(missing_ok=True)


def publish(hidden: Path, target: Path) -> None:
    """Give a file that is written its name, when its contents are on the disk."""
    with hidden.open("rb+") as file:
        os.fsync(file.fileno())
    hidden.replace(target)
    sync_folder(target.parent)


def hidden_beside(target: Path) -> Path:
    """Return a hidden name in the folder of a file, always the same one.

    So who tries again replaces what a killed process has left.
    """
    return target.with_name(suffixed(f".{target.name}", ".part"))


def write_synced(path: Path, data: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    with suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)


def suffixed(name: str, suffix: str) -> str:
    """Return a relative path with a suffix behind its name, which is cut where it is too long.

    What is cut off is replaced by its hash, so that different names stay different.
    """
    parent, slash, last = name.rpartition("/")
    encoded = os.fsencode(last)
    if len(encoded) + len(suffix) > MAX_NAME:
        kept = encoded[: MAX_NAME - len(suffix) - 17].decode(errors="ignore")
        last = f"{kept}-{hashlib.sha256(encoded).hexdigest()[:16]}"
    return f"{parent}{slash}{last}{suffix}"


def free_name(target: Path, source: Path | None = None) -> Path:
    """Return a path that does not exist: this one, or one with a number, ``cat-2.jpg``.

    One that is the source itself counts as free: see ``ends_move``.
    """
    names = (target.with_name(f"{target.stem}-{n}{target.suffix}") for n in itertools.count(2))
    return next(
        path
        for path in itertools.chain([target], names)
        if not os.path.lexists(path) or (source and is_same(source, path))
    )


def ends_move(source: Path, target: Path) -> bool:
    """Remove the old name of a file that has its new one, too; returns False if it has not.

    So a process leaves it that is killed while it moves the file.

    Raises:
        OSError: it cannot be removed.
    """
    moved = free_name(target, source)
    if not os.path.lexists(moved):
        return False
    _remove_moved(source, moved)
    return True


def _remove_moved(source: Path, target: Path) -> None:
    _hidden_copy(source, target).unlink(missing_ok=True)
    source.unlink()


def is_same(path: Path, other: Path) -> bool:
    """Return whether two names are of one file, or of its copy in another file system."""
    try:
        one, two = path.lstat(), other.lstat()
        if one.st_dev == two.st_dev:
            return one.st_ino == two.st_ino
        is_as_old = abs(one.st_mtime - two.st_mtime) < _CLOCK_SECONDS
        return is_as_old and filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False


def move(source: Path, target: Path) -> Path:
    """Move a file, into another file system too; returns where it is: see ``free_name``.

    Raises:
        OSError: it cannot be moved, and is where it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        free = free_name(target, source)
        with suppress(FileExistsError):  # another process was faster
            _rename_or_copy(source, free)
            return free


def _rename_or_copy(source: Path, target: Path) -> None:
    try:
        rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_and_remove(source, target)


def rename_new(source: Path, target: Path) -> None:
    """Rename a file within a file system. A kill in between leaves it with both names.

    Raises:
        FileExistsError: the target exists, and is another file.
        OSError: EXDEV for another file system.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        if not is_same(source, target):
            raise
        _remove_moved(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from error
        source.rename(target)
    else:
        source.unlink()


def _copy_and_remove(source: Path, target: Path) -> None:
    hidden = _hidden_copy(source, target)
    hidden.unlink(missing_ok=True)  # it may be a second name of a file that was moved
    try:
        with source.open("rb") as read, hidden.open("xb") as written:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())
        shutil.copystat(source, hidden)
        rename_new(hidden, target)
    finally:
        hidden.unlink(missing_ok=True)
    sync_folder(target.parent)
    source.unlink()


def _hidden_copy(source: Path, target: Path) -> Path:
    """Return the hidden name of the copy of a file: others may copy to the same target."""
    mark = hashlib.sha256(os.fsencode(source.absolute())).hexdigest()[:8]
    return hidden_beside(target.with_name(f"{target.name}.{mark}"))


class HiddenFolder:
    """A hidden folder in which files are written before they are renamed into their places.

    Its process locks it; those of processes that are gone are removed.

    Args:
        root: folder in which it is made.
    """

    PREFIX = ".yolo-service-"

    def __init__(self, root: Path) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made.
        """
        root.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned(root)
        self._lock: Lock | None = None
        while self._lock is None:  # until it is locked, another process may remove it
            self.path = Path(tempfile.mkdtemp(dir=root, prefix=self.PREFIX))
            self._lock = _lock_of(self.path)
        self._numbers = itertools.count()

    def write(self, data: bytes) -> Path:
        """Write a file to the disk; called by several threads.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path / f"{next(self._numbers)}.part"
        write_synced(path, data)
        return path

    def remove(self) -> None:
        """Remove the folder with what was not renamed."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock:
            self._lock.release()
            self._lock = None

    def _remove_abandoned(self, root: Path) -> None:
        for path in root.glob(f"{self.PREFIX}*"):
            if lock := _lock_of(path):
                shutil.rmtree(path, ignore_errors=True)
                lock.release()


def _lock_of(path: Path) -> Lock | None:
    """Lock a hidden folder; None if a process has it, or it is gone, or another user's."""
    try:
        lock = Lock.take(path)
    except (FileNotFoundError, PermissionError):
        return None
    if lock and not lock.is_on(path):
        lock.release()
        return None
    return lock
