"""Description of a model without loading it."""

from __future__ import annotations

from dataclasses import dataclass

from darknet.cfg import read_cfg
from darknet.errors import DarknetError
from darknet.names import read_names
from yolo_service.models.folder import ModelFiles, ModelOptions
from yolo_service.models.loaded import LoadedModel


@dataclass(frozen=True)
class ModelInfo:
    """A model as ``GET /models`` describes it.

    Attributes:
        name: of the model in requests.
        classes: the class names; empty if they cannot be read.
        input_size: (width, height) in pixels; None if the .cfg cannot be read.
        options: the contents of model.yaml; None if it cannot be read.
        loaded: the model in memory, or None.
        error: why the model cannot be used, or None.
    """

    name: str
    classes: tuple[str, ...] = ()
    input_size: tuple[int, int] | None = None
    options: ModelOptions | None = None
    loaded: LoadedModel | None = None
    error: str | None = None


def describe_files(
    files: ModelFiles, loaded: LoadedModel | None = None, error: str | None = None
) -> ModelInfo:
    """Describe a complete model by its files, or by the network if it is loaded."""
    if loaded:
        network = loaded.network
        return ModelInfo(files.name, network.names, network.input_size, files.options, loaded)
    try:
        shape, classes = read_cfg(files.cfg).net.input, read_names(files.names)
    except DarknetError as wrong:
        return ModelInfo(files.name, options=files.options, error=str(wrong))
    size = shape.width, shape.height
    return ModelInfo(files.name, classes, size, files.options, None, error)
