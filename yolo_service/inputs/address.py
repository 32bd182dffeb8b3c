"""Images by the addresses of items, for machines that have not listed them."""

from __future__ import annotations

from pathlib import Path

from yolo_service.errors import ItemError, StoreError
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.urls import UrlItem
from yolo_service.predictor.job import Image
from yolo_service.schemes import scheme_of
from yolo_service.videos.content import HEAD_BYTES, is_video


class UnreadableFileError(ItemError):
    """A file that is not there, or that the process may not read."""


def read_address(address: str, options: InputOptions) -> Image:
    """Read what is at an ``Item.address``.

    Args:
        address: a path, or a URL with the scheme ``s3``, ``http`` or ``https``.
        options: limits of what is not a file.

    Raises:
        ItemError: it cannot be read, is too large, or is a video.
        StoreError: the store refuses, or does not answer.
    """
    scheme = scheme_of(address)
    if scheme in ("http", "https"):
        return _read_url(address, options)
    if scheme == "s3":
        return _read_object(address, options.max_bytes)
    if scheme:
        raise ItemError(
            f"{scheme}:// is not known here; expected a path, s3://, http:// or https://"
        )
    return _read_file(Path(address))


_IS_VIDEO = "is a video, which is not cut into frames here; leave it out"


def _read_url(address: str, options: InputOptions) -> Image:
    try:
        item = UrlItem.of(address, options)
    except ValueError as error:
        raise ItemError(f"is no address: {error}") from error
    try:
        return item.read()
    finally:
        item.release()


def _read_object(address: str, max_bytes: int) -> Image:
    from yolo_service import s3, s3_objects
    from yolo_service.inputs.object_item import is_called_video

    if is_called_video(address):
        raise ItemError(_IS_VIDEO)
    try:
        return s3_objects.read(s3.parse(address), max_bytes)
    except StoreError as error:
        if s3_objects.is_missing(error):
            raise ItemError(str(error)) from error
        raise


def _read_file(path: Path) -> Image:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if is_video(head, path.name):
                raise ItemError(_IS_VIDEO)
            return head + file.read()
    except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise UnreadableFileError(f"cannot be read: {reason}") from error
