"""Model folders: the files of a model, and the options in its model.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darknet.cfg import InputSize
from darknet.errors import NamesError
from darknet.model import Dialect, NmsKind, Resize, Thresholds
from darknet.names import DATA_SUFFIXES, coco_names, find_list, read_names
from darknet.text_files import read_bytes
from yolo_service.errors import ConfigurationError, ModelUnavailable
from yolo_service.input_size import InputSizeOption
from yolo_service.package_data import CATALOG

OPTIONS_FILE = "model.yaml"
MAX_OPTIONS_BYTES = 1 << 16
TEXT_SUFFIXES = frozenset({".cfg", ".list", ".names", *DATA_SUFFIXES})

Kind = Literal["cfg", "weights", "names", "data"]
"""What a file of a model is; ``data`` names the list of class names."""

_KINDS: dict[str, Kind] = {
    ".cfg": "cfg",
    ".weights": "weights",
    ".darknet": "weights",
    ".names": "names",
    **dict.fromkeys(DATA_SUFFIXES, "data"),
}
_WANTED: dict[Kind, str] = {
    "cfg": "one .cfg",
    "weights": "one .weights",
    "names": "one .names list",
    "data": "one .names list, or a .data file naming one",
}


class Source(BaseModel):
    """Where a file of the model, or its training data, was published.

    Attributes:
        url: its address.
        file: its name in the model's folder; None: for information only, a pull leaves it out.
        mirrors: other addresses of the same file.
        bytes: its length.
        sha256: SHA-256 of its contents in hexadecimal.
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
        public: whether anybody who may use the service may have the model itself, as an ONNX file.
        sources: where its files were published; a pull downloads those that have a ``file``.
        input_size: (width, height) of the network's input in pixels, at which it is computed; None:
            as in its .cfg. Catalog entries have that of the .cfg, which is known before a pull.
        classes: number of classes.
        labels: ``coco``: classes that Darknet's coco.names spells in its own way, such as
            ``motorbike``, are called as COCO calls them; None: by the names list.
        dialect: family of Darknet with the same arithmetic: ``alexeyab`` or ``pjreddie``.
        resize: ``letterbox`` or ``stretch``; None: that of the .cfg, else of the dialect.
        use_map: YOLO9000 only: whether class ids are those of the .cfg's map.
        nms_kind: how the overlap of boxes is measured: ``cfg``, as the .cfg says, or ``iou``; None:
            ``cfg`` in the dialect alexeyab, ``iou`` in pjreddie's.
        threshold: default smallest confidence, 0..1.
        nms: default largest IoU of two boxes of one class, 0..1.
        hier_threshold: default smallest probability of a node in YOLO9000's tree, 0..1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str | None = None
    license: str | None = None
    public: bool = False
    sources: tuple[Source, ...] = ()
    input_size: InputSizeOption | None = None
    classes: int | None = Field(default=None, ge=1)
    labels: Literal["coco"] | None = None
    dialect: Dialect = "alexeyab"
    resize: Resize | None = None
    use_map: bool = False
    nms_kind: NmsKind | None = None
    threshold: float = Field(default=0.25, ge=0, le=1)
    nms: float = Field(default=0.45, ge=0, le=1)
    hier_threshold: float = Field(default=0.5, ge=0, le=1)

    def thresholds(
        self, threshold: float | None, nms: float | None, hier_threshold: float | None
    ) -> Thresholds:
        """Return the thresholds of a request; None stands for the model's own value.

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
        name: of the model in requests.
        cfg: the .cfg file.
        weights: the weights file.
        names: the list of class names, or a .data or .meta file that names it.
        options: the contents of model.yaml.
    """

    name: str
    cfg: Path
    weights: Path
    names: Path
    options: ModelOptions = field(default_factory=ModelOptions)

    def read_names(self) -> tuple[str, ...]:
        """Read the class names, as model.yaml has them spelled.

        Raises:
            NamesError: see ``darknet.names.read_names``.
        """
        names = read_names(self.names)
        return coco_names(names) if self.options.labels == "coco" else names

    def load_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``load_model`` and ``load_network`` for this model.

        Raises:
            NamesError: the class names cannot be read.
        """
        own = self.options
        files = {"cfg": self.cfg, "weights": self.weights, "names": self.read_names()}
        keys = ("dialect", "resize", "input_size", "use_map", "nms_kind")
        return files | {key: getattr(own, key) for key in keys}

    def at_size(self, input_size: InputSize | None) -> ModelFiles:
        """Return the model at another size of the network's input; None: at its own."""
        if input_size is None:
            return self
        options = self.options.model_copy(update={"input_size": input_size})
        return replace(self, options=options)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders inside a models folder, by name, without those named ``.x`` or ``_x``.

    A models folder that does not exist has none.

    Raises:
        ConfigurationError: it cannot be listed.
    """
    try:
        return sorted(
            path for path in folder.iterdir() if path.name[0] not in "._" and path.is_dir()
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(
            f"the models folder {folder} cannot be listed: {error.strerror}; expected a folder "
            "that this user can read, see YOLO_MODELS_DIR"
        ) from error


def model_folders(roots: Sequence[Path]) -> dict[str, Path]:
    """Return the folders of the models that can be served, by model name.

    Args:
        roots: see ``Settings.model_roots``. Of one name, the first counts. Of the package's own
            folder only models that are complete count, because the others are its catalog.

    Raises:
        ConfigurationError: one of them cannot be listed.
    """
    folders: dict[str, Path] = {}
    for root in roots:
        listed = subfolders(root)
        for folder in filter(is_complete, listed) if root == CATALOG else listed:
            folders.setdefault(folder.name, folder)
    return folders


def read_folder(folder: Path) -> ModelFiles:
    """Find the files of a model in its folder; only model.yaml is read.

    Raises:
        ModelUnavailable: the folder cannot be listed, a file is missing or not pulled yet, there
            are two of a kind, or model.yaml is wrong.
    """
    options, files = read_options(folder), files_by_kind(folder)
    if any(source.file for source in options.sources) and not files["weights"]:
        raise ModelUnavailable(
            f"{folder.name}: not pulled yet; run: yolo-service models pull {folder.name}"
        )
    cfg, weights = _only(folder, files, "cfg"), _only(folder, files, "weights")
    names = _only(folder, files, "names" if files["names"] else "data")
    _check_inside(folder, cfg, names)
    return ModelFiles(folder.name, cfg, weights, names, options)


def _check_inside(folder: Path, cfg: Path, names: Path) -> None:
    """Refuse files that are no model's, whose lines would be answered as names or in errors.

    A link may lead out of the folder to a file of the same kind.
    """
    try:
        lists = [names, find_list(names)] if names.suffix in DATA_SUFFIXES else [names]
    except NamesError as error:
        raise ModelUnavailable(f"{folder.name}: {error}") from error
    root = folder.resolve()
    for path in (cfg, *lists):
        target = path.resolve()
        is_text = target.suffix in TEXT_SUFFIXES or kind_of(target.name) == "names"
        if not (is_text or target.is_relative_to(root)):
            raise ModelUnavailable(
                f"{folder.name}: {path.name} is outside of the model's folder and not one of "
                f"{', '.join(sorted(TEXT_SUFFIXES))}; copy it into the folder"
            )


def is_complete(folder: Path) -> bool:
    """Return whether a folder has all files of a model; their contents are not checked."""
    try:
        read_folder(folder)
    except ModelUnavailable:
        return False
    return True


def kind_of(name: str) -> Kind | None:
    """Return what a file is by its name, such as Obico's ``names``; None: not one of a model."""
    return "names" if name == "names" else _KINDS.get(Path(name).suffix)


def files_by_kind(folder: Path) -> dict[Kind, list[Path]]:
    """Return the files of a model's folder, those of each kind by name.

    Raises:
        ModelUnavailable: the folder cannot be listed.
    """
    files: dict[Kind, list[Path]] = {kind: [] for kind in get_args(Kind)}
    try:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            if kind := kind_of(path.name):
                files[kind].append(path)
    except OSError as error:
        message = f"{folder.name}: {folder} cannot be listed: {error.strerror}"
        raise ModelUnavailable(message) from error
    return files


def _only(folder: Path, files: dict[Kind, list[Path]], kind: Kind) -> Path:
    found = files[kind]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise ModelUnavailable(f"{folder.name}: expected {_WANTED[kind]}, found {names}")


def read_options(folder: Path) -> ModelOptions:
    """Read a folder's model.yaml; without one every option has its default.

    Raises:
        ModelUnavailable: it is no YAML, or has an unknown or wrong value.
    """
    path = folder / OPTIONS_FILE
    try:
        text = read_bytes(path, MAX_OPTIONS_BYTES).decode()
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("aliases are not taken; repeat the value")
        data = yaml.safe_load(text)
        return ModelOptions.model_validate({} if data is None else data)
    except (FileNotFoundError, NotADirectoryError):
        return ModelOptions()
    except ValidationError as error:
        lines = "; ".join(map(_line, error.errors()))
        raise ModelUnavailable(f"{folder.name}/{OPTIONS_FILE}: {lines}") from error
    # PyYAML raises ValueError for dates and numbers that Python does not have.
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ModelUnavailable(f"{folder.name}/{OPTIONS_FILE}: {reason}") from error


def _line(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}; known are {', '.join(ModelOptions.model_fields)}"
    return f"{key or 'contents'}: {error['msg']}, found {error['input']!r}"
