"""Writes videos by PyAV with the timing of another one, whose sound is copied as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from darknet.model import RgbImage
from yolo_service.errors import OutputError
from yolo_service.whole_files import hidden_beside, publish

FORMATS = {
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".ts": "mpegts",
    ".webm": "webm",
}
"""FFmpeg's names of the formats by suffix; each of them keeps a time for every frame."""

QUALITY = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libvpx-vp9": {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"},
}
"""Options of the encoders; more effort would need memory for more frames at once."""

_BT709 = 1
_TICK = Fraction(1, 90_000)


class TimedFrame(NamedTuple):
    """A frame to be written.

    Attributes:
        frame: in the pixel format of the file.
        pts: time stamp in units of ``time_base``, not smaller than the one before.
        time_base: seconds.
        duration: in these units; 0 if unknown.
    """

    frame: av.VideoFrame
    pts: int
    time_base: Fraction
    duration: int


def to_frame(image: RgbImage) -> av.VideoFrame:
    """Return an image as a frame of even size: what is odd gets its last pixels twice.

    Args:
        image: uint8[height, width, 3], red first.
    """
    height, width = image.shape[:2]
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    frame = av.VideoFrame.from_ndarray(np.asarray(even, np.uint8), "rgb24")
    return _converter().reformat(
        frame,
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )


_of_thread = threading.local()


def _converter() -> VideoReformatter:
    """Return the converter of this thread: to make one takes longer than to convert a frame."""
    if not hasattr(_of_thread, "converter"):
        _of_thread.converter = VideoReformatter()
    return cast(VideoReformatter, _of_thread.converter)


class VideoWriter:
    """A video that appears whole or not at all.

    Args:
        target: the file; its suffix is one of ``FORMATS``.
        source: the video whose sound is copied.
        first: the first frame, which is not yet written.

    Raises:
        OutputError: it cannot be written, or does not take the sound.
    """

    def __init__(self, target: Path, source: Path, first: TimedFrame) -> None:
        self._target, self._last_pts = target, first.pts - 1
        self._size = (first.frame.width, first.frame.height)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._hidden = hidden_beside(target)
            self._file = av.open(f"file:{self._hidden}", "w", format=FORMATS[target.suffix.lower()])
        except (OSError, av.FFmpegError) as error:
            raise self._broken(error) from error
        try:
            self._sound = _Sound(source, self._file)
            self._stream = self._video_stream(first)
        except (OSError, ValueError, av.FFmpegError) as error:
            self.abort()
            raise self._broken(error) from error

    def write(self, timed: TimedFrame) -> None:
        """Add a frame, and the sound before it.

        Raises:
            OutputError: that is not possible.
        """
        frame = timed.frame
        if (frame.width, frame.height) != self._size:
            frame = frame.reformat(*self._size)
        frame.pts = self._last_pts = max(timed.pts, self._last_pts + 1)
        frame.time_base, frame.duration = timed.time_base, timed.duration
        try:
            self._sound.copy(timed.pts * timed.time_base)
            self._file.mux(self._stream.encode(frame))
        except (OSError, ValueError, av.FFmpegError) as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Write the rest of the sound, and give the file its name.

        Raises:
            OutputError: that is not possible.
        """
        try:
            self._file.mux(self._stream.encode(None))
            self._sound.copy(None)
            self._sound.close()
            self._file.close()
            publish(self._hidden, self._target)
        except (OSError, ValueError, av.FFmpegError) as error:
            raise self._broken(error) from error

    def abort(self) -> None:
        """Remove what was written."""
        try:
            self._file.close()
        except (OSError, ValueError, av.FFmpegError):
            pass  # it is removed anyway
        finally:
            self._hidden.unlink(missing_ok=True)

    def _video_stream(self, first: TimedFrame) -> av.VideoStream:
        is_webm = self._target.suffix.lower() == ".webm"
        codec = "libvpx-vp9" if is_webm else "libx264"
        stream: Any = self._file.add_stream(codec, self._sound.rate, options=QUALITY[codec])
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = max(first.time_base, _TICK)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream  # type: ignore[no-any-return]

    def _broken(self, error: Exception) -> OutputError:
        return OutputError(f"{self._target} cannot be written: {error}")


class _Sound:
    """The packets of the sound of a video, copied in the order of time.

    Attributes:
        rate: frames per second of the video, on average: the last frame is shown so long.
    """

    def __init__(self, source: Path, target: av.container.OutputContainer) -> None:
        self._target = target
        self._source = av.open(f"file:{source}", "r")
        self.rate = self._source.streams.video[0].average_rate
        streams = list(self._source.streams.audio)
        self._streams = {each: target.add_stream_from_template(each) for each in streams}
        self._packets = self._each(streams)
        self._next = next(self._packets, None)

    def copy(self, until: Fraction | None) -> None:
        """Copy what begins before a time in seconds; None: everything."""
        while (packet := self._next) is not None:
            if until is not None and packet.pts * packet.time_base > until:
                return
            packet.stream = self._streams[packet.stream]
            self._target.mux(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _each(self, streams: list[Any]) -> Iterator[Any]:
        if not streams:
            return
        try:
            for packet in self._source.demux(*streams):
                if packet.pts is not None and packet.dts is not None:
                    yield packet
        except av.FFmpegError:
            return  # the reader of its frames reports where the source is cut off
