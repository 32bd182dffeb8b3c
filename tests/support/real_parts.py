"""Real parts that tests need and a machine may lack: a test skips with a reason, or fails in CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def missing(message: str) -> NoReturn:
    """Skip the test that needs something; with ``CI`` in the environment, fail it."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def existing(path: Path, how: str) -> Path:
    """Return a path that a test needs; ``how`` says how to get it."""
    return path if path.exists() else missing(f"{path} is missing; {how}")


def installed(program: str, packages: str) -> str:
    """Return the path of a program that is in one of Debian's packages."""
    return shutil.which(program) or missing(f"{program} is missing; apt-get install {packages}")
