"""What a file with the result of one item holds, and how it is called."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Protocol

from yolo_service.formats import FORMATS
from yolo_service.images.draw import Kind, draw_file
from yolo_service.inputs.item import Item
from yolo_service.outputs.options import OutputOptions
from yolo_service.predictor.answer import Answer
from yolo_service.whole_files import suffixed

_BY_STEM = frozenset({"voc", "yolo"})
_KINDS: dict[str, Kind] = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


class Content(Protocol):
    """Makes the file of one item."""

    @property
    def needs_image(self) -> bool:
        """Whether ``encode`` uses ``Answer.image``."""

    def name(self, item: Item) -> str:
        """Return the relative path of the file; no two items have the same."""

    def encode(self, item: Item, answer: Answer) -> bytes:
        """Return the bytes of the file."""


def content(options: OutputOptions) -> Content:
    """Return what files of an output hold; by default ``objects``."""
    return Drawing() if options.draw else Formatted(options.format or "objects")


class Formatted:
    """A ``Content``: an answer in a format.

    A file has the whole name of its item, ``cat.jpg.json``, so that ``cat.jpg`` and ``cat.png``
    have one each, also if one comes when the other is gone. Annotations that training looks for
    under the image's stem, ``cat.txt``, are called so where no other image of the folder has it.
    """

    needs_image = False

    def __init__(self, form: str) -> None:
        self._format = FORMATS[form]
        self._is_by_stem = form in _BY_STEM

    def name(self, item: Item) -> str:
        """Return the relative path of the result of an item."""
        suffix = self._format.suffix
        if self._is_by_stem and item.has_unique_stem:
            return str(PurePosixPath(item.name).with_suffix(suffix))
        return suffixed(item.name, suffix)

    def encode(self, _: Item, answer: Answer) -> bytes:
        """Return an answer in the format."""
        return self._format.encode(answer)


class Drawing:
    """A ``Content``: the image with boxes and labels, as JPEG for a JPEG, else as PNG."""

    needs_image = True

    def name(self, item: Item) -> str:
        """Return the name of the item, with ``.png`` behind it if it is neither JPEG nor PNG."""
        return item.name if _kind(item) else suffixed(item.name, ".png")

    def encode(self, item: Item, answer: Answer) -> bytes:
        """Return the annotated image."""
        return draw_file(answer.image, answer.detections, _kind(item) or "png")


def _kind(item: Item) -> Kind | None:
    return _KINDS.get(PurePosixPath(item.name).suffix.lower())
