"""The contract, swagger.yaml, as data."""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.paths import ROOT

CONTRACT: dict[str, Any] = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))


def resolve(node: Any) -> Any:
    """Follow references, and write "nullable" as JSON Schema does."""
    if isinstance(node, list):
        return [resolve(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = CONTRACT
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return resolve(target)
    resolved = {key: resolve(value) for key, value in node.items()}
    if resolved.pop("nullable", False):
        return {"anyOf": [{"type": "null"}, resolved]}
    return resolved


def schema(path: str, method: str, status: str) -> dict[str, Any]:
    """Return the schema of a JSON response."""
    response = resolve(CONTRACT["paths"][path][method]["responses"][status])
    found: dict[str, Any] = response["content"]["application/json"]["schema"]
    return found
