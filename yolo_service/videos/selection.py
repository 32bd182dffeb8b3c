"""Which frames of a video are used: those that are shown at given times."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeVar


class Timed(Protocol):
    """A frame.

    Attributes:
        begins: earliest time in seconds at which it is shown: half a unit of its clock before its
            time stamp, which was rounded to that unit.
        ends: when it is not shown any more, if it is the last frame.
    """

    @property
    def begins(self) -> Fraction: ...  # noqa: D102

    @property
    def ends(self) -> Fraction: ...  # noqa: D102


F = TypeVar("F", bound=Timed)


@dataclass(frozen=True)
class Selection:
    """Which frames are used; without ``every`` and ``count`` all.

    Attributes:
        every: seconds between two frames.
        count: how many frames: those in the middles of so many equal parts of the duration.
    """

    every: Fraction | None = None
    count: int | None = None

    @property
    def needs_duration(self) -> bool:
        """Whether ``of`` uses the duration."""
        return self.count is not None

    def of(self, frames: Iterable[F], start: Fraction, duration: Fraction) -> Iterator[F]:
        """Yield the frames that are wanted, each once.

        Args:
            frames: all frames of a video by time.
            start: time of the first one.
            duration: of the video in seconds.
        """
        if self.count is not None:
            part = duration / self.count
            middles = (start + (number + Fraction(1, 2)) * part for number in range(self.count))
            return shown_at(frames, middles)
        if self.every is not None:
            every = self.every
            return shown_at(frames, (number * every for number in itertools.count()))
        return iter(frames)


def shown_at(frames: Iterable[F], times: Iterator[Fraction]) -> Iterator[F]:
    """Yield the frames that are shown at rising times; one once, however many times it covers.

    The first frame is shown at all times before it, too. No more frames are taken than needed.
    """
    wanted, shown = next(times, None), None
    for frame in frames:
        if shown is not None and wanted is not None and wanted < frame.begins:
            yield shown
            wanted = next((time for time in times if time >= frame.begins), None)
        if wanted is None:
            return
        shown = frame
    if shown is not None and wanted is not None and wanted < shown.ends:
        yield shown
