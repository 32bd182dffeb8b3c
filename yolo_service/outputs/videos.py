"""Outputs for the frames of videos: images of them, and reports."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from yolo_service.errors import OutputError
from yolo_service.formats import counts
from yolo_service.images.draw import encode
from yolo_service.inputs.item import Item
from yolo_service.inputs.videos import FrameItem, Video
from yolo_service.outputs.output import Acknowledge, Output, StaysWhenPut
from yolo_service.outputs.places import FilePlace
from yolo_service.predictor.answer import Answer
from yolo_service.videos.plot import plot_svg
from yolo_service.videos.report import FrameRow, VideoTable
from yolo_service.whole_files import write_whole

log = logging.getLogger(__name__)

_LAST = "statistics.csv"
"""What is written last of a report."""


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

    def keep(self, item: Item, acknowledge: Acknowledge) -> None:
        """Let the other one acknowledge, or do it."""
        if self._takes(item):
            self._output.keep(item, acknowledge)
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


class Reports(StaysWhenPut):
    """An ``Output`` of frames: for each video ``frames.csv``, ``statistics.csv``, ``counts.svg``.

    They are written when the video ends, and its last frame is acknowledged after that.

    Args:
        place: where they go, each video's into a folder of its own.
    """

    needs_image, needs_sha256 = False, False

    def __init__(self, place: FilePlace) -> None:
        self._place = place
        self._video: Video | None = None
        self._table = VideoTable()

    def has(self, item: Item) -> bool:
        """Look for the file that is written last."""
        return isinstance(item, FrameItem) and is_put(self._place, _name(item, _LAST), item)

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
        self.abort()

    def abort(self) -> None:
        """Remove what is half written."""
        self._place.close()

    def _table_of(self, item: Item) -> VideoTable:
        video = frame_of(item).video
        if video is not self._video:
            self._video, self._table = video, VideoTable()
        return self._table

    def _end(self, item: Item, acknowledge: Acknowledge) -> None:
        if frame_of(item).is_last:
            if len(self._table):
                self._write(item)
            self._video, self._table = None, VideoTable()
        acknowledge()

    def _write(self, item: Item) -> None:
        title = f"Objects in {frame_of(item).video.item.name}"
        self._put(_name(item, "frames.csv"), self._table.frames_csv())
        self._put(_name(item, "counts.svg"), plot_svg(self._table, title))
        self._put(_name(item, _LAST), self._table.statistics_csv())

    def _put(self, name: str, data: bytes) -> None:
        path = self._place.path(name)
        try:
            write_whole(path, data)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        self._place.put(name)


def _name(frame: Item, name: str) -> str:
    return f"{frame_of(frame).video.name}/{name}"


def frame_of(item: Item) -> FrameItem:
    """Return an item that is a frame of a video."""
    if not isinstance(item, FrameItem):
        raise TypeError(f"expected a frame of a video, found {type(item).__name__}")
    return item


def is_put(place: FilePlace, name: str, item: Item) -> bool:
    """Return whether a place has a file that belongs to an item, and is not an earlier one's."""
    written = place.written_at(name)
    return written is not None and item.owns_result_of(written)
