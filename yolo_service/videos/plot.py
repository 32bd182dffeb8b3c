"""A plot of the numbers of objects over time, as SVG."""

from __future__ import annotations

import itertools
import math
from html import escape

import numpy as np

from yolo_service.videos.report import Column, VideoTable

WIDTH, HEIGHT = 960, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 180, 40, 50
MOST_LINES = 8
"""Classes with most objects, which have a line of their own."""
MOST_POINTS = 480
"""Of a line; of longer videos each point is the mean of several frames."""

COLOURS = "#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9 #000000 #999933".split()
_MAX_NAME = 20


def plot_svg(table: VideoTable, title: str) -> bytes:
    """Return a plot with a line for each of the most frequent classes.

    Args:
        table: of the video.
        title: stands above.
    """
    axes = _Axes(table)
    lines = [
        _line(axes, table.counts(name), name, number)
        for number, name in enumerate(table.classes[:MOST_LINES])
    ]
    left_out = len(table.classes) - MOST_LINES
    more = f"and {left_out} rarer classes" if left_out > 0 else ""
    more = more or ("" if lines else "no objects")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 24, title, 'font-size="15"'),
        *axes.grid(),
        *lines,
        _text(WIDTH - RIGHT + 16, _legend_y(len(lines)), more, 'fill="#555"'),
        "</svg>\n",
    ]
    return "\n".join(parts).encode(errors="replace")


class _Axes:
    """Scales of time and number, in pixels."""

    def __init__(self, table: VideoTable) -> None:
        self._size = max(1, math.ceil(len(table) / MOST_POINTS))
        self.times = self.means(table.times)
        self._first = float(self.times[0]) if len(table) else 0.0
        self._last = float(self.times[-1]) if len(table) else 0.0
        shown = (self.means(table.counts(name)) for name in table.classes[:MOST_LINES])
        self._most = max([1.0, *(float(counts.max()) for counts in shown)])

    def means(self, column: Column) -> Column:
        """Return the means of groups of rows, so that there are at most ``MOST_POINTS``."""
        starts = np.arange(0, len(column), self._size)
        counts = np.diff([*starts, len(column)])
        return np.asarray(np.add.reduceat(column, starts) / counts) if len(column) else column

    def x(self, time: float) -> float:
        """Return the place of a time."""
        length = self._last - self._first or 1.0
        return LEFT + (time - self._first) / length * (WIDTH - LEFT - RIGHT)

    def y(self, count: float) -> float:
        """Return the place of a number."""
        return HEIGHT - BOTTOM - count / self._most * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        """Return lines and labels of both axes."""
        parts = []
        for count in _ticks(0.0, self._most, 5, smallest=1.0):
            parts.append(_rule(LEFT, self.y(count), WIDTH - RIGHT, self.y(count)))
            parts.append(_text(LEFT - 8, self.y(count) + 4, f"{count:g}", 'text-anchor="end"'))
        bottom = HEIGHT - BOTTOM
        for time in _ticks(self._first, self._last, 8):
            parts.append(_rule(self.x(time), bottom, self.x(time), bottom + 5))
            parts.append(_text(self.x(time), bottom + 20, f"{time:g}", 'text-anchor="middle"'))
        middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2
        turned = f'text-anchor="middle" transform="rotate(-90 18 {centre})"'
        parts.append(_text(middle, HEIGHT - 10, "seconds", 'text-anchor="middle"'))
        parts.append(_text(18, centre, "objects", turned))
        return parts


def _line(axes: _Axes, counts: Column, name: str, number: int) -> str:
    colour = COLOURS[number % len(COLOURS)]
    points = " ".join(
        f"{axes.x(time):.1f},{axes.y(count):.1f}"
        for time, count in zip(axes.times, axes.means(counts), strict=True)
    )
    label = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
    y = _legend_y(number)
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        f'<rect x="{WIDTH - RIGHT + 16}" y="{y - 9}" width="14" height="6" fill="{colour}"/>'
        + _text(WIDTH - RIGHT + 36, y, label)
    )


def _legend_y(number: int) -> int:
    return TOP + 14 + 22 * number


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ccc"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(printable)}</text>'


def _ticks(first: float, last: float, most: int, smallest: float = 0.0) -> list[float]:
    """Return at most ``most`` + 1 round numbers within a range."""
    length = last - first
    if length <= 0:
        return [first]
    power = 10.0 ** math.floor(math.log10(length / most))
    steps = (factor * power for power in (power, 10 * power) for factor in (1, 2, 5))
    step = max(smallest, next(step for step in steps if length / step <= most))
    numbers = itertools.count(math.ceil(first / step - 1e-9))
    ticks = (round(number * step, 9) for number in numbers)
    return list(itertools.takewhile(lambda tick: tick <= last * (1 + 1e-9), ticks))
