"""Description of a model without loading it."""

from __future__ import annotations

from dataclasses import dataclass

from darknet.model import Resize
from yolo_service.models.folder import ModelOptions
from yolo_service.models.loaded import LoadedModel


@dataclass(frozen=True)
class ModelInfo:
    """A model as ``GET /models`` describes it.

    Attributes:
        name: of the model in requests.
        classes: the class names; empty if they cannot be read.
        input_size: (width, height) in pixels; None if the .cfg cannot be read.
        resize: how images are resized to that; None if the .cfg cannot be read.
        diou_beta: exponent of DIoU suppression; None: suppression by IoU.
        options: the contents of model.yaml; None if it cannot be read.
        loaded: the model in memory, or None.
        error: why the model cannot be used, or None.
    """

    name: str
    classes: tuple[str, ...] = ()
    input_size: tuple[int, int] | None = None
    resize: Resize | None = None
    diou_beta: float | None = None
    options: ModelOptions | None = None
    loaded: LoadedModel | None = None
    error: str | None = None
