"""Videos of an input become its frames: items of their own, by time."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from darknet.model import RgbImage
from yolo_service.errors import ItemError
from yolo_service.inputs.item import Input, Item
from yolo_service.videos.buffers import Buffers
from yolo_service.videos.selection import Selection
from yolo_service.videos.view import View

if TYPE_CHECKING:
    from yolo_service.videos.reader import Frame, VideoReader

FRAME_BYTES = 25_000_000
"""Of the frames of a video that are in memory as images; a frame of 1080p has 6.2 MB."""
MIN_FRAMES = 4
"""How many may be in memory however large they are."""


@dataclass(frozen=True)
class VideoOptions:
    """What the command line says about videos.

    Attributes:
        selection: which frames are used.
        view: how they become images.
        sharpness: whether it is measured.
    """

    selection: Selection = field(default_factory=Selection)
    view: View = field(default_factory=View)
    sharpness: bool = False


class Video:
    """A video whose frames are items; the item that it came from ends after all of them.

    Attributes:
        item: the video as an item.
        path: of a file with it.
        name: folder of the names of its frames.
        view: how frames become images.
    """

    def __init__(self, item: Item, path: Path, options: VideoOptions) -> None:
        self.item, self.path, self.view = item, path, options.view
        self.name = f"{item.name}.frames"
        self.measures_sharpness = options.sharpness
        self._open = 0
        self._error: Exception | None = None
        self._is_released = False
        self._changed = threading.Lock()
        self._buffers = Buffers(FRAME_BYTES, MIN_FRAMES)

    def begin(self) -> None:
        """Count one more that has to end before the video does."""
        with self._changed:
            self._open += 1

    def end(self, error: Exception | None = None, *, is_released: bool = False) -> None:
        """Count one that has ended; with the last one, the video ends."""
        with self._changed:
            self._open -= 1
            self._error = self._error or error
            self._is_released |= is_released
            if self._open:
                return
        if self._error:
            self.item.failed(self._error)
        elif self._is_released:
            self.item.release()
        else:
            self.item.done()

    def image(self, frame: Frame) -> RgbImage:
        """Return the image of a frame, when there is memory for it."""
        return self._buffers.hold(frame.pixels(self.view))


@dataclass(eq=False)
class FrameItem(Item):
    """A frame of a video.

    Attributes:
        video: that it belongs to.
        frame: in the video's pixel format; None when it was read.
        is_last: whether no other item of the video follows.
        pts: time stamp of the frame, see ``Frame.pts``.
        duration: likewise.
        time_base: their unit in seconds.
    """

    video: Video = field(kw_only=True)
    frame: Frame | None = field(kw_only=True)
    is_last: bool = field(kw_only=True)
    pts: int = 0
    duration: int = 0
    time_base: Fraction = Fraction(1)

    @classmethod
    def of(cls, frame: Frame, number: int, video: Video, *, is_last: bool) -> FrameItem:
        """Make the item of a frame, which is the ``number``-th that is used, from 1."""
        item, name = video.item, f"{video.name}/img_{number:03}.jpg"
        details = {"time": round(float(frame.time), 6), "frame": frame.index}
        made = cls(
            name,
            item.origin,
            item.taken_at,
            has_unique_stem=True,
            details=details,
            video=video,
            frame=frame,
            is_last=is_last,
        )
        made.pts, made.duration, made.time_base = frame.pts, frame.duration, frame.time_base
        return made

    def read(self) -> RgbImage:
        """Return the image of the frame."""
        frame, self.frame = self.frame, None
        if frame is None:
            raise ItemError("was read already")
        pixels = self.video.image(frame)
        if self.video.measures_sharpness:
            self.details = {**self.details, "sharpness": round(sharpness(pixels), 3)}
        return pixels

    def computed(self) -> None:
        """Forget the frame, which nobody has read if there was a result."""
        self.frame = None

    def done(self) -> None:
        """Tell the video."""
        self._end()

    def failed(self, error: Exception) -> None:
        """Tell the video."""
        self._end(error)

    def release(self) -> None:
        """Tell the video."""
        self._end(is_released=True)

    def _end(self, error: Exception | None = None, *, is_released: bool = False) -> None:
        self.frame = None
        self.video.end(error, is_released=is_released)


@dataclass(eq=False)
class BrokenVideo(FrameItem):
    """What is left of a video behind the place where it cannot be read."""

    error: ItemError = field(kw_only=True)

    @classmethod
    def at_end_of(cls, video: Video, error: ItemError) -> BrokenVideo:
        """Make the last item of a video."""
        item = video.item
        return cls(
            item.name,
            item.origin,
            item.taken_at,
            has_unique_stem=item.has_unique_stem,
            video=video,
            frame=None,
            is_last=True,
            error=error,
        )

    def read(self) -> RgbImage:
        """Raise the error."""
        raise self.error


class WithVideos:
    """An ``Input``: another one, with the frames of its videos instead of the videos.

    Args:
        source: the other one.
        options: of videos.
    """

    def __init__(self, source: Input, options: VideoOptions) -> None:
        self._source, self._options = source, options
        self._is_stopped = False
        self._items: Generator[Item, None, None] | None = None

    def __iter__(self) -> Iterator[Item]:
        self._items = self._each()
        return self._items

    def count(self) -> int | None:
        """Count the items of the source, which knows whether videos are among them."""
        return self._source.count()

    def stop(self) -> None:
        """Yield no more items and no more frames."""
        self._is_stopped = True
        self._source.stop()

    def close(self) -> None:
        """Close the video that is open, and the source."""
        if self._items:
            with suppress(ValueError):  # a thread that was left behind still iterates
                self._items.close()
        self._source.close()

    def _each(self) -> Generator[Item, None, None]:
        for item in self._source:
            path = item.video_file()
            if path is None:
                yield item
            else:
                yield from self._items_of(Video(item, path, self._options))

    def _items_of(self, video: Video) -> Iterator[FrameItem]:
        """Yield the items of a video, each one late: the last one has to be known as such."""
        video.begin()
        is_over, number = False, 0
        try:
            frames = self._frames(video)
            frame = next(frames, None)
            while frame is not None and not self._is_stopped:
                following = next(frames, None)
                number += 1
                if isinstance(frame, ItemError):
                    item: FrameItem = BrokenVideo.at_end_of(video, frame)
                else:
                    item = FrameItem.of(frame, number, video, is_last=following is None)
                video.begin()
                if following is None:
                    is_over = True
                    video.end()
                yield item
                frame = following
        finally:
            if not is_over:
                video.end(is_released=True)

    def _frames(self, video: Video) -> Iterator[Frame | ItemError]:
        """Yield the frames that are wanted, and then the error if there is one."""
        try:
            reader = _reader(video.path)
            try:
                yield from reader.select(self._options.selection)
            finally:
                reader.close()
        except ItemError as error:
            yield error
        except OSError as error:
            yield ItemError(f"cannot be read: {error.strerror or error}")


def _reader(path: Path) -> VideoReader:
    try:
        from yolo_service.videos.reader import VideoReader
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise ItemError("is a video, which needs PyAV: pip install 'yolo-service[video]'") from None
    return VideoReader(path)


def sharpness(pixels: RgbImage) -> float:
    """Return the variance of the Laplacian of the grey image: low for blurred ones.

    Args:
        pixels: uint8[height, width, 3], red first.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(np.square(deviation[0, 0]))
