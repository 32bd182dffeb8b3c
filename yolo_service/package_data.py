"""Paths of the data files of the package: the contract, the catalog and pages.

In a checkout contract and catalog are at the top level; an installed wheel has them in
``yolo_service/data``.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"
_ROOT = _DATA if _DATA.is_dir() else _PACKAGE.parent

CONTRACT = _ROOT / "swagger.yaml"
"""The OpenAPI document that defines the routes of the service."""
CATALOG = _ROOT / "models"
"""A models folder with a model.yaml for each model that can be pulled; one model is complete."""
WEB = _PACKAGE / "web"
"""The pages that are sent to browsers."""
