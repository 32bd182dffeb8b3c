"""Options of ``yolo-service detect`` for videos, and what they open."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolo_service.cli.options import FOLDER
from yolo_service.errors import ConfigurationError

if TYPE_CHECKING:
    from yolo_service.inputs import Input
    from yolo_service.inputs.videos import VideoOptions
    from yolo_service.outputs import Output
    from yolo_service.outputs.options import OutputOptions


def positive(text: str) -> Fraction:
    """Read a number above 0, exactly: ``0.1``, ``30`` or ``30000/1001``."""
    try:
        number = Fraction(text)
    except (ValueError, ZeroDivisionError):
        number = Fraction(0)
    if number <= 0:
        raise click.BadParameter(f"{text} is no number above 0")
    return number


VIDEO_OPTIONS: Sequence[Any] = (
    click.option(
        "--every", type=positive, metavar="SECONDS", help="Of videos, a frame each so many seconds."
    ),
    click.option("--fps", type=positive, metavar="F", help="Of videos, so many frames a second."),
    click.option(
        "--frames",
        type=click.IntRange(1),
        help="Of videos, so many frames, evenly spaced.",
    ),
    click.option(
        "--rotate",
        type=click.Choice(["0", "90", "180", "270"]),
        default="0",
        help="Degrees clockwise to rotate the frames of videos by.",
    ),
    click.option(
        "--size",
        type=click.IntRange(1),
        help="Longest side in pixels to which larger frames of videos are reduced.",
    ),
    click.option("--save-frames", type=FOLDER, help="Folder for the frames as img_001.jpg ..."),
    click.option(
        "--report",
        help="Folder or s3:// address for tables and plots of videos; default: that of --to.",
    ),
)
"""In the order of the help."""

NAMES = ("every", "fps", "frames", "rotate", "size", "save_frames", "report")
"""Of the arguments that they give."""


def video_options(values: dict[str, Any], report: str | None) -> VideoOptions:
    """Return what the options say about the input.

    Raises:
        ConfigurationError: they contradict each other.
    """
    from yolo_service.inputs.videos import VideoOptions
    from yolo_service.videos.selection import Selection
    from yolo_service.videos.view import View

    if sum(values[name] is not None for name in ("every", "fps", "frames")) > 1:
        raise ConfigurationError("--every, --fps and --frames exclude each other; choose one")
    every = 1 / values["fps"] if values["fps"] else values["every"]
    return VideoOptions(
        Selection(every, values["frames"]),
        View(int(values["rotate"]), values["size"]),
        sharpness=report is not None,
    )


def report_place(values: dict[str, Any], sink: str | None) -> str | None:
    """Return where reports go: where the options say, else beside results in a folder."""
    from yolo_service.outputs.places import is_place

    if values["report"] or sink is None or not is_place(sink):
        return values["report"]  # type: ignore[no-any-return]
    return sink


def outputs(values: dict[str, Any], *, report: str | None, is_one_video: bool) -> list[Output]:
    """Open the outputs that take frames only.

    Args:
        values: the options.
        report: folder for reports, or prefix of a store.
        is_one_video: whether the only source is one file or address.
    """
    from yolo_service.outputs.folder import FolderOutput
    from yolo_service.outputs.places import open_place
    from yolo_service.outputs.videos import Only, Plain, Reports

    opened: list[Output] = []
    if report:
        opened.append(Only(Reports(open_place(report)), frames=True))
    if folder := values["save_frames"]:
        saved = FolderOutput(folder, Plain(is_flat=is_one_video), keeps_errors=False)
        opened.append(Only(saved, frames=True))
    return opened


def drawn(address: str, options: OutputOptions) -> list[Output]:
    """Open the outputs for annotated images and videos: a folder for both, or one video."""
    from yolo_service.outputs.drawn_videos import DrawnVideos, split_video
    from yolo_service.outputs.opening import open_output
    from yolo_service.outputs.places import open_place
    from yolo_service.outputs.videos import Only

    folder, name = split_video(address)
    images = [] if name else [Only(open_output(folder, options), frames=False)]
    return [*images, Only(DrawnVideos(open_place(folder), name), frames=True)]


def with_videos(source: Input, options: VideoOptions) -> Input:
    """Return an input with the frames of its videos."""
    from yolo_service.inputs.videos import WithVideos

    return WithVideos(source, options)


def is_one(sources: Sequence[str]) -> bool:
    """Return whether sources are one file or address."""
    return len(sources) == 1 and sources[0] != "-" and not Path(sources[0]).is_dir()
