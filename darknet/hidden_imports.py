"""Imports of packages without what they bring along and nothing here uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let a module count as not installed for a while; who imports it has to be prepared for that.

    Args:
        module: its whole name.
    """
    loaded = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment] # Python's way to say: not here
    try:
        yield
    finally:
        del sys.modules[module]
        if loaded is not None:
            sys.modules[module] = loaded
