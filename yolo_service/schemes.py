"""Sources and sinks by what precedes their ``://``; what they need is imported when it is used."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from types import ModuleType
from typing import NamedTuple

from yolo_service.errors import ConfigurationError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


class Scheme(NamedTuple):
    """The module that opens addresses of a scheme, and the extra that installs what it imports."""

    module: str
    extra: str | None = None


def scheme_of(address: str) -> str | None:
    """Return what precedes ``://`` in lower case; None for a path."""
    found = _SCHEME.match(address)
    return found[1].lower() if found else None


def load(scheme: str, known: Mapping[str, Scheme]) -> ModuleType:
    """Import the module of a scheme.

    Raises:
        ConfigurationError: the scheme is unknown, or its extra is not installed.
    """
    if scheme not in known:
        raise ConfigurationError(
            f"{scheme}:// is not known here; expected a path, or one of "
            f"{', '.join(f'{name}://' for name in known)}"
        )
    module, extra = known[scheme]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        how = f"; pip install 'yolo-service[{extra}]'" if extra else ""
        raise ConfigurationError(f"{scheme}:// needs the module {error.name}{how}") from error
