"""Where the files are that come with the project: the contract and the catalog.

In a checkout they stand at its top level; a wheel holds copies of them in ``yolo_service/data``.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"
_ROOT = _DATA if _DATA.is_dir() else _PACKAGE.parent

CONTRACT = _ROOT / "swagger.yaml"
"""The OpenAPI document that the service routes by."""
CATALOG = _ROOT / "models"
"""One folder per model that can be pulled, and the complete model ``blood-cells``."""
