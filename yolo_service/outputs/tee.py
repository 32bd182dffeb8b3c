"""Several outputs as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo_service.inputs.item import Item
from yolo_service.outputs.output import Acknowledge, Output
from yolo_service.predictor.answer import Answer

_HAS = object()
"""Instead of what is put into an output that has a result."""


class Tee:
    """An ``Output``: each result goes to several, and is acknowledged when all have.

    Args:
        outputs: the outputs.
        resume: whether results of an earlier run count: an output that has one gets no second one.
    """

    def __init__(self, outputs: Sequence[Output], *, resume: bool = False) -> None:
        self._outputs, self._resume = outputs, resume

    @property
    def needs_image(self) -> bool:
        """Whether one of them does."""
        return any(output.needs_image for output in self._outputs)

    @property
    def needs_sha256(self) -> bool:
        """Whether one of them does."""
        return any(output.needs_sha256 for output in self._outputs)

    def has(self, item: Item) -> bool:
        """Return whether all of them have a result."""
        return all(output.has(item) for output in self._outputs)

    def encode(self, item: Item, answer: Answer) -> list[Any]:
        """Encode for each."""
        counts_earlier = self._resume or item.taken_at is not None
        return [
            _HAS if counts_earlier and output.has(item) else output.encode(item, answer)
            for output in self._outputs
        ]

    def put(self, item: Item, encoded: list[Any], acknowledge: Acknowledge) -> None:
        """Write to each."""
        last = self._when_all(acknowledge)
        for output, each in zip(self._outputs, encoded, strict=True):
            if each is _HAS:
                output.keep(item, last)
            else:
                output.put(item, each, last)

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Write an error to each."""
        last = self._when_all(acknowledge)
        for output in self._outputs:
            output.put_error(item, error, last)

    def keep(self, item: Item, acknowledge: Acknowledge) -> None:
        """Acknowledge when all do."""
        last = self._when_all(acknowledge)
        for output in self._outputs:
            output.keep(item, last)

    def flush(self) -> None:
        """Flush each."""
        for output in self._outputs:
            output.flush()

    def close(self) -> None:
        """Close each."""
        for output in self._outputs:
            output.close()

    def abort(self) -> None:
        """Abort each."""
        for output in self._outputs:
            output.abort()

    def _when_all(self, acknowledge: Acknowledge) -> Acknowledge:
        left = len(self._outputs)

        def one() -> None:
            nonlocal left
            left -= 1
            if not left:
                acknowledge()

        return one
