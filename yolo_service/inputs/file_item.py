"""An image in a file, and what happens to the file when the item has ended."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from yolo_service.errors import InputError, ItemError
from yolo_service.inputs.aside import write_error
from yolo_service.inputs.claims import Claim
from yolo_service.inputs.item import Item
from yolo_service.inputs.options import InputOptions
from yolo_service.predictor.job import Image
from yolo_service.videos.content import HEAD_BYTES, is_video
from yolo_service.whole_files import free_name, move


@dataclass(eq=False)
class FileItem(Item):
    """An image in a file.

    Attributes:
        path: where it was found.
        options: say what happens to the file.
        claim: the hold on it, if this run deletes or moves files.
        data: its bytes, if they were read already.
        fault: why it cannot be read, if that is known already.
        stays: called before a failed file is seen again where it was.
    """

    path: Path = Path()
    options: InputOptions = field(default_factory=InputOptions)
    claim: Claim | None = None
    data: bytes | None = None
    fault: str | None = None
    stays: Callable[[], None] = lambda: None

    @property
    def place(self) -> Path:
        """Where the file is now."""
        return self.claim.path if self.claim else self.path

    @property
    def address(self) -> str | None:
        """The absolute path of the file."""
        return None if self.fault else str(self.place.absolute())

    def read(self) -> Image:
        """Return the bytes of the file."""
        if self.fault:
            raise ItemError(self.fault)
        data, self.data = self.data, None
        return self.place.read_bytes() if data is None else data

    def video_file(self) -> Path | None:
        """Return where the file is now if it is a video; else keep what was read for ``read``."""
        if self.fault:
            return None
        try:
            with self.place.open("rb", buffering=0) as file:
                head = file.read(HEAD_BYTES)
                if is_video(head, self.name):
                    return self.place
                if self.data is None:
                    self.data = head + file.readall()
        except OSError:
            pass  # read() raises it again
        return None

    def computed(self) -> None:
        """Forget the bytes, which nobody has read if there was a result."""
        self.data = None

    def done(self) -> None:
        """Move or delete the file, if that was asked for."""
        if not self.claim:
            return
        try:
            if self.options.move_to:
                self.claim.move(self.options.move_to / self.name)
            else:
                self.claim.remove()
        except OSError as error:
            raise self._stuck(error) from error

    def failed(self, error: Exception) -> None:
        """Put the file aside with its error, or leave it where it is."""
        try:
            if self.options.failed_to:
                self._put_aside(self.options.failed_to / self.name, error)
            else:
                self.stays()
                self.release()
        except OSError as problem:
            raise self._stuck(problem) from problem

    def release(self) -> None:
        """Give the file its name back."""
        if self.claim:
            self.claim.release()

    def _put_aside(self, target: Path, error: Exception) -> None:
        if not self.place.exists():
            return  # it has vanished, which is its error
        target = free_name(target, self.place)
        write_error(target, f"{self.origin}: {error}")
        if self.claim:
            self.claim.move(target)
        else:
            move(self.path, target)

    def _stuck(self, error: OSError) -> InputError:
        return InputError(f"{self.origin} has ended, but cannot be moved or deleted: {error}")


_TOO_LONG = "has a name too long to be claimed, which needs 18 bytes more; choose a shorter one"


def file_item(
    path: Path,
    name: str,
    options: InputOptions,
    *,
    has_unique_stem: bool = False,
    data: bytes | None = None,
    stays: Callable[[], None] = lambda: None,
) -> FileItem | None:
    """Make the item of a file, and claim it if this run deletes or moves files.

    Returns:
        None if another process is faster.

    Raises:
        InputError: it cannot be claimed.
    """
    claim = None
    if options.takes_away:
        try:
            claim = Claim.take(path)
        except ItemError as error:
            return FileItem(
                name, str(path), path=path, options=options, fault=str(error), stays=stays
            )
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return FileItem(
                    name, str(path), path=path, options=options, fault=_TOO_LONG, stays=stays
                )
            raise InputError(
                f"{path} cannot be renamed, which is how it is taken before it is moved or "
                f"deleted: {error}; check the permissions of its folder"
            ) from error
        if claim is None:
            return None
    return FileItem(
        name,
        str(path),
        has_unique_stem=has_unique_stem and claim is None,
        path=path,
        options=options,
        claim=claim,
        data=data,
        stays=stays,
    )


def abandoned_item(hidden: Path, name: str, options: InputOptions) -> FileItem | None:
    """Make the item of a file that a process had claimed which is gone.

    Returns:
        None if that process lives, or was killed when it had moved the file or given it back.

    Raises:
        InputError: a moved file cannot be removed from where it was.
    """
    claim = Claim.take_over(hidden)
    if claim is None:
        return None
    try:
        places = (options.move_to, options.failed_to)
        if claim.ends_release() or any(claim.ends_move(place / name) for place in places if place):
            return None
    except OSError as error:
        raise InputError(f"{hidden} cannot be deleted: {error}") from error
    path = claim.original
    return FileItem(name, str(path), claim.taken_at, path=path, options=options, claim=claim)
