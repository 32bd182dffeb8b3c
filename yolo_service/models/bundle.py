"""The files of a model as bytes, for machines that do not have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from darknet.cfg.sections import parse_sections
from darknet.engines.quantized import quantized_path
from darknet.text_files import read_bytes
from yolo_service.errors import ModelUnavailable
from yolo_service.models.folder import OPTIONS_FILE, ModelFiles


@dataclass(frozen=True)
class ModelBundle:
    """A model that can be sent to another machine.

    Attributes:
        name: of the model.
        files: contents by name: all that ``unpack`` writes into the model's folder.
    """

    name: str
    files: dict[str, bytes]

    @classmethod
    def of(cls, model: ModelFiles) -> ModelBundle:
        """Read the files of a model: trees, maps and int8 versions too.

        Raises:
            ModelUnavailable: one cannot be read.
            DarknetError: the .cfg or the list of names is no such file.
        """
        options = model.options.model_dump(mode="json", exclude_unset=True, exclude={"sources"})
        texts = {
            "model.names": "".join(f"{name}\n" for name in model.read_names()),
            OPTIONS_FILE: yaml.safe_dump(options),
        }
        paths = {"model.cfg": model.cfg, "model.weights": model.weights}
        paths |= {path.name: path for path in _named_by(model.cfg)}
        for size in {None, model.options.input_size}:
            path = quantized_path(model.weights, size)
            if path.is_file():
                paths[quantized_path(Path("model.weights"), size).name] = path
        try:
            contents = {name: path.read_bytes() for name, path in paths.items()}
        except OSError as error:
            raise ModelUnavailable(f"{model.name}: cannot be read: {error}") from error
        return cls(model.name, contents | {name: text.encode() for name, text in texts.items()})

    def unpack(self, models: Path) -> None:
        """Write the model into a folder of models."""
        folder = models / self.name
        folder.mkdir(parents=True)
        for name, contents in self.files.items():
            (folder / name).write_bytes(contents)


def _named_by(cfg: Path) -> list[Path]:
    """Return the files that options of a .cfg name: trees and maps of classes."""
    sections = parse_sections(read_bytes(cfg).decode(errors="replace"), cfg.name)
    names = [section.text(option, "") for section in sections for option in ("tree", "map")]
    found = (cfg.parent / Path(name).name for name in names if name)
    return [path for path in found if path.is_file()]
