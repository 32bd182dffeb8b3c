"""What one folder of the models folder holds, and what its model.yaml says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darknet.engines.base import Dialect, Resize
from yolo_service.errors import ModelUnavailable

OPTIONS_FILE = "model.yaml"


class Source(BaseModel):
    """Where a file of the model was published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")


class ModelOptions(BaseModel):
    """The contents of a ``model.yaml``; every key is optional, an unknown one is an error.

    Attributes:
        description: what the model finds, in a sentence.
        license: of the weights.
        sources: where its files were published.
        dialect: whose arithmetic: ``alexeyab`` or ``pjreddie``.
        resize: ``letterbox`` or ``stretch``; None: what the .cfg, else the dialect says.
        use_map: YOLO9000 only: answer the classes of the .cfg's map.
        threshold: smallest confidence if a request names none, 0..1.
        nms: largest overlap of two boxes of a class if a request names none, 0..1.
        hier_threshold: YOLO9000's if a request names none, 0..1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str | None = None
    license: str | None = None
    sources: tuple[Source, ...] = ()
    dialect: Dialect = "alexeyab"
    resize: Resize | None = None
    use_map: bool = False
    threshold: float = Field(default=0.25, ge=0, le=1)
    nms: float = Field(default=0.45, ge=0, le=1)
    hier_threshold: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model.

    Attributes:
        name: what requests call it.
        cfg: the .cfg file.
        weights: the .weights file.
        names: the list of class names, or a .data file that names it.
        options: what model.yaml says.
    """

    name: str
    cfg: Path
    weights: Path
    names: Path
    options: ModelOptions = field(default_factory=ModelOptions)


def read_folder(folder: Path) -> ModelFiles:
    """Find the files of a model in its folder; none of them is read but model.yaml.

    Raises:
        ModelUnavailable: a file is missing, there are two of a kind, or model.yaml is wrong.
    """
    cfg, weights = _only(folder, ".cfg"), _only(folder, ".weights")
    kind = ".names" if any(folder.glob("*.names")) else ".data"
    return ModelFiles(folder.name, cfg, weights, _only(folder, kind), _options(folder))


def _only(folder: Path, suffix: str) -> Path:
    found = sorted(folder.glob(f"*{suffix}"))
    if len(found) == 1:
        return found[0]
    wanted = "one .names list, or a .data file naming one" if suffix == ".data" else f"one {suffix}"
    names = ", ".join(path.name for path in found) or "none"
    raise ModelUnavailable(f"{folder.name}: expected {wanted}, found {names}")


def _options(folder: Path) -> ModelOptions:
    path = folder / OPTIONS_FILE
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
        return ModelOptions.model_validate({} if data is None else data)
    except ValidationError as error:
        lines = "; ".join(map(_line, error.errors()))
        raise ModelUnavailable(f"{folder.name}/{OPTIONS_FILE}: {lines}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ModelUnavailable(f"{folder.name}/{OPTIONS_FILE}: {reason}") from error


def _line(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}; known are {', '.join(ModelOptions.model_fields)}"
    return f"{key or 'contents'}: {error['msg']}, found {error['input']!r}"
