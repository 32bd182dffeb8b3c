"""The protocol of inputs, and their items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from yolo_service.predictor.job import Image


@dataclass(eq=False)
class Item(ABC):
    """One image of an input, which ends exactly once: as done, failed or released.

    Until then the input keeps what it came from: the file, the message, the object. The methods
    are called by another thread than the one that iterates over the input, one at a time, and in
    any order.

    Attributes:
        name: relative path of the item within its input, with ``/`` between its parts, none of
            which is empty, ``.`` or ``..``. Results are named after it, and ``Answer.name`` is it.
        origin: where it is from, for people and for the member ``file`` of results: a path as it
            was given, a URL.
        taken_at: seconds since 1970 at which an earlier process took this item without ending it,
            by the clock of the input; None for one that nobody has taken before. A result that is
            not older belongs to it: then it is done without being computed again.
        has_unique_stem: whether no other item, now or later, has this name but for its extension.
        details: facts of the input about the item, for results that have a place for them, such as
            the time of a frame; plain values, ready for JSON.
        sha256: of the encoded image, in hexadecimal digits; set when it was read, for outputs that
            need it.
    """

    name: str
    origin: str
    taken_at: float | None = None
    has_unique_stem: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = field(default=None, init=False)

    @abstractmethod
    def read(self) -> Image:
        """Return the image, encoded or decoded; called at most once.

        Raises:
            ItemError: it cannot be read.
            OSError: likewise; whoever calls it names the item.
        """

    @property
    def address(self) -> str | None:
        """Where other processes and machines can read it: an absolute path, a URL.

        None if only this process can, or nobody: then ``read`` says why.
        """
        return None

    def owns_result_of(self, written_at: float) -> bool:
        """Return whether a result of its name is its own, not that of an earlier item.

        Args:
            written_at: when the result was written, in seconds since 1970.
        """
        return self.taken_at is None or written_at >= self.taken_at

    def video_file(self) -> Path | None:
        """Return a file with the item's content if that is a video; None: it may be an image.

        Called before ``read``, which is not called for a video, by the thread that iterates.
        """
        return None

    def computed(self) -> None:  # noqa: B027 - most inputs keep nothing
        """Forget what only reading or a failure would need: the result is known.

        It waits to be durable, or is one of an earlier run: then the item was not read.
        """

    def done(self) -> None:  # noqa: B027 - most inputs keep nothing
        """Forget the item: its result is where it cannot be lost.

        Raises:
            InputError: that is not possible.
        """

    def failed(self, error: Exception) -> None:  # noqa: B027 - as above
        """Put the item aside with its error, so that it is not tried again; delete nothing.

        Raises:
            InputError: that is not possible.
        """

    def release(self) -> None:  # noqa: B027 - as above
        """Give the item back, as if it had not been taken: the run ends before its result."""


class Input(Protocol):
    """Yields items, each when it can be computed at once.

    It is iterated once, by one thread. It holds no more items, and no more images, than a bound
    of its own, however many there are; and the caller limits how many it takes before they end.
    An item that cannot be read is yielded all the same: its ``read`` raises.

    A module of ``inputs`` is reached by the scheme of a source, see ``inputs.opening``.
    """

    def __iter__(self) -> Iterator[Item]:
        """Yield items until there are no more, or until ``stop``; an endless input may block.

        Raises:
            InputError: no more items can be had; those that were yielded can still end.
        """

    def count(self) -> int | None:
        """Return how many items there will be, if that can be told; called before iteration."""

    def stop(self) -> None:
        """Yield no more items; called by any thread, also before iteration and from a signal.

        A blocked iteration ends within a second.
        """

    def close(self) -> None:
        """Free connections and files, when all items have ended; may be called twice."""
