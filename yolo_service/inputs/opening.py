"""Opens the input that one or several sources of the command line name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from yolo_service.inputs.item import Input, Item
from yolo_service.schemes import Scheme, load, scheme_of

SCHEMES = {
    "http": Scheme("yolo_service.inputs.urls"),
    "https": Scheme("yolo_service.inputs.urls"),
    "redis": Scheme("yolo_service.inputs.redis", "redis"),
    "rediss": Scheme("yolo_service.inputs.redis", "redis"),
    "s3": Scheme("yolo_service.inputs.s3", "s3"),
}
"""Modules whose ``open_input(address, options)`` returns an ``Input``."""


@dataclass(frozen=True)
class InputOptions:
    """What the command line says about inputs; each uses what fits it.

    Attributes:
        watch: whether to wait for new items for ever.
        stop_file: ends ``watch`` when it exists.
        poll: seconds between two looks at a source that cannot tell what is new.
        delete: whether the source of a done item is deleted.
        move_to: folder that the source of a done item is moved to.
        failed_to: folder that the source of a failed item is moved to, with its error beside it.
        ignored: folders that are no source although they may be within one: those of results.
        max_bytes: largest image of a source that does not belong to the user.
        timeout: seconds that such an image may take to arrive.
    """

    watch: bool = False
    stop_file: Path | None = None
    poll: float = 1.0
    delete: bool = False
    move_to: Path | None = None
    failed_to: Path | None = None
    ignored: tuple[Path, ...] = ()
    max_bytes: int = 20_000_000
    timeout: float = 10.0


def open_input(sources: Sequence[str], options: InputOptions) -> Input:
    """Open sources, one after the other.

    Raises:
        ConfigurationError: a scheme is unknown, or what it needs is not installed.
        InputError: a source does not exist, or cannot be reached.
    """
    inputs = [_open(source, options) for source in sources]
    return inputs[0] if len(inputs) == 1 else Chain(inputs)


def _open(source: str, options: InputOptions) -> Input:
    scheme = scheme_of(source)
    module = load(scheme, SCHEMES) if scheme else load("file", _FILES)
    return cast(Input, module.open_input(source, options))


class Chain:
    """An ``Input``: several, one after the other."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        self._is_stopped = False

    def __iter__(self) -> Iterator[Item]:
        for each in self._inputs:
            if not self._is_stopped:
                yield from each

    def count(self) -> int | None:
        """Return the sum."""
        counts = [each.count() for each in self._inputs]
        return None if None in counts else sum(count for count in counts if count)

    def stop(self) -> None:
        """Stop all."""
        self._is_stopped = True
        for each in self._inputs:
            each.stop()

    def close(self) -> None:
        """Close all."""
        for each in self._inputs:
            each.close()


_FILES = {"file": Scheme("yolo_service.inputs.files")}
