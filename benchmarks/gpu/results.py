"""The figures of all parts in one JSON file, which is complete after every row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from yolo_service.whole_files import write_whole

Layers = list[tuple[int, int, int]]
"""See ``benchmarks.gpu.work``."""


@dataclass(frozen=True)
class Row:
    """What was measured in one way.

    Attributes:
        part: which part of the benchmark measured it.
        subject: the model, or what else was measured.
        way: what computed it, and how.
        precision: number type; empty where it does not matter.
        count: images in a batch, threads, or clients.
        figures: by name; empty if it could not be measured.
        note: why it could not be measured.
    """

    part: str
    subject: str
    way: str
    precision: str = ""
    count: int = 1
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What identifies the row: measuring again replaces it."""
        return self.part, self.subject, self.way, self.precision, self.count


class Results:
    """Rows in the order in which they were first measured.

    Args:
        path: the file; it need not exist.

    Attributes:
        path: the file.
        about: machine, versions and date.
        models: the layers of each model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.about: dict[str, str] = content.get("about", {})
        self.models: dict[str, Layers] = content.get("models", {})
        rows = [Row(**row) for row in content.get("rows", [])]
        self._rows = {row.key: row for row in rows}

    def rows(self, *parts: str) -> Iterator[Row]:
        """Yield the rows of some parts."""
        return (row for row in self._rows.values() if row.part in parts)

    def check_measured(self, part: str, device: str) -> None:
        """Check that a part has measured anything on a device.

        Raises:
            SystemExit: it has not; the message says why.
        """
        rows = [row for row in self.rows(part) if device in row.way]
        if rows and not any(row.figures for row in rows):
            raise SystemExit(f"bench-gpu: {part} measured nothing on {device}: {rows[0].note}")

    def put(self, row: Row) -> None:
        """Add a row, or replace the one that was measured before, and save the file."""
        self._rows[row.key] = row
        self.save()

    def save(self) -> None:
        """Write the file."""
        content = {
            "about": self.about,
            "models": self.models,
            "rows": [asdict(row) for row in self._rows.values()],
        }
        write_whole(self.path, json.dumps(content, indent=1).encode())
