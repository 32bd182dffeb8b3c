"""Answers as rows of one file or stream: JSON documents, lines of CSV, lines for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from yolo_service.errors import ConfigurationError
from yolo_service.formats import FORMATS, counts
from yolo_service.formats.json import to_json
from yolo_service.formats.objects import objects
from yolo_service.formats.rois import COLUMNS, roi_rows
from yolo_service.inputs.item import Item
from yolo_service.predictor.answer import Answer

OF_FRAMES = ("time", "frame")
"""Details of the frames of videos, empty for images: seconds, and the number from 0."""
_FIRST_FRAME = b'{"frame_id":1,'


class Rows(Protocol):
    """Makes rows, each with a line's end; an item may have none."""

    @property
    def header(self) -> bytes:
        """What precedes the first row."""

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return the rows of an answer."""

    def error(self, item: Item, error: Exception) -> list[bytes]:
        """Return the rows of an item that has failed."""

    def numbered(self, rows: list[bytes], number: int) -> list[bytes]:
        """Return rows as those of the item of this number, counted from 1."""

    def key(self, item: Item) -> str:
        """Return what the rows of an item are called by."""

    def is_whole(self, row: bytes) -> bool:
        """Return whether a row that was read back has its end."""

    def key_of(self, row: bytes) -> str | None:
        """Return what a row that was read back is called by; None if it is an error, or no row."""


def json_rows(form: str) -> Rows:
    """Return the rows of a format as JSON documents.

    Raises:
        ConfigurationError: the format is no JSON.
    """
    if not FORMATS[form].is_json:
        raise ConfigurationError(
            f"--format {form} is for one image a file; expected --to FOLDER, or another format"
        )
    return CocoRows() if form == "coco" else JsonRows(form)


class OneLineRows:
    """What most rows have in common: each is a line, and there is no header."""

    header = b""

    def error(self, item: Item, error: Exception) -> list[bytes]:  # noqa: ARG002
        """Return no row."""
        return []

    def numbered(self, rows: list[bytes], number: int) -> list[bytes]:  # noqa: ARG002
        """Return the rows."""
        return rows

    def key(self, item: Item) -> str:
        """Return the item's name."""
        return _text(item.name)

    def is_whole(self, row: bytes) -> bool:
        """Look for the line's end."""
        return row.endswith(b"\n")


class JsonRows(OneLineRows):
    """``Rows``: a JSON object per item, with the member ``file`` unless its format has one."""

    def __init__(self, form: str) -> None:
        self._make = FORMATS[form].make
        self._member = "filename" if form == "darknet-json" else "file"

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return one row."""
        value = self._make(answer)
        members = value if isinstance(value, dict) else {"detections": value}
        if self._member in members:  # it keeps its place
            return [to_json({**members, self._member: _text(item.origin), **item.details})]
        return [to_json({self._member: _text(item.origin), **item.details, **members})]

    def error(self, item: Item, error: Exception) -> list[bytes]:
        """Return one row."""
        return [to_json({self._member: _text(item.origin), "error": str(error)})]

    def numbered(self, rows: list[bytes], number: int) -> list[bytes]:
        """Return rows with their ``frame_id``."""
        return [row.replace(_FIRST_FRAME, b'{"frame_id":%d,' % number, 1) for row in rows]

    def key(self, item: Item) -> str:
        """Return where the item is from."""
        return _with_frame(_text(item.origin), item.details)

    def key_of(self, row: bytes) -> str | None:
        """Return the member that says where an item is from."""
        found = _key_of(row, self._member)
        return found and _with_frame(found, orjson.loads(row))


class CocoRows(OneLineRows):
    """``Rows``: a JSON object per detection; those of frames have their time and number, too."""

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return a row for each detection."""
        frame = {name: item.details[name] for name in OF_FRAMES if name in item.details}
        return [to_json({**found, **frame}) for found in FORMATS["coco"].make(answer)]

    def key_of(self, row: bytes) -> str | None:
        """Return the name of the image."""
        return _key_of(row, "file_name")


class CsvRows(OneLineRows):
    """``Rows``: a line of CSV per detection, in the format ``rois`` with the columns of frames."""

    header = ",".join((*COLUMNS, *OF_FRAMES)).encode() + b"\r\n"

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return the rows of an item as one text: cells may have line's ends."""
        frame = tuple(item.details.get(name) for name in OF_FRAMES)
        text = io.StringIO(newline="")
        csv.writer(text).writerows((*row, *frame) for row in roi_rows(answer))
        rows = text.getvalue().encode(errors="replace")
        return [rows] if rows else []

    def is_whole(self, row: bytes) -> bool:
        """Look for a line's end that is not within a cell."""
        return row.endswith(b"\n") and row.count(b'"') % 2 == 0

    def key_of(self, row: bytes) -> str | None:
        """Return the first cell."""
        cells = next(csv.reader(io.StringIO(row.decode(errors="replace"), newline="")), [])
        return cells[0] if cells and row != self.header else None


class TextRows(OneLineRows):
    """``Rows``: lines for people."""

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return the item with its numbers of objects, and a line for each object."""
        found = [f"{count} {name}" for name, count in counts(answer).items() if count]
        time = f"  {item.details['time']:.3f} s" if "time" in item.details else ""
        size = f"{answer.width} x {answer.height}"
        head = f"{item.origin}{time}  {size}  {', '.join(found) or 'nothing'}"
        lines = [head, *(_object(each) for each in objects(answer)["detections"])]
        return [_printable(line) for line in lines]

    def error(self, item: Item, error: Exception) -> list[bytes]:
        """Return one line."""
        return [_printable(f"{item.origin}  error: {error}")]

    def key_of(self, _: bytes) -> str | None:
        """Return None: what people read is not read back."""
        return None


def _object(found: Mapping[str, Any]) -> str:
    edges = " ".join(f"{value or 0:8.1f}" for value in found["corners"].values())
    return f"  {found['label']:20} {found['confidence']:7.2%} {edges}"


def _printable(line: str) -> bytes:
    text = "".join(c if c.isprintable() else "?" for c in line)
    return f"{text}\n".encode(errors="replace")


def _text(name: str) -> str:
    """Return a name of a file as text that UTF-8 can hold."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _with_frame(origin: str, details: Mapping[str, Any]) -> str:
    """Return what tells a frame from the others of its video."""
    return f"{origin}#{details['frame']}" if "frame" in details else origin


def _key_of(row: bytes, member: str) -> str | None:
    try:
        document = orjson.loads(row)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or document.get("error") is not None:
        return None
    return document.get(member)
