"""How far a run is: a line that is drawn again on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import shutil
import sys
import time

import click

from yolo_service.results import Progress

log = logging.getLogger(__name__)

LOG_SECONDS = 60.0
DRAW_SECONDS = 0.1


class ProgressLine:
    """Shows the numbers of a run on standard error.

    Args:
        total: items of the run; None: unknown.
        is_drawn: whether a line is drawn; else one is logged each ``LOG_SECONDS``.
    """

    def __init__(self, total: int | None, *, is_drawn: bool) -> None:
        self._total, self._is_drawn = total, is_drawn
        self._began = self._shown = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Show the numbers, if it is time to."""
        now = time.monotonic()
        if now - self._shown < (DRAW_SECONDS if self._is_drawn else LOG_SECONDS):
            return
        self._shown = now
        text = self.text(progress, now - self._began)
        if self._is_drawn:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r{text[:width]:{width}}", err=True, nl=False)
        else:
            log.info("%s", text)

    def text(self, progress: Progress, seconds: float) -> str:
        """Return the numbers, the rate and the time that is left."""
        rate = progress.total / max(seconds, 1e-9)
        parts = [
            f"{progress.total} of {self._total}" if self._total else f"{progress.total} images"
        ]
        if self._is_drawn and self._total:
            parts.insert(0, _bar(progress.total / self._total))
        parts += [f"{progress.failed} failed"] if progress.failed else []
        parts += [f"{rate:.1f} images/s"]
        if self._total and rate:
            parts += [f"{_clock((self._total - progress.total) / rate)} left"]
        return ", ".join(parts)

    def end(self, progress: Progress) -> None:
        """Print how many items have ended, and how."""
        if self._is_drawn:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r{'':{width}}\r", err=True, nl=False)
        seconds = time.monotonic() - self._began
        click.echo(f"{summary(progress)} in {_clock(seconds)}", err=True)


def summary(progress: Progress) -> str:
    """Return how many items have ended, and how."""
    images = "1 image" if progress.total == 1 else f"{progress.total} images"
    skipped = f", {progress.skipped} skipped" if progress.skipped else ""
    return f"{images}: {progress.done} done, {progress.failed} failed{skipped}"


def can_draw(*, prints: bool) -> bool:
    """Return whether a line can be drawn without disturbing results that are printed, if any."""
    return sys.stderr.isatty() and not (prints and sys.stdout.isatty())


def _bar(share: float) -> str:
    done = min(20, int(20 * share))
    return f"[{'#' * done}{'-' * (20 - done)}] {share:.0%}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
