"""A model of the models folder as a file for other programs: ONNX, or OpenVINO's own format."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from darknet.errors import ModelError
from darknet.model import Model
from darknet.network import load_model
from darknet.onnx import ExportOptions, export_onnx
from yolo_service.errors import ConfigurationError, ModelUnavailable
from yolo_service.models.download import sha256
from yolo_service.models.folder import ModelFiles


def export_model(files: ModelFiles, options: ExportOptions) -> bytes:
    """Return a model as an ONNX file with its metadata; see ``export_onnx``.

    The defaults of the thresholds are those of the model.

    Raises:
        ModelError: the files are wrong, or the model cannot be exported with these options.
    """
    model = load_model(**files.load_arguments())
    thresholds = files.options.thresholds(None, None, None)
    options = dataclasses.replace(options, thresholds=thresholds)
    return export_onnx(model, options, metadata(files, model))


@dataclass(frozen=True, eq=False)
class Exported:
    """An exported file.

    Attributes:
        content: the ONNX file.
        compressed: the same by gzip.
        version: another one when a file of the model has changed.
    """

    content: bytes
    compressed: bytes
    version: str


class Exports:
    """Exported files of models; the last one is kept. For one thread."""

    def __init__(self) -> None:
        self._last: Exported | None = None

    def get(self, files: ModelFiles) -> Exported:
        """Return a model as an ONNX file without suppression.

        Raises:
            ModelUnavailable: it cannot be exported.
        """
        version = _version(files)
        if self._last is None or self._last.version != version:
            self._last = None  # before another one is in memory
            try:
                content = export_model(files, ExportOptions())
            except ModelError as error:
                raise ModelUnavailable(f"{files.name}: {error}") from error
            self._last = Exported(content, gzip.compress(content, 1), version)
        return self._last


def _version(files: ModelFiles) -> str:
    stats = [path.stat() for path in (files.cfg, files.weights, files.names)]
    state = [(str(files.cfg), stat.st_mtime_ns, stat.st_size) for stat in stats]
    return hashlib.sha256(repr((state, files.options)).encode()).hexdigest()[:32]


def metadata(files: ModelFiles, model: Model) -> dict[str, str]:
    """Return what an exported file says of its model; lists and numbers as JSON."""
    net, own = model.cfg.net.input, files.options
    return {
        "name": files.name,
        "names": json.dumps(model.names, ensure_ascii=False),
        "input_size": json.dumps([net.width, net.height]),
        "dialect": model.dialect,
        "resize": model.resize,
        "threshold": json.dumps(own.threshold),
        "nms": json.dumps(own.nms),
        "description": own.description or "",
        "license": own.license or "",
        "cfg_sha256": sha256(files.cfg),
        "weights_sha256": sha256(files.weights),
    }


def write_export(files: ModelFiles, options: ExportOptions, target: Path) -> Path:
    """Write a model as ``target``, an ONNX file; a file of this name is replaced.

    Raises:
        ModelError: see ``export_model``.
        ConfigurationError: the file cannot be written.
    """
    graph = export_model(files, options)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, graph)
    except OSError as error:
        raise _not_writable(target, error) from error
    return target


def write_openvino_export(files: ModelFiles, options: ExportOptions, folder: Path) -> Path:
    """Write a model into a folder in OpenVINO's format; returns the path of the .xml.

    Raises:
        ModelError: see ``export_model``.
        EngineError: OpenVINO is missing or refused the graph.
        ConfigurationError: the files cannot be written.
    """
    from darknet.engines.openvino import write_openvino

    target = folder / f"{files.name}.xml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_openvino(export_model(files, options), target, half=options.half)
    except OSError as error:
        raise _not_writable(target, error) from error
    return target


def _replace(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the whole old or the whole new one."""
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _not_writable(target: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{target} cannot be written: {error.strerror or error}; name another place with --to"
    )
