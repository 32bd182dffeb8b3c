"""What one folder of the models folder holds, and what its model.yaml says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darknet.model import Dialect, Resize, Thresholds
from yolo_service.errors import ModelUnavailable

OPTIONS_FILE = "model.yaml"


class Source(BaseModel):
    """Where something of the model was published.

    Attributes:
        url: its address.
        file: what a pull calls it in the model's folder; None: not pulled, only told.
        mirrors: other addresses of the same bytes.
        bytes: its length.
        sha256: of its contents in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    file: str | None = Field(default=None, pattern=r"^[^./\\][^/\\]*$")
    mirrors: tuple[str, ...] = ()
    bytes: int | None = Field(default=None, gt=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")


class ModelOptions(BaseModel):
    """The contents of a ``model.yaml``; every key is optional, an unknown one is an error.

    Attributes:
        description: what the model finds, in a sentence.
        license: of the weights.
        sources: where its files were published; a pull brings those that have a ``file``.
        input_size: (width, height) in pixels that its .cfg states.
        classes: how many it finds.
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
    input_size: tuple[int, int] | None = None
    classes: int | None = Field(default=None, ge=1)
    dialect: Dialect = "alexeyab"
    resize: Resize | None = None
    use_map: bool = False
    threshold: float = Field(default=0.25, ge=0, le=1)
    nms: float = Field(default=0.45, ge=0, le=1)
    hier_threshold: float = Field(default=0.5, ge=0, le=1)

    def thresholds(
        self, threshold: float | None, nms: float | None, hier_threshold: float | None
    ) -> Thresholds:
        """Fill what a request leaves out (None) with the model's own values.

        Raises:
            ImageError: a value outside 0..1.
        """
        return Thresholds(
            self.threshold if threshold is None else threshold,
            self.nms if nms is None else nms,
            self.hier_threshold if hier_threshold is None else hier_threshold,
        )


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
        ModelUnavailable: a file is missing or not pulled yet, there are two of a kind, or
            model.yaml is wrong.
    """
    options = read_options(folder)
    if any(source.file for source in options.sources) and not any(folder.glob("*.weights")):
        raise ModelUnavailable(
            f"{folder.name}: not pulled yet; run: yolo-service models pull {folder.name}"
        )
    cfg, weights = _only(folder, ".cfg"), _only(folder, ".weights")
    kind = ".names" if any(folder.glob("*.names")) else ".data"
    return ModelFiles(folder.name, cfg, weights, _only(folder, kind), options)


def _only(folder: Path, suffix: str) -> Path:
    found = sorted(folder.glob(f"*{suffix}"))
    if len(found) == 1:
        return found[0]
    wanted = "one .names list, or a .data file naming one" if suffix == ".data" else f"one {suffix}"
    names = ", ".join(path.name for path in found) or "none"
    raise ModelUnavailable(f"{folder.name}: expected {wanted}, found {names}")


def read_options(folder: Path) -> ModelOptions:
    """Read a folder's model.yaml; without one every option has its default.

    Raises:
        ModelUnavailable: it is no YAML, or has an unknown or wrong value.
    """
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
