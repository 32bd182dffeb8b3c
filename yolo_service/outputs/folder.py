"""A folder with one file per item, in the item's relative place."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from yolo_service.errors import OutputError
from yolo_service.inputs.aside import ERROR_SUFFIX
from yolo_service.inputs.item import Item
from yolo_service.outputs.contents import Content
from yolo_service.outputs.output import Acknowledge, StaysWhenPut
from yolo_service.predictor.answer import Answer
from yolo_service.whole_files import HiddenFolder, suffixed, sync_folder


class _Written(NamedTuple):
    """A file that is on the disk under a hidden name, and the name that it gets."""

    hidden: Path
    name: str


class FolderOutput(StaysWhenPut):
    """An ``Output``: a file for each item.

    A file is written under a hidden name and synced to the disk by the predictor's workers, then
    renamed; its folder is synced when the output is flushed, and only then it is acknowledged.
    """

    needs_sha256 = False

    def __init__(self, root: Path, content: Content, *, keeps_errors: bool = True) -> None:
        """Open a folder, which is made if it does not exist.

        Args:
            root: the folder.
            content: what its files hold.
            keeps_errors: whether an item that has failed gets a file with its error.

        Raises:
            OutputError: it cannot be written to.
        """
        self._root, self._content, self._keeps_errors = root, content, keeps_errors
        self._folders: set[Path] = set()
        self._renamed: list[Acknowledge] = []
        try:
            self._hidden = HiddenFolder(root)
        except OSError as error:
            raise self._broken(error) from error

    @property
    def needs_image(self) -> bool:
        """Whether images are drawn on."""
        return self._content.needs_image

    def has(self, item: Item) -> bool:
        """Look for the file of an item."""
        try:
            found = (self._root / self._content.name(item)).stat()
        except OSError:
            return False
        return item.owns_result_of(found.st_mtime)

    def encode(self, item: Item, answer: Answer) -> _Written:
        """Write the file of an item under a hidden name.

        Raises:
            OutputError: it cannot be written.
        """
        return self._write(self._content.name(item), self._content.encode(item, answer))

    def put(self, item: Item, encoded: _Written, acknowledge: Acknowledge) -> None:
        """Give the file its name.

        Raises:
            OutputError: that is not possible.
        """
        # The error goes first: a kill in between leaves an item to be tried again, not both.
        (self._root / suffixed(item.name, ERROR_SUFFIX)).unlink(missing_ok=True)
        self._publish(encoded, acknowledge)

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Write a file with the error, beside where the result would be.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._keeps_errors:
            self._renamed.append(acknowledge)
            return
        text = f"{item.origin}: {error}\n".encode(errors="replace")
        self._publish(self._write(suffixed(item.name, ERROR_SUFFIX), text), acknowledge)

    def flush(self) -> None:
        """Sync the folders in which files were renamed, and acknowledge these.

        Raises:
            OutputError: that is not possible.
        """
        try:
            while self._folders:
                sync_folder(self._folders.pop())
        except OSError as error:
            raise self._broken(error) from error
        renamed, self._renamed = self._renamed, []
        for acknowledge in renamed:
            acknowledge()

    def close(self) -> None:
        """Flush, and remove the hidden folder."""
        self.flush()
        self._hidden.remove()

    def abort(self) -> None:
        """Remove the hidden folder."""
        self._hidden.remove()

    def _write(self, name: str, data: bytes) -> _Written:
        try:
            return _Written(self._hidden.write(data), name)
        except OSError as error:
            raise self._broken(error) from error

    def _publish(self, written: _Written, acknowledge: Acknowledge) -> None:
        target = self._root / written.name
        try:
            if target.parent not in self._folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(target.parent)
            written.hidden.replace(target)
        except OSError as error:
            raise self._broken(error) from error
        self._renamed.append(acknowledge)

    def _broken(self, error: OSError) -> OutputError:
        return OutputError(f"{self._root} cannot be written to: {error}")
