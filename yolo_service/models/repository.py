"""The models folder: which models there are, and those that are loaded.

Everything here may take long and is safe to call from several native threads; nothing of it
belongs on gevent's loop, but for ``default`` and ``loaded``, which only look.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darknet.cfg import Cfg, read_cfg
from darknet.errors import DarknetError
from darknet.names import read_names
from darknet.network import Network, load_network
from yolo_service import metrics
from yolo_service.errors import ConfigurationError, ModelNotFound, ModelUnavailable
from yolo_service.models.folder import ModelFiles, ModelOptions, read_folder
from yolo_service.models.loaded import LoadedModel
from yolo_service.settings import Settings

log = logging.getLogger(__name__)

MINE = "mine"
"""A model of this name comes before what an image brings: its folder is what a user mounted."""

RETRY_SECONDS = 5.0
"""How long a model that could not be loaded is answered with the same error, at no cost."""

Loader = Callable[[ModelFiles], Network]


@dataclass(frozen=True)
class ModelInfo:
    """What ``GET /models`` tells about a model.

    Attributes:
        name: what requests call it.
        classes: the class names; empty if they cannot be read.
        input_size: (width, height) in pixels; None if the .cfg cannot be read.
        options: what model.yaml says; None if it cannot be read.
        loaded: the network in memory, or None.
        error: why the model cannot be used, or None.
    """

    name: str
    classes: tuple[str, ...] = ()
    input_size: tuple[int, int] | None = None
    options: ModelOptions | None = None
    loaded: LoadedModel | None = None
    error: str | None = None


class _Entry:
    """One model; ``lock`` is held while it is loaded, so that it is loaded once."""

    def __init__(self, name: str, files: ModelFiles | None, error: str | None) -> None:
        self.name, self.files, self.error = name, files, error
        self.model: LoadedModel | None = None
        self.failed_at = -math.inf
        self.lock = threading.Lock()


class Repository:
    """The models of a folder, and at most one more given by its files.

    Args:
        folder: has one sub-folder per model; may be missing.
        load: makes a network from files; raises DarknetError.
        default: name of the default model; None: ``extra``, else ``MINE``, else the first
            complete one.
        extra: a model outside the folder.
        budget: bytes of weights that may be in memory; before another model is loaded, those make
            room that were used least recently. None: no limit.
    """

    def __init__(
        self,
        folder: Path,
        load: Loader,
        *,
        default: str | None = None,
        extra: ModelFiles | None = None,
        budget: int | None = None,
    ) -> None:
        self._folder, self._load, self._extra, self._budget = folder, load, extra, budget
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        self.scan()
        self.default = default or self._first()
        if self.default not in self._entries:
            raise ConfigurationError(self._nothing_to_serve())

    def scan(self) -> None:
        """Look for new, changed and removed folders; what is loaded stays loaded."""
        with self._lock:
            found = {folder.name: _entry(folder) for folder in _folders(self._folder)}
            if self._extra:
                found[self._extra.name] = _Entry(self._extra.name, self._extra, None)
            self._entries = found | {
                name: old for name, old in self._entries.items() if _stays(old, found.get(name))
            }

    def loaded(self, name: str | None) -> LoadedModel | None:
        """Return a model (None: the default) if it is in memory; never waits."""
        entry = self._entries.get(name or self.default)
        return entry.model if entry else None

    def get(self, name: str | None = None) -> LoadedModel:
        """Return a model (None: the default), loading it at its first use.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its files are wrong, or the engine refuses them.
        """
        entry = self._find(name or self.default)
        with entry.lock:
            if entry.model is None:
                entry.model = self._loaded(entry)
            return entry.model

    def files(self, name: str | None = None) -> ModelFiles:
        """Return a model's files (None: the default's) without loading it.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its folder is incomplete.
        """
        return _complete(self._find(name or self.default))

    def unload(self, name: str) -> None:
        """Forget a model; its memory goes back with the last request for it.

        The next use loads it again.
        """
        entry = self._find(name)
        with entry.lock:
            model, entry.model = entry.model, None
        if model:
            metrics.model_unloaded(name, model.network)
            log.info("model %s unloaded", name)

    def unload_idle(self, seconds: float) -> bool:
        """Unload the models that were not used for so long; says whether there were any."""
        before = time.monotonic() - seconds
        idle = [model.name for model in self._in_memory() if model.last_used < before]
        for name in idle:
            self.unload(name)
        return bool(idle)

    def close(self) -> None:
        """Give the memory of all loaded models back; one that is still loading is left alone."""
        for entry in self._entries.values():
            if entry.model:
                entry.model.close()

    def describe(self) -> list[ModelInfo]:
        """Describe every model, by name, after looking for new folders."""
        self.scan()
        return [_info(entry) for _, entry in sorted(self._entries.items())]

    def _find(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None or entry.files is None:
            # New, or mended meanwhile?
            self.scan()
            entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(sorted(self._entries))
            raise ModelNotFound(f"no model {name[:100]!r}; there are: {known}")
        return entry

    def _in_memory(self) -> list[LoadedModel]:
        """Models in memory, the one used least recently first."""
        models = [model for entry in self._entries.values() if (model := entry.model)]
        return sorted(models, key=lambda model: model.last_used)

    def _make_room(self, files: ModelFiles) -> None:
        if self._budget is None:
            return
        models = self._in_memory()
        surplus = files.weights.stat().st_size + sum(m.size for m in models) - self._budget
        for model in models:
            if surplus > 0:
                surplus -= model.size
                self.unload(model.name)

    def _loaded(self, entry: _Entry) -> LoadedModel:
        files = _complete(entry)
        if entry.error and time.monotonic() - entry.failed_at < RETRY_SECONDS:
            raise ModelUnavailable(f"model {entry.name}: {entry.error}")
        self._make_room(files)
        try:
            with metrics.MODEL_LOAD_SECONDS.labels(entry.name).time():
                network = self._load(files)
                # Engines put work off until their first image; let no client wait for it.
                network.detect([np.zeros((64, 64, 3), np.uint8)])
        except DarknetError as error:
            metrics.MODEL_LOAD_FAILURES.labels(entry.name).inc()
            entry.error, entry.failed_at = str(error), time.monotonic()
            raise ModelUnavailable(f"model {entry.name}: {error}") from error
        entry.error = None
        metrics.model_loaded(entry.name, network)
        where = f"{network.engine_name} on {network.device} in {network.precision}"
        log.info("model %s loaded: %s", entry.name, where)
        return LoadedModel(files, network)

    def _first(self) -> str:
        if self._extra:
            return self._extra.name
        complete = sorted(name for name, entry in self._entries.items() if entry.files)
        return MINE if MINE in complete else next(iter(complete), "")

    def _nothing_to_serve(self) -> str:
        errors = "".join(f"\n  {entry.error}" for entry in self._entries.values() if entry.error)
        what = f"no model {self.default!r}" if self.default else "no model"
        return (
            f"{what} in {self._folder.resolve()}; put one there as a folder with its .cfg, "
            f".weights and .names, or set YOLO_MODELS_DIR or YOLO_MODEL{errors}"
        )


def open_repository(settings: Settings) -> Repository:
    """Look at the models that the settings name; none is loaded yet.

    Raises:
        ConfigurationError: there is no model to serve.
    """
    return Repository(
        settings.models_dir,
        lambda files: load_files(files, settings, settings.workers),
        default=settings.model,
        extra=_classic_files(settings),
        budget=settings.model_memory_bytes,
    )


def default_files(settings: Settings) -> ModelFiles:
    """Return the files of the default model.

    Raises:
        ConfigurationError: there is no model.
        ModelUnavailable: its folder is incomplete.
    """
    return open_repository(settings).files()


def describe_folder(folder: Path) -> list[ModelInfo]:
    """Describe every model of a folder, by name; an empty list if there is none."""
    return [_info(_entry(path)) for path in _folders(folder)]


def load_files(files: ModelFiles, settings: Settings, streams: int | None = None) -> Network:
    """Load a model into the engine that the settings name; see ``darknet.load_network``."""
    own = files.options
    return load_network(
        files.cfg,
        files.weights,
        files.names,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        dialect=own.dialect,
        resize=own.resize,
        use_map=own.use_map,
        library=settings.libdarknet,
        streams=streams,
        cache=settings.cache_dir,
    )


def _classic_files(settings: Settings) -> ModelFiles | None:
    """The model of ``config_file``, ``weights_file`` and ``meta_file``, named after its .cfg."""
    cfg, weights, data = settings.config_file, settings.weights_file, settings.meta_file
    return ModelFiles(cfg.stem, cfg, weights, data) if cfg and weights and data else None


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")


def _entry(folder: Path) -> _Entry:
    try:
        return _Entry(folder.name, read_folder(folder), None)
    except ModelUnavailable as error:
        return _Entry(folder.name, None, error.detail)


def _complete(entry: _Entry) -> ModelFiles:
    if entry.files is None:
        raise ModelUnavailable(f"model {entry.error}")
    return entry.files


def _stays(old: _Entry, found: _Entry | None) -> bool:
    """Say whether an entry outlives a scan: it is loaded, or its folder has not changed."""
    if old.model is not None:
        return True
    return found is not None and found.files is not None and found.files == old.files


def _info(entry: _Entry) -> ModelInfo:
    files, loaded = entry.files, entry.model
    if files is None:
        return ModelInfo(entry.name, error=entry.error)
    if loaded:
        network = loaded.network
        return ModelInfo(entry.name, network.names, network.input_size, files.options, loaded)
    try:
        cfg, classes = read_cfg(files.cfg), read_names(files.names)
    except DarknetError as error:
        return ModelInfo(entry.name, options=files.options, error=str(error))
    return ModelInfo(entry.name, classes, _input_size(cfg), files.options, None, entry.error)


def _input_size(cfg: Cfg) -> tuple[int, int]:
    return cfg.net.input.width, cfg.net.input.height
