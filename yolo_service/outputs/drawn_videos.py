"""Videos with what was found drawn on their frames."""

from __future__ import annotations

import logging
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from yolo_service.errors import OutputError
from yolo_service.images.draw import draw
from yolo_service.inputs.item import Item
from yolo_service.inputs.videos import FrameItem, Video
from yolo_service.outputs.output import Acknowledge, StaysWhenPut
from yolo_service.outputs.places import FilePlace
from yolo_service.outputs.videos import frame_of, is_put
from yolo_service.predictor.answer import Answer
from yolo_service.whole_files import suffixed

if TYPE_CHECKING:
    from yolo_service.videos.writer import TimedFrame, VideoWriter

log = logging.getLogger(__name__)

SUFFIXES = frozenset((".m4v", ".mkv", ".mov", ".mp4", ".ts", ".webm"))
"""Of videos that can be written, see ``videos.writer.FORMATS``."""


class DrawnVideos(StaysWhenPut):
    """An ``Output`` of frames: for each video one with what was found drawn on its frames.

    It has the times of the frames that were used, and the sound as it is. It is written when the
    video ends, and its last frame is acknowledged after that.

    Args:
        place: where they go.
        name: of the one video that there may be; None: they have the names of their sources.
    """

    needs_image, needs_sha256 = True, False

    def __init__(self, place: FilePlace, name: str | None = None) -> None:
        self._place, self._only = place, name
        self._video: Video | None = None
        self._written: Video | None = None
        self._writer: VideoWriter | None = None

    def has(self, item: Item) -> bool:
        """Look for the video."""
        return isinstance(item, FrameItem) and is_put(self._place, self._name(item.video), item)

    def encode(self, item: Item, answer: Answer) -> tuple[TimedFrame, Any]:
        """Draw on a frame, and keep its image: so the frames that wait here are bounded, too."""
        from yolo_service.videos.writer import TimedFrame, to_frame

        frame = to_frame(draw(answer.image, answer.detections))
        made = frame_of(item)
        return TimedFrame(frame, made.pts, made.time_base, made.duration), answer.image

    def put(self, item: Item, encoded: tuple[TimedFrame, Any], acknowledge: Acknowledge) -> None:
        """Add a frame.

        Raises:
            OutputError: the video cannot be written, or is the second one of a file.
        """
        timed, _ = encoded
        self._writer_of(frame_of(item).video, timed).write(timed)
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
        elif self._only and self._place.written_at(self._only) is None:
            log.warning("%s is not written: expected a video, found none", self._only)
        self.abort()

    def abort(self) -> None:
        """Remove what is half written."""
        self._abandon()
        self._place.close()

    def _abandon(self) -> None:
        if self._writer:
            self._writer.abort()
            self._writer = self._video = None

    def _writer_of(self, video: Video, first: TimedFrame) -> VideoWriter:
        from yolo_service.videos.writer import VideoWriter

        if self._writer is None or self._video is not video:
            self._abandon()
            if self._only and self._written:
                raise OutputError(f"{self._only} is for one video; expected a folder for several")
            path = self._place.path(self._name(video))
            self._writer = VideoWriter(path, video.path, first)
            self._video = self._written = video
        return self._writer

    def _end(self, item: Item, acknowledge: Acknowledge) -> None:
        made = frame_of(item)
        if made.is_last and self._writer and self._video is made.video:
            self._writer.close()
            self._place.put(self._name(made.video))
            self._writer = self._video = None
        acknowledge()

    def _name(self, video: Video) -> str:
        name = self._only or video.item.name
        return name if PurePath(name).suffix.lower() in SUFFIXES else suffixed(name, ".mkv")


def split_video(address: str) -> tuple[str, str | None]:
    """Return a folder, and the name of a video in it if the address is that of one."""
    _, _, name = address.rpartition("/")
    if PurePath(name).suffix.lower() not in SUFFIXES or Path(address).is_dir():
        return address, None
    return address.removesuffix(name), name
