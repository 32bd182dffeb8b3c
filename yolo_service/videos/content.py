"""Tells videos from images by their first bytes."""

from __future__ import annotations

from pathlib import PurePosixPath

HEAD_BYTES = 4096
"""How much of a file ``is_video`` needs."""

SUFFIXES = frozenset(
    """
    .264 .265 .3g2 .3gp .asf .avi .dv .flv .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg
    .mjpg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogv .ts .vob .webm .wmv .y4m
    """.split()
)
"""Of the files that are taken from a folder beside images, in lower case."""

_STARTS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"OggS",
    b"0&\xb2u\x8ef\xcf\x11",  # ASF, WMV
    b"\0\0\x01\xba",  # MPEG program stream
    b"\0\0\x01\xb3",  # MPEG video
    b"YUV4MPEG2 ",
    b"DKIF",
    b"nut/multimedia container\0",
    b"\x06\x0e+4\x02\x05\x01\x01",  # MXF
    b"ID3",  # sound, which is refused with a better message than an image would be
    b"fLaC",
)
_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
"""Types of the first box of an MP4 or QuickTime file."""
_STILL_BRANDS = frozenset((b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"))
"""Major brands of images in such boxes."""
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_PACKETS = ((0, 188), (4, 192))
"""Offset of the first packet and length of packets of MPEG transport streams."""


def is_video(head: bytes, name: str) -> bool:
    """Return whether a file is a video, or sound, rather than an image.

    Args:
        head: its first ``HEAD_BYTES``, or all of it.
        name: its suffix decides where the bytes are of no kind that is known here.
    """
    if head.startswith(_STARTS) or _is_boxes(head) or _is_riff(head) or _is_transport(head):
        return True
    if head.startswith(_IMAGE_STARTS) or head[8:12] == b"WEBP" or head[8:12] in _STILL_BRANDS:
        return False
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_boxes(head: bytes) -> bool:
    return head[4:8] in _BOXES and not (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS)


def _is_riff(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"WAVE")


def _is_transport(head: bytes) -> bool:
    return any(
        len(head) > start + 2 * length
        and all(head[at] == 0x47 for at in range(start, len(head), length))
        for start, length in _PACKETS
    )
