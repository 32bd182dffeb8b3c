"""Where this checkout and Debian's darknet package keep their files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The top of the checkout."""

DARKNET = Path("/usr/share/darknet")
LIBRARY = Path("/usr/lib/darknet/libdarknet.so")
