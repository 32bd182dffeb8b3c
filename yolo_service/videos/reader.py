"""Reads the frames of a video with their times by PyAV, upright and in RGB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from darknet.limits import available_cpus
from darknet.model import RgbImage
from yolo_service.errors import ItemError
from yolo_service.videos.selection import Selection
from yolo_service.videos.view import View

DEMUXERS = """
aac ac3 aiff amr asf avi dv flac flv h264 hevc ivf m4v matroska,webm mjpeg mov,mp4,m4a,3gp,3g2,mj2
mp3 mpeg mpegts mpegvideo mxf nut ogg rm swf wav yuv4mpegpipe av1 obu caf
"""
"""FFmpeg's readers of plain files; those of playlists would open what else a file names."""

LATE_SECONDS = Fraction(1, 2)
"""By how much a video may end before the time that its header says."""

MOST_THREADS = 4
"""That decode a video; each holds frames of its own, and four give hundreds of 1080p a second."""

_EXACT_HEADERS = ("mov", "matroska", "avi")
"""Formats whose header says how long a whole file is; elsewhere FFmpeg estimates it."""

Matrix = tuple[int, int, int, int]
"""Signs of the four upper left elements a, b, c, d: x' = a x + c y, y' = b x + d y."""
_UPRIGHT: Matrix = (1, 0, 0, 1)

_ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


class Frame:
    """A decoded frame, in the pixel format of the video.

    Attributes:
        index: number of the frame in the video, from 0.
        time: seconds since the first frame.
        pts: time stamp in units of ``time_base``, as the container has it.
        time_base: seconds.
        duration: in units of ``time_base``; 0 if unknown.
        ends: time at which the next frame is due.
    """

    def __init__(
        self,
        frame: av.VideoFrame,
        index: int,
        pts: int,
        clock: Clock,
        converter: Converter,
    ) -> None:
        self._frame, self.index, self.pts = frame, index, pts
        self._converter = converter
        self.time_base, self.duration = clock.time_base, frame.duration or 0
        self.time = pts * clock.time_base - clock.start
        self.begins = self.time - clock.time_base / 2
        own = self.duration * clock.time_base
        self.ends = self.time + (own or clock.interval)

    def pixels(self, view: View) -> RgbImage:
        """Return the upright image: uint8[height, width, 3], red first.

        Called for one frame of a reader at a time.

        Raises:
            ItemError: it cannot be converted.
        """
        try:
            return self._converter.image(self._frame, view)
        except (av.FFmpegError, ValueError) as error:
            raise ItemError(f"the frame at {float(self.time):.3f} s is damaged: {error}") from error


class Converter:
    """Makes images of the frames of a stream.

    Args:
        first: the first frame, which has the orientation of all. To ask a frame for it makes a
            cycle of references, so that it stays in memory until the next garbage collection.
    """

    def __init__(self, first: av.VideoFrame) -> None:
        self._matrix = _matrix(first)
        self._reformatter = VideoReformatter()  # a frame's own one is made anew for each

    def image(self, frame: av.VideoFrame, view: View) -> RgbImage:
        """Return an upright image: uint8[height, width, 3], red first."""
        scale = min(1.0, view.size / max(frame.width, frame.height)) if view.size else 1.0
        width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
        how = "AREA" if scale < 1 else None
        converted = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=how, threads=1
        )
        upright = _turned(np.asarray(converted.to_ndarray(), np.uint8), self._matrix)
        if view.rotate:
            return np.asarray(cv2.rotate(upright, _ROTATIONS[view.rotate]), np.uint8)
        return upright


@dataclass(frozen=True)
class Clock:
    """Times of a stream.

    Attributes:
        time_base: unit of time stamps in seconds.
        start: time stamp of the first frame in seconds, which is time 0.
        interval: seconds between two frames, on average.
    """

    time_base: Fraction
    start: Fraction
    interval: Fraction


class VideoReader:
    """An open video.

    Args:
        path: of the file.

    Raises:
        ItemError: it is no video that can be read; the message says why.
    """

    def __init__(self, path: Path) -> None:
        if path.stat().st_size == 0:
            raise ItemError("is empty; expected a video")
        self._path, self._container = path, _open(path)
        try:
            self._stream = _video_stream(self._container)
            self.clock = self._clock()
        except BaseException:
            self._container.close()
            raise
        self._ends = self._video_ends = Fraction(0)
        self._damaged, self._count = 0, 0
        self._last_pts: int | None = None
        self._converter: Converter | None = None
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = min(available_cpus(), MOST_THREADS)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def select(self, selection: Selection) -> Iterator[Frame]:
        """Yield the frames that are wanted, by time.

        Raises:
            ItemError: the video is damaged or cut off; the frames before that were yielded.
        """
        duration = self._duration() if selection.needs_duration else Fraction(0)
        frames = self.frames()
        first = next(frames, None)
        if first is None:
            raise ItemError("has no frame that can be decoded; it is cut off or damaged")
        yield from selection.of(_chain(first, frames), first.time, duration)

    def frames(self) -> Iterator[Frame]:
        """Yield all frames; raises as ``select``."""
        try:
            for packet in self._container.demux():
                self._note_end(packet)
                if packet.stream is self._stream:
                    yield from self._decode(packet)
        except av.FFmpegError as error:
            raise self._cut_off(f"cannot be read on: {error.strerror}") from error
        self._check_end()

    def _decode(self, packet: Any) -> Iterator[Frame]:
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            self._damaged += self._count > 0  # a recording may begin between two key frames
            return
        for frame in decoded:
            index, self._count = self._count, self._count + 1
            pts = self._last_pts = self._pts(frame)
            if self._converter is None:
                self._converter = Converter(frame)
                self.clock = replace(self.clock, start=pts * self.clock.time_base)
            yield Frame(frame, index, pts, self.clock, self._converter)

    def _pts(self, frame: av.VideoFrame) -> int:
        """Return the time stamp, or that of a constant rate where the container has none.

        AVI has the times of packets only, which are those of frames in the order of decoding.
        """
        is_avi = self._container.format.name == "avi"
        pts = frame.dts if is_avi else frame.pts
        if pts is not None:
            return pts
        step = round(self.clock.interval / self.clock.time_base)
        return 0 if self._last_pts is None else self._last_pts + step

    def _note_end(self, packet: Any) -> None:
        if packet.pts is None or not packet.time_base:
            return
        end = (packet.pts + (packet.duration or 0)) * packet.time_base
        self._ends = max(self._ends, end)
        if packet.stream is self._stream:
            self._video_ends = max(self._video_ends, end)

    def _check_end(self) -> None:
        """Raise an error if packets are damaged or the file ends before its header says."""
        ended, said = self._end()
        if ended + LATE_SECONDS < said:
            raise self._cut_off(f"ends at {float(ended):.1f} of {float(said):.1f} s; it is cut off")
        if self._damaged:
            raise self._cut_off(f"is damaged: {self._damaged} of its packets cannot be decoded")

    def _end(self) -> tuple[Fraction, Fraction]:
        """Return where the file ends and where its header says that it does, in seconds."""
        stream, container = self._stream, self._container
        if not container.format.name.startswith(_EXACT_HEADERS):
            return Fraction(0), Fraction(0)
        time_base, begins = self.clock.time_base, self.clock.start
        if container.format.name == "avi":
            return self._video_ends - begins, stream.frames * time_base
        if stream.duration:
            return self._video_ends - begins, stream.duration * time_base
        return self._ends - begins, Fraction(container.duration or 0, av.time_base) - begins

    def _cut_off(self, what: str) -> ItemError:
        return ItemError(f"{what} (frames that were read: {self._count})")

    def _clock(self) -> Clock:
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        return Clock(self._stream.time_base or 1 / rate, Fraction(0), 1 / rate)

    def _duration(self) -> Fraction:
        """Return the duration of the video; reads the whole file where its header has none."""
        if self._stream.duration and self._stream.time_base:
            return Fraction(self._stream.duration * self._stream.time_base)
        with _open(self._path) as container:
            return _packets_duration(container, self.clock.interval)


def _chain(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest


def _open(path: Path) -> av.container.InputContainer:
    whitelist = ",".join(DEMUXERS.split())
    options = {"format_whitelist": whitelist, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path}", "r", container_options=options)
    except av.FFmpegError as error:
        why = "it is no video, or cut off before its index, or damaged"
        raise ItemError(f"cannot be opened as a video: {why} ({error.strerror})") from error


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    attached = av.stream.Disposition.attached_pic
    streams = [each for each in container.streams.video if not each.disposition & attached]
    if not streams:
        sound = "only sound" if container.streams.audio else "no stream that can be decoded"
        raise ItemError(f"has no video, {sound}; expected a video")
    return streams[0]


def _packets_duration(container: av.container.InputContainer, interval: Fraction) -> Fraction:
    """Return the duration by the times of all packets, or by their number if they have none."""
    stream, begin, end, count = _video_stream(container), Fraction(10**9), Fraction(0), 0
    try:
        for packet in container.demux(stream):
            count += packet.size > 0
            if packet.pts is not None and packet.time_base:
                time = packet.pts * packet.time_base
                begin = min(begin, time)
                end = max(end, time + (packet.duration or 0) * packet.time_base)
    except av.FFmpegError:
        pass  # decoding meets it again, with the frames before it
    return end - begin if end > begin else count * interval


def _matrix(frame: av.VideoFrame) -> Matrix:
    """Return the orientation that the container says, in right angles."""
    try:
        data = bytes(frame.side_data["DISPLAYMATRIX"])  # type: ignore[typeddict-item]
    except KeyError:
        return _UPRIGHT
    a, b, _, c, d = (int(value) for value in np.sign(np.frombuffer(data, "<i4")[:5]))
    is_right_angle = (a and d and not b and not c) or (b and c and not a and not d)
    return (a, b, c, d) if is_right_angle else _UPRIGHT


def _turned(pixels: RgbImage, matrix: Matrix) -> RgbImage:
    """Apply a matrix of right angles and mirrors."""
    a, b, c, d = matrix
    turned: Any = pixels if a else cv2.transpose(pixels)
    horizontally, vertically = (a or c) < 0, (d or b) < 0
    if horizontally and vertically:
        turned = cv2.flip(turned, -1)
    elif horizontally or vertically:
        turned = cv2.flip(turned, 1 if horizontally else 0)
    return np.asarray(turned, np.uint8)
