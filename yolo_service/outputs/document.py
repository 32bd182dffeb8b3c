"""One JSON file with a list: COCO's results, AlexeyAB's, and lists of other formats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from yolo_service.inputs.item import Item
from yolo_service.outputs.collected import ItemRows
from yolo_service.outputs.rows import Rows
from yolo_service.predictor.answer import Answer


class Document:
    """A ``FileFormat``: a list in a JSON file, with each row on a line of its own."""

    def __init__(self, rows: Rows, form: str) -> None:
        self._rows, self.name = rows, form

    def key(self, item: Item) -> str:
        """Return what the rows of an item are called by."""
        return self._rows.key(item)

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return the rows of an answer."""
        return self._rows.encode(item, answer)

    def error(self, item: Item, error: Exception) -> list[bytes]:
        """Return the rows of an item that has failed, if the format has a place for it."""
        return self._rows.error(item, error)

    def write(self, path: Path, items: Iterable[ItemRows]) -> None:
        """Write the list."""
        number, separator = 0, b"[\n"
        with path.open("wb") as file:
            for item in items:
                number += not item.is_error
                for row in self._rows.numbered(item.rows, number):
                    file.write(separator + row)
                    separator = b",\n"
            file.write(b"[]\n" if separator == b"[\n" else b"\n]\n")

    def read(self, path: Path) -> Iterable[ItemRows]:
        """Return the items of a list.

        Raises:
            ValueError: it is no list of results in this format.
        """
        entries = orjson.loads(path.read_bytes())
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            raise ValueError("it is no list of results")
        by_key: dict[tuple[str, bool], list[bytes]] = {}
        for entry in entries:
            row, is_error = orjson.dumps(entry), "error" in entry
            key = self._rows.key_of(orjson.dumps({**entry, "error": None}) if is_error else row)
            if not key:
                raise ValueError(f"it is no list in the format {self.name}; set --format")
            by_key.setdefault((key, is_error), []).append(row)
        return [ItemRows(key, rows, is_error) for (key, is_error), rows in by_key.items()]
