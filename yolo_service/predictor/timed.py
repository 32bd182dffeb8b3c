"""How long somebody waits for what he is handed one by one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Timed(Generic[T]):
    """Hands things on.

    Attributes:
        seconds: that they took to come, so far.
    """

    def __init__(self, things: Iterable[T]) -> None:
        self._things, self.seconds = iter(things), 0.0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        before = time.monotonic()
        try:
            return next(self._things)
        finally:
            self.seconds += time.monotonic() - before
