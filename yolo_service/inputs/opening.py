"""Opens the input that one or several sources of the command line name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from yolo_service.errors import ConfigurationError
from yolo_service.inputs.files import check_places, open_paths
from yolo_service.inputs.item import Input, Item
from yolo_service.inputs.options import InputOptions
from yolo_service.schemes import Scheme, load, scheme_of

SCHEMES = {
    "http": Scheme("yolo_service.inputs.urls"),
    "https": Scheme("yolo_service.inputs.urls"),
    "redis": Scheme("yolo_service.inputs.redis", "redis"),
    "rediss": Scheme("yolo_service.inputs.redis", "redis"),
    "s3": Scheme("yolo_service.inputs.s3", "s3"),
}
"""Modules whose ``open_input(address, options)`` returns an ``Input``."""


def open_input(sources: Sequence[str], options: InputOptions) -> Input:
    """Open sources, one after the other; all watched folders together.

    Raises:
        ConfigurationError: a source does not exist, its scheme is unknown, what it needs is not
            installed, it cannot be watched, or its files would be written over.
        InputError: a source cannot be reached.
    """
    _check_places(sources, options)
    if options.watch:
        _check_watched(sources)
    options = replace(options, is_alone=len(sources) == 1)
    paths = [source for source in sources if not scheme_of(source)]
    inputs: list[Input] = []
    for are_paths, group in itertools.groupby(sources, lambda source: not scheme_of(source)):
        if are_paths:
            inputs += open_paths(list(group), options, among=paths)
        else:
            inputs += [_open(source, options) for source in group]
    return inputs[0] if len(inputs) == 1 else Chain(inputs)


def _check_places(sources: Sequence[str], options: InputOptions) -> None:
    paths = [source for source in sources if not scheme_of(source)]
    if paths and options.move_to_store:
        raise ConfigurationError(
            f"--move-input: files are moved to a folder, not to {options.move_to_store}"
        )
    places = (options.move_to, options.failed_to, options.drawn_to)
    if paths:
        check_places(paths, [place for place in places if place])


def _check_watched(sources: Sequence[str]) -> None:
    for source in sources:
        scheme = scheme_of(source)
        if scheme in ("http", "https") or (scheme is None and not Path(source).is_dir()):
            raise ConfigurationError(
                f"only folders and s3:// addresses can be watched; {source} is neither"
            )


def _open(source: str, options: InputOptions) -> Input:
    scheme = scheme_of(source) or ""
    return cast(Input, load(scheme, SCHEMES).open_input(source, options))


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
