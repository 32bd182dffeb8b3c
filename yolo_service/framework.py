"""connexion, imported without its other web framework.

connexion loads aiohttp, which nothing here uses, wherever it is installed; and it always is,
because connexion requires it. That costs 0.1 s of every start and 10 MB, so it is hidden for the
time of the import, which connexion is prepared for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ConnexionRequest", "FlaskApp", "ParameterValidator", "RequestBodyValidator"]


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    loaded = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment] # Python's way to say: not here
    try:
        yield
    finally:
        del sys.modules[package]
        if loaded is not None:
            sys.modules[package] = loaded


with _hidden("aiohttp"):
    from connexion import FlaskApp
    from connexion.decorators.validation import ParameterValidator, RequestBodyValidator
    from connexion.lifecycle import ConnexionRequest
