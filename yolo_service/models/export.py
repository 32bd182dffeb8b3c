"""A model of the models folder as a file for other programs: ONNX, or OpenVINO's own format."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

from darknet.errors import ModelError
from darknet.model import Model
from darknet.network import load_model
from darknet.onnx import ExportOptions, export_onnx
from yolo_service.errors import ConfigurationError, ModelUnavailable
from yolo_service.models.download import sha256
from yolo_service.models.folder import ModelFiles
from yolo_service.whole_files import write_whole

FORMAT = 1
"""Is raised when a change makes other files of the same models."""


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


class Exports:
    """Exported files of models, in a folder that is removed at the end of the process.

    Files and not memory, because a large model takes hundreds of megabytes, and because a file is
    sent in pieces to clients that are slow. For one thread.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._versions: dict[str, str] = {}

    def get(self, files: ModelFiles, version: str) -> Path:
        """Return the ONNX file of a model, without suppression; the same by gzip is ``.gz``.

        Args:
            files: of the model.
            version: see ``version_of``; the file of another version is removed.

        Raises:
            ModelUnavailable: the model cannot be exported, or the file cannot be written.
        """
        try:
            return self._get(files, version)
        except ModelError as error:
            raise ModelUnavailable(f"{files.name}: {error}") from error
        except OSError as error:
            raise ModelUnavailable(
                f"{files.name}: its ONNX file cannot be written: {error.strerror or error}; the "
                "service needs a folder for temporary files, see TMPDIR"
            ) from error

    def _get(self, files: ModelFiles, version: str) -> Path:
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="yolo-service-")
        path = Path(self._folder.name, version)
        if not path.is_file():
            if before := self._versions.pop(files.name, None):
                for old in Path(self._folder.name).glob(f"{before}*"):
                    old.unlink()
            content = export_model(files, ExportOptions())
            write_whole(compressed(path), gzip.compress(content, 1))
            write_whole(path, content)
            self._versions[files.name] = version
        return path


def compressed(path: Path) -> Path:
    """Return the path of the compressed file beside one of ``Exports``."""
    return path.with_name(f"{path.name}.gz")


def version_of(files: ModelFiles) -> str:
    """Return a text that is another one when the model or its export has changed.

    Raises:
        ModelUnavailable: a file is gone.
    """
    try:
        stats = [path.stat() for path in (files.cfg, files.weights, files.names)]
    except OSError as error:
        raise ModelUnavailable(f"{files.name}: {error.strerror}") from error
    state = [(str(files.cfg), stat.st_mtime_ns, stat.st_size) for stat in stats]
    own = (version("yolo-service"), FORMAT)
    return hashlib.sha256(repr((own, state, files.options)).encode()).hexdigest()[:32]


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
        write_whole(target, graph)
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


def _not_writable(target: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{target} cannot be written: {error.strerror or error}; name another place with --to"
    )
