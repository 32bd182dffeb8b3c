"""What is in the frames of a video, as tables: one row per frame, and statistics of its columns."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]
STATISTICS = ("count", "mean", "std", "min", "25%", "50%", "75%", "max")
_NAN = float("nan")


class FrameRow(NamedTuple):
    """What is in a frame.

    Attributes:
        frame: its number in the video, from 0.
        time: seconds since the first frame.
        counts: objects by class, without zeros.
        confidence: mean of all objects; NaN without any.
        sharpness: see ``inputs.videos.sharpness``; NaN if it was not measured.
    """

    frame: int
    time: float
    counts: Mapping[str, int]
    confidence: float = _NAN
    sharpness: float = _NAN


class VideoTable:
    """The rows of a video; 40 bytes a frame, and 16 for each class that is in it."""

    def __init__(self) -> None:
        self._fixed = {
            name: array("d") for name in ("frame", "time", "objects", "confidence", "sharpness")
        }
        self._classes: dict[str, tuple[array[int], array[int]]] = {}

    def __len__(self) -> int:
        return len(self._fixed["frame"])

    def add(self, row: FrameRow) -> None:
        """Append a row."""
        for name, count in row.counts.items():
            rows, counts = self._classes.setdefault(name, (array("q"), array("q")))
            rows.append(len(self))
            counts.append(count)
        values = (row.time, float(sum(row.counts.values())), row.confidence, row.sharpness)
        for name, value in zip(self._fixed, (float(row.frame), *values), strict=True):
            self._fixed[name].append(value)

    @property
    def times(self) -> Column:
        """Seconds of each row."""
        return np.array(self._fixed["time"], np.float64)

    @property
    def classes(self) -> list[str]:
        """Classes of which there is an object, those with most of them first."""
        total = {name: sum(counts) for name, (_, counts) in self._classes.items()}
        return sorted(total, key=lambda name: (-total[name], name))

    def counts(self, name: str) -> Column:
        """Return the number of objects of a class in each row."""
        column = np.zeros(len(self))
        rows, counts = self._classes[name]
        column[np.array(rows, np.int64)] = counts
        return column

    def frames_csv(self) -> bytes:
        """Return the rows: frame, time, objects, confidence, sharpness and a column per class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = self._columns()
        writer.writerow(columns)
        whole = {"frame", "objects", *self._classes}
        cells = [
            [_cell(value, name in whole) for value in values] for name, values in columns.items()
        ]
        writer.writerows(zip(*cells, strict=True))
        return text.getvalue().encode(errors="replace")

    def statistics_csv(self) -> bytes:
        """Return count, mean, standard deviation, minimum, quartiles and maximum of each column.

        They are those of ``describe`` of the package pandas: cells without a value do not count,
        the deviation is that of a sample, quartiles are interpolated.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = self._columns()
        described = [describe(column) for column in columns.values()]
        writer.writerow(["", *columns])
        for name, values in zip(STATISTICS, zip(*described, strict=True), strict=True):
            writer.writerow([name, *(_cell(value, is_whole=False) for value in values)])
        return text.getvalue().encode(errors="replace")

    def _columns(self) -> dict[str, Column]:
        fixed = {name: np.array(values, np.float64) for name, values in self._fixed.items()}
        return fixed | {name: self.counts(name) for name in self.classes}


def describe(column: Column) -> list[float]:
    """Return the values of ``STATISTICS``; NaN for those that need more values."""
    values = column[~np.isnan(column)]
    if not len(values):
        return [0.0, *[_NAN] * (len(STATISTICS) - 1)]
    deviation = float(values.std(ddof=1)) if len(values) > 1 else _NAN
    points = [float(value) for value in np.percentile(values, (0, 25, 50, 75, 100))]
    return [float(len(values)), float(values.mean()), deviation, *points]


def _cell(value: float, is_whole: bool) -> str:
    if np.isnan(value):
        return ""
    return str(int(value)) if is_whole else repr(float(value))
