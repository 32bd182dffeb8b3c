"""One Parquet file with a row per detection (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from yolo_service.errors import ConfigurationError
from yolo_service.formats.columns import columns
from yolo_service.inputs.item import Item
from yolo_service.outputs.document import HiddenFile
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.output import Acknowledge
from yolo_service.outputs.rows import OF_FRAMES
from yolo_service.predictor.answer import Answer

ROWS = 50_000
"""In memory before they are written, and in a group of the file."""

_NAMES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("model", _NAMES),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", _NAMES),
        ("class_id", pa.int32()),
        ("confidence", pa.float32()),
        *((side, pa.float32()) for side in ("left", "top", "right", "bottom")),
        ("time", pa.float64()),  # these of the frames of videos, else null
        ("frame", pa.int64()),
    ]
)


def open_output(sink: str, options: OutputOptions) -> ParquetOutput:
    """Open a file.

    Raises:
        ConfigurationError: the file exists or is no such file, or a format was asked for.
        OutputError: it cannot be written to, or another process writes to it.
    """
    if options.format:
        raise ConfigurationError(
            f"a Parquet file has columns of its own; leave --format out: {sink}"
        )
    return ParquetOutput(Path(sink), resume=options.resume)


class ParquetOutput:
    """An ``Output``: a table, which appears when it is complete."""

    needs_image = needs_sha256 = False

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._rows: list[dict[str, Any]] = []
        self._files: set[str] = set()
        self._waiting: list[Acknowledge] = []
        self._found_at = path.stat().st_mtime if path.exists() else 0.0
        self._place = HiddenFile(path, resume=resume)
        try:
            self._writer = pq.ParquetWriter(self._place.hidden, SCHEMA)
            if path.exists():
                self._read_back(path)
        except OSError as error:
            raise self._place.broken(error) from error

    def has(self, item: Item) -> bool:
        """Look for an item among those of the file when it was opened."""
        return item.owns_result_of(self._found_at) and item.name in self._files

    def encode(self, item: Item, answer: Answer) -> list[dict[str, Any]]:
        """Make the rows of an item."""
        table = columns(answer)
        common = {
            "file": item.name.encode(errors="replace").decode(),
            "model": answer.model,
            "width": answer.width,
            "height": answer.height,
            **{name: item.details.get(name) for name in OF_FRAMES},
        }
        return [
            {**common, "label": label, "class_id": number, "confidence": score}
            | dict(zip(("left", "top", "right", "bottom"), corners, strict=True))
            for label, number, score, corners in zip(
                table.labels, table.class_ids, table.scores, table.corners, strict=True
            )
        ]

    def put(self, _: Item, encoded: list[dict[str, Any]], acknowledge: Acknowledge) -> None:
        """Add rows.

        Raises:
            OutputError: the disk is full.
        """
        self._rows += encoded
        self._waiting.append(acknowledge)
        if len(self._rows) >= ROWS:
            self._write()

    def put_error(self, _: Item, __: Exception, acknowledge: Acknowledge) -> None:
        """Acknowledge at the end; the table has no place for errors."""
        self._waiting.append(acknowledge)

    def flush(self) -> None:
        """Do nothing: the file appears at the end."""

    def close(self) -> None:
        """Write the last rows, and let the file appear.

        Raises:
            OutputError: the disk is full.
        """
        self._write()
        try:
            self._writer.close()
        except OSError as error:
            raise self._place.broken(error) from error
        self._place.publish(self._waiting)

    def abort(self) -> None:
        """Leave the file as it was."""
        self._writer.close()
        self._place.remove()

    def _write(self) -> None:
        rows, self._rows = self._rows, []
        try:
            if rows:
                self._writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        except OSError as error:
            raise self._place.broken(error) from error

    def _read_back(self, path: Path) -> None:
        try:
            for table in _groups(path):
                self._files |= set(table["file"].to_pylist())
                self._writer.write_table(table.cast(SCHEMA))
        except (pa.ArrowInvalid, KeyError, ValueError) as error:
            self.abort()
            raise ConfigurationError(
                f"{path} is no table of results: {error}; remove it"
            ) from error


def _groups(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)
