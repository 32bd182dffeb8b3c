"""One Parquet file with a row per detection (extra ``parquet``)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from yolo_service.errors import ConfigurationError
from yolo_service.formats.columns import SIDES, detection_rows
from yolo_service.inputs.item import Item
from yolo_service.outputs.collected import CollectedFile, ItemRows
from yolo_service.outputs.options import OutputOptions
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
        *((side, pa.float32()) for side in SIDES),
        ("time", pa.float64()),  # these of the frames of videos, else null
        ("frame", pa.int64()),
        ("error", pa.string()),
    ]
)


def open_output(sink: str, options: OutputOptions) -> CollectedFile:
    """Open a file.

    Raises:
        ConfigurationError: the file exists or is no such file, or a format was asked for.
        OutputError: it cannot be written to, or another process writes to it.
    """
    if options.format:
        raise ConfigurationError(
            f"a Parquet file has columns of its own; leave --format out: {sink}"
        )
    return CollectedFile(Path(sink), Table(), resume=options.resume)


class Table:
    """A ``FileFormat``: a table with a row per detection.

    An image without detections has one row without a label, one that has failed a row with
    ``error``, so that every image can be counted.
    """

    name = "table"

    def key(self, item: Item) -> str:
        """Return the name of an item."""
        return item.name.encode(errors="replace").decode()

    def encode(self, item: Item, answer: Answer) -> list[bytes]:
        """Return the rows of an answer."""
        common = {
            "file": self.key(item),
            "model": answer.model,
            "width": answer.width,
            "height": answer.height,
            **{name: item.details[name] for name in OF_FRAMES if name in item.details},
        }
        return [orjson.dumps({**common, **row}) for row in detection_rows(answer) or [{}]]

    def error(self, item: Item, error: Exception) -> list[bytes]:
        """Return one row."""
        return [orjson.dumps({"file": self.key(item), "error": str(error)})]

    def write(self, path: Path, items: Iterable[ItemRows]) -> None:
        """Write the table, in groups of rows."""
        rows = itertools.chain.from_iterable(item.rows for item in items)
        with pq.ParquetWriter(path, SCHEMA) as writer:
            while some := list(map(orjson.loads, itertools.islice(rows, ROWS))):
                writer.write_table(pa.Table.from_pylist(some, SCHEMA))

    def read(self, path: Path) -> Iterator[ItemRows]:
        """Yield the items of a table.

        Raises:
            ValueError: it is no such table.
        """
        try:
            with pq.ParquetFile(path) as file:
                if set(file.schema_arrow.names) != set(SCHEMA.names):
                    raise ValueError("it has other columns")
            for name, rows in itertools.groupby(_rows(path), key=lambda row: row["file"]):
                for is_error, some in itertools.groupby(rows, key=lambda row: bool(row["error"])):
                    yield ItemRows(name, [orjson.dumps(row) for row in some], is_error)
        except pa.ArrowInvalid as error:
            raise ValueError(f"it is no table of results: {error}") from error


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield from file.read_row_group(number).to_pylist()
