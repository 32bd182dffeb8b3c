"""Outputs for the frames of videos: images of them, reports, and videos with what was found."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo_service.errors import OutputError
from yolo_service.formats import counts
from yolo_service.images.draw import draw, encode
from yolo_service.inputs.item import Item
from yolo_service.inputs.videos import FrameItem, Video
from yolo_service.outputs.output import Acknowledge, Output
from yolo_service.predictor.answer import Answer
from yolo_service.videos.plot import plot_svg
from yolo_service.videos.report import FrameRow, VideoTable
from yolo_service.whole_files import suffixed, write_whole

if TYPE_CHECKING:
    from yolo_service.videos.writer import TimedFrame, VideoWriter

log = logging.getLogger(__name__)

WRITTEN_SUFFIXES = frozenset((".m4v", ".mkv", ".mov", ".mp4", ".ts", ".webm"))
"""Of videos that can be written, see ``videos.writer.FORMATS``."""


class Only:
    """An ``Output``: another one that gets only frames, or only what is none.

    Args:
        output: the other one.
        frames: which of both.
    """

    def __init__(self, output: Output, *, frames: bool) -> None:
        self._output, self._frames = output, frames
        self.needs_image, self.needs_sha256 = output.needs_image, output.needs_sha256

    def has(self, item: Item) -> bool:
        """Return whether there is nothing to do for an item."""
        return not self._takes(item) or self._output.has(item)

    def encode(self, item: Item, answer: Answer) -> Any:
        """Encode for the other one."""
        return self._output.encode(item, answer) if self._takes(item) else None

    def put(self, item: Item, encoded: Any, acknowledge: Acknowledge) -> None:
        """Put into the other one, or acknowledge."""
        if self._takes(item):
            self._output.put(item, encoded, acknowledge)
        else:
            acknowledge()

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Put into the other one, or acknowledge."""
        if self._takes(item):
            self._output.put_error(item, error, acknowledge)
        else:
            acknowledge()

    def flush(self) -> None:
        """Flush the other one."""
        self._output.flush()

    def close(self) -> None:
        """Close the other one."""
        self._output.close()

    def abort(self) -> None:
        """Abort the other one."""
        self._output.abort()

    def _takes(self, item: Item) -> bool:
        return isinstance(item, FrameItem) == self._frames


class Plain:
    """A ``Content``: the image itself as JPEG.

    Args:
        is_flat: whether all frames are of one video, so that their names need no folder.
    """

    needs_image = True

    def __init__(self, *, is_flat: bool) -> None:
        self._is_flat = is_flat

    def name(self, item: Item) -> str:
        """Return the name of the item, which is that of a JPEG."""
        return item.name.rpartition("/")[2] if self._is_flat else item.name

    def encode(self, _: Item, answer: Answer) -> bytes:
        """Return a JPEG."""
        return encode(answer.image, "jpeg")


class Reports:
    """An ``Output`` of frames: for each video ``frames.csv``, ``statistics.csv``, ``counts.svg``.

    They are written when the video ends, and its last frame is acknowledged after that.
    """

    needs_image, needs_sha256 = False, False

    def __init__(self, root: Path) -> None:
        self._root = root
        self._video: Video | None = None
        self._table = VideoTable()

    def has(self, item: Item) -> bool:
        """Look for the file that is written last."""
        return isinstance(item, FrameItem) and _is_there(self._file(item, "statistics.csv"), item)

    def encode(self, item: Item, answer: Answer) -> FrameRow:
        """Count the objects."""
        found, details = answer.detections.scores, item.details
        confidence = round(float(np.mean(found)), 6) if len(found) else float("nan")
        by_class = {name: count for name, count in counts(answer).items() if count}
        sharpness = details.get("sharpness", float("nan"))
        return FrameRow(details["frame"], details["time"], by_class, confidence, sharpness)

    def put(self, item: Item, encoded: FrameRow, acknowledge: Acknowledge) -> None:
        """Add a row.

        Raises:
            OutputError: the report cannot be written.
        """
        self._table_of(item).add(encoded)
        self._end(item, acknowledge)

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:  # noqa: ARG002
        """End the report, if the video ends here."""
        self._table_of(item)
        self._end(item, acknowledge)

    def flush(self) -> None:
        """Do nothing: reports are written when videos end."""

    def close(self) -> None:
        """Tell that a video was not read to its end."""
        if self._video:
            log.warning("%s has no report: it was not read to its end", self._video.item.origin)

    def abort(self) -> None:
        """Do nothing: nothing is half written."""

    def _table_of(self, item: Item) -> VideoTable:
        video = _frame(item).video
        if video is not self._video:
            self._video, self._table = video, VideoTable()
        return self._table

    def _end(self, item: Item, acknowledge: Acknowledge) -> None:
        if _frame(item).is_last:
            if len(self._table):
                self._write(item)
            self._video, self._table = None, VideoTable()
        acknowledge()

    def _write(self, item: Item) -> None:
        title = f"Objects in {_frame(item).video.item.name}"
        try:
            write_whole(self._file(item, "frames.csv"), self._table.frames_csv())
            write_whole(self._file(item, "counts.svg"), plot_svg(self._table, title))
            write_whole(self._file(item, "statistics.csv"), self._table.statistics_csv())
        except OSError as error:
            raise OutputError(f"{self._root} cannot be written to: {error}") from error

    def _file(self, item: Item, name: str) -> Path:
        return self._root / _frame(item).video.name / name


class DrawnVideos:
    """An ``Output`` of frames: for each video one with what was found drawn on its frames.

    It has the times of the frames that were used, and the sound as it is. It is written when the
    video ends, and its last frame is acknowledged after that.

    Args:
        place: a folder, or the file of the one video that there is.
    """

    needs_image, needs_sha256 = True, False

    def __init__(self, place: Path) -> None:
        self._place, self._is_file = place, is_video_file(place)
        self._video: Video | None = None
        self._written: Video | None = None
        self._writer: VideoWriter | None = None

    def has(self, item: Item) -> bool:
        """Look for the video."""
        return isinstance(item, FrameItem) and _is_there(self._target(item.video), item)

    def encode(self, item: Item, answer: Answer) -> tuple[TimedFrame, Any]:
        """Draw on a frame, and keep its image: so the frames that wait here are bounded, too."""
        from yolo_service.videos.writer import TimedFrame, to_frame

        frame = to_frame(draw(answer.image, answer.detections))
        made = _frame(item)
        return TimedFrame(frame, made.pts, made.time_base, made.duration), answer.image

    def put(self, item: Item, encoded: tuple[TimedFrame, Any], acknowledge: Acknowledge) -> None:
        """Add a frame.

        Raises:
            OutputError: the video cannot be written, or is the second one of a file.
        """
        timed, _ = encoded
        self._writer_of(_frame(item).video, timed).write(timed)
        self._end(item, acknowledge)

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:  # noqa: ARG002
        """End the video, if its source ends here."""
        self._end(item, acknowledge)

    def flush(self) -> None:
        """Do nothing: a video is durable at its end."""

    def close(self) -> None:
        """Remove a video that was not read to its end, and tell that."""
        if self._video:
            log.warning("%s is not drawn: it was not read to its end", self._video.item.origin)
        self.abort()

    def abort(self) -> None:
        """Remove what is half written."""
        if self._writer:
            self._writer.abort()
            self._writer = self._video = None

    def _writer_of(self, video: Video, first: TimedFrame) -> VideoWriter:
        from yolo_service.videos.writer import VideoWriter

        if self._writer is None or self._video is not video:
            self.abort()
            if self._is_file and self._written:
                raise OutputError(f"{self._place} is for one video; expected a folder for several")
            self._writer = VideoWriter(self._target(video), video.path, first)
            self._video = self._written = video
        return self._writer

    def _end(self, item: Item, acknowledge: Acknowledge) -> None:
        made = _frame(item)
        if made.is_last and self._writer and self._video is made.video:
            self._writer.close()
            self._writer = self._video = None
        acknowledge()

    def _target(self, video: Video) -> Path:
        if self._is_file:
            return self._place
        name = video.item.name
        return self._place / (name if is_video_file(Path(name)) else suffixed(name, ".mkv"))


def is_video_file(place: Path) -> bool:
    """Return whether a path names a video that can be written, rather than a folder."""
    return place.suffix.lower() in WRITTEN_SUFFIXES and not place.is_dir()


def _frame(item: Item) -> FrameItem:
    if not isinstance(item, FrameItem):
        raise TypeError(f"expected a frame of a video, found {type(item).__name__}")
    return item


def _is_there(path: Path, item: Item) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return item.owns_result_of(found.st_mtime)
