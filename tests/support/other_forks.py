"""Stand-ins for builds of AlexeyAB's and hank-ai's libdarknet, compiled around Debian's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import LIBRARY

SOURCE = Path(__file__).with_name("alexeyab.c")


def build_fork(folder: Path, *faults: str) -> Path:
    """Compile a stand-in with some of the faults that alexeyab.c lists, and return its path."""
    compiler, headers = shutil.which("gcc"), LIBRARY.parent / "include"
    if compiler is None or not headers.exists():
        pytest.skip("gcc or Debian's darknet.h is missing")
    library = folder / "libdarknet.so"
    macros = [f"-D{fault}" for fault in faults]
    command = [compiler, "-shared", "-fPIC", "-w", "-O1", *macros, f'-DLIBRARY="{LIBRARY}"']
    subprocess.run([*command, f"-I{headers}", "-o", library, SOURCE, "-lm", "-ldl"], check=True)
    return library
