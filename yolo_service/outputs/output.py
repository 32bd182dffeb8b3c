"""The protocol of outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from yolo_service.inputs.item import Item
from yolo_service.predictor.answer import Answer

Acknowledge = Callable[[], None]
"""Tells that the result of an item is where it cannot be lost; called once."""


class Output(Protocol):
    """Takes the result of each item, and acknowledges it when it is written whole.

    An answer becomes a result in two steps: ``encode`` on the predictor's workers, as many at once
    as there are, and ``put`` in one thread, in the order of the input. All methods but ``encode``
    and ``has`` are called by that thread, and it is the one that calls ``acknowledge``: during
    ``put``, ``keep``, ``flush`` or ``close``, whichever makes the result durable. A result that is
    not acknowledged may be written again by a later run.

    A module of ``outputs`` is reached by the scheme of a sink, see ``outputs.opening``.
    """

    @property
    def needs_image(self) -> bool:
        """Whether ``encode`` uses ``Answer.image``."""

    @property
    def needs_sha256(self) -> bool:
        """Whether ``Item.sha256`` is used."""

    def has(self, item: Item) -> bool:
        """Return whether an item has a result of an earlier run; called by any thread.

        An error is no result. Of an item with ``taken_at``, a result that is older is not its own.
        """

    def encode(self, item: Item, answer: Answer) -> Any:
        """Return what ``put`` needs: the text of a result, the bytes of a file.

        It may do the slow part of writing, as long as nobody can see its effect before ``put``.

        Raises:
            ItemError: this item cannot have a result; the others go on.
            OutputError: the run has to end.
        """

    def put(self, item: Item, encoded: Any, acknowledge: Acknowledge) -> None:
        """Write the result of an item; may wait until there is room for it.

        Raises:
            OutputError: the run has to end.
        """

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Write that an item has failed, where the output has a place for it; else acknowledge.

        Raises:
            OutputError: the run has to end.
        """

    def keep(self, item: Item, acknowledge: Acknowledge) -> None:
        """Acknowledge an item that has a result, see ``has``, when that cannot be lost."""

    def flush(self) -> None:
        """Make what was put durable, as far as the output can before it is closed.

        Called about once a second, and when the input has nothing more for now.

        Raises:
            OutputError: the run has to end.
        """

    def close(self) -> None:
        """Make everything durable and acknowledge it; called once, at the end of a run.

        Raises:
            OutputError: something is not written, and not acknowledged.
        """

    def abort(self) -> None:
        """Leave nothing half written, and acknowledge nothing more; called instead of ``close``."""


class StaysWhenPut:
    """The part of an ``Output`` whose results stay once they are put, if the run is killed, too."""

    def keep(self, item: Item, acknowledge: Acknowledge) -> None:  # noqa: ARG002
        """Acknowledge at once."""
        acknowledge()
