"""An image that came as a message."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from yolo_service.errors import ItemError
from yolo_service.inputs.aside import put_aside
from yolo_service.inputs.item import Item
from yolo_service.inputs.options import InputOptions
from yolo_service.predictor.job import Image

_UNUSUAL = re.compile(r"[^\w.@+=,() -]|^\.+$")


@dataclass(eq=False)
class Message(Item):
    """An image in memory.

    Attributes:
        data: its bytes.
        problem: why it cannot be an image, or nothing.
        options: say what happens if it fails.
    """

    data: bytes = b""
    problem: str = ""
    options: InputOptions = field(default_factory=InputOptions)

    def read(self) -> Image:
        """Return the bytes, and forget them if nobody needs them again."""
        if self.problem:
            raise ItemError(self.problem)
        data = self.data
        if not self.keeps_data:
            self.data = b""
        return data

    @property
    def keeps_data(self) -> bool:
        """Whether the bytes are needed until the item ends."""
        return self.options.failed_to is not None

    def failed(self, error: Exception) -> None:
        """Write the image into the folder for failed ones, if there is one."""
        if self.options.failed_to:
            put_aside(self.options.failed_to, self.name, self.data, f"{self.origin}: {error}")


def path_of(text: str) -> str:
    """Return a relative path, ``cam:1/in`` as ``cam_1/in``."""
    parts = (_UNUSUAL.sub("_", part) for part in text.split("/") if part)
    return "/".join(parts) or "_"


def names(prefix: str) -> Iterator[str]:
    """Yield names that differ, in all processes: time in UTC, number, and a part of the process."""
    process = secrets.token_hex(3)
    for number in itertools.count(1):
        now = datetime.now(UTC).strftime("%Y%m%d_%H%M%S.%f")
        yield f"{path_of(prefix)}/{now}_{number}_{process}"
