"""The models folder: the models in it, and those that are loaded.

Reading folders and loading take long, so ``load`` uses two threads: one reads folders, one loads
and closes models. ``default`` and ``loaded`` never wait.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from darknet.cfg import InputSize, read_cfg
from darknet.decode import diou_beta
from darknet.errors import DarknetError
from darknet.network import Network, default_resize
from yolo_service import metrics, process
from yolo_service.errors import (
    ConfigurationError,
    ModelNotFound,
    ModelUnavailable,
    ServiceError,
    ShuttingDown,
)
from yolo_service.models.folder import ModelFiles, model_folders, read_folder
from yolo_service.models.info import ModelInfo
from yolo_service.models.loaded import LoadedModel
from yolo_service.threads import DaemonExecutor, copy_result, set_exception

log = logging.getLogger(__name__)

MINE = "mine"
"""A model of this name, which users of a container mount, is preferred as the default."""

RETRY_SECONDS = 5.0
"""How long the error of a model that could not be loaded is answered without another try."""

Loader = Callable[[ModelFiles], Network]


class _Entry:
    """One model; ``lock`` is held while it is loaded, so that it is loaded once."""

    def __init__(self, name: str, files: ModelFiles | None, error: str | None) -> None:
        self.name, self.files, self.error = name, files, error
        self.model: LoadedModel | None = None
        self.failed_at = -math.inf
        self.lock = threading.Lock()

    def complete_files(self) -> ModelFiles:
        if self.files is None:
            raise ModelUnavailable(f"model {self.error}")
        return self.files

    def resize(self, input_size: InputSize | None) -> None:
        self.files = self.files and self.files.at_size(input_size)

    def info(self) -> ModelInfo:
        files, model = self.files, self.model
        if files is None:
            return ModelInfo(self.name, error=self.error)
        try:
            own = files.options
            cfg = model.network.cfg if model else read_cfg(files.cfg, input_size=own.input_size)
            names = model.network.names if model else files.read_names()
        except DarknetError as error:
            return ModelInfo(self.name, options=files.options, error=str(error))
        return ModelInfo(
            self.name,
            names,
            (cfg.net.input.width, cfg.net.input.height),
            own.resize or default_resize(cfg, own.dialect),
            diou_beta(cfg, own.dialect, own.nms_kind) if cfg.heads else None,
            own,
            model,
            None if model else self.error,
        )


class ModelRepository:
    """The models of some folders, and at most one more given by its files.

    Args:
        roots: each has one sub-folder per model; see ``model_folders``.
        load: makes a network from files; raises DarknetError.
        default: name of the default model; None: ``extra``, else ``MINE``, else the first complete
            one.
        extra: a model outside the folders.
        input_size: (width, height) of the default model's input; None: its own.
        max_bytes: weights that may be in memory; before another model is loaded, those used least
            recently are unloaded. None: no limit.

    Raises:
        ConfigurationError: there is no model to serve.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        load: Loader,
        *,
        default: str | None = None,
        extra: ModelFiles | None = None,
        input_size: InputSize | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self._roots, self._load_network, self._extra = roots, load, extra
        self._max_bytes, self._input_size = max_bytes, input_size
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        self._reader, self._loader = DaemonExecutor("model-reader"), DaemonExecutor("model-loader")
        self._closing = threading.Event()
        self.default = default or ""
        self.scan()
        if self.default not in self._entries:
            raise ConfigurationError(self._nothing_to_serve())

    def scan(self) -> None:
        """Look for new, changed and removed folders; what is loaded stays loaded."""
        with self._lock:
            folders = model_folders(self._roots)
            found = {name: _entry(folder) for name, folder in folders.items()}
            if self._extra:
                found[self._extra.name] = _Entry(self._extra.name, self._extra, None)
            self.default = self.default or self._first(found)
            if self.default in found:
                found[self.default].resize(self._input_size)
            self._entries = found | {
                name: old for name, old in self._entries.items() if _stays(old, found.get(name))
            }
            for name in _complete(self._entries):
                metrics.expect_model(name)

    def loaded(self, name: str | None) -> LoadedModel | None:
        """Return a model (None: the default) if it is in memory; never waits."""
        entry = self._entries.get(name or self.default)
        return entry.model if entry else None

    def is_known(self, name: str) -> bool:
        """Return whether the last scan has found a model; never waits."""
        return name in self._entries

    @property
    def load_error(self) -> str | None:
        """Why the default model could not be loaded again, if that was tried."""
        entry = self._entries.get(self.default)
        return entry.error if entry else "the default model was removed"

    def load(self, name: str | None) -> Future[LoadedModel]:
        """Load a model (None: the default) unless it is in memory; never waits.

        An unknown name fails at once, also while another model is being loaded.

        Raises (by the future):
            ModelNotFound: no such model.
            ModelUnavailable: its files are wrong, or the engine refuses them.
        """
        future: Future[LoadedModel] = Future()

        def find() -> None:
            try:
                loading = self._loader.submit(self._get, self._find(name or self.default))
            except Exception as error:
                set_exception(future, error)
            else:
                loading.add_done_callback(lambda done: copy_result(done, future))

        try:
            self._reader.submit(find)
        except ServiceError as error:
            set_exception(future, error)
        return future

    def get(self, name: str | None = None) -> LoadedModel:
        """Return a model (None: the default), loaded in this thread unless it is in memory.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its files are wrong, or the engine refuses them.
        """
        return self._get(self._find(name or self.default))

    def files(self, name: str | None = None) -> ModelFiles:
        """Return a model's files (None: the default's) without loading it.

        Raises:
            ModelNotFound: no such model.
            ModelUnavailable: its folder is incomplete.
        """
        return self._find(name or self.default).complete_files()

    def unload(self, name: str) -> None:
        """Unload a model; it is closed when no queued image holds it."""
        entry = self._find(name)
        with entry.lock:
            model, entry.model = entry.model, None
        if model:
            metrics.model_unloaded(name, model.network)
            log.info("model %s unloaded", name)
            if model.unload():
                _close(model)

    def unload_idle(self, seconds: float) -> None:
        """Unload the models that were not used for so long."""
        before = time.monotonic() - seconds
        for model in self._in_memory():
            if model.last_used < before:
                self.unload(model.name)

    def unload_idle_regularly(self, seconds: float) -> None:
        """Start a thread that calls ``unload_idle`` often enough to be late by a tenth at most."""

        def work() -> None:
            while not self._closing.wait(seconds / 10):
                self._loader.submit(self.unload_idle, seconds).result()

        threading.Thread(target=work, name="model-idle", daemon=True).start()

    def describe(self) -> Future[list[ModelInfo]]:
        """Describe every model, by name, after looking for new folders; never waits."""
        return self._reader.submit(self._describe)

    def close(self, until: float) -> bool:
        """Close all models that are not in use; waits until ``time.monotonic()`` is ``until``.

        Returns whether every model is closed; else native code still computes in this process.
        """
        self._closing.set()
        models = self._in_memory()
        for model in models:
            if model.unload():
                self._close_later(model)
        ended = self._loader.close(until)
        return self._reader.close(until) and ended and not any(m.is_held for m in models)

    def _describe(self) -> list[ModelInfo]:
        self.scan()
        return [entry.info() for _, entry in sorted(self._entries.items())]

    def _find(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None or entry.files is None:  # it may have been added or fixed meanwhile
            self.scan()
            entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(sorted(self._entries))
            raise ModelNotFound(f"no model {name[:100]!r}; there are: {known}")
        return entry

    def _get(self, entry: _Entry) -> LoadedModel:
        with entry.lock:
            if entry.model is None:
                entry.model = self._load_entry(entry)
            return entry.model

    def _in_memory(self) -> list[LoadedModel]:
        """Models in memory, the one used least recently first."""
        models = [model for entry in self._entries.values() if (model := entry.model)]
        return sorted(models, key=lambda model: model.last_used)

    def _make_room(self, files: ModelFiles) -> None:
        if self._max_bytes is None:
            return
        models = self._in_memory()
        surplus = files.weights.stat().st_size + sum(m.size for m in models) - self._max_bytes
        for model in models:
            if surplus > 0:
                surplus -= model.size
                self.unload(model.name)

    def _load_entry(self, entry: _Entry) -> LoadedModel:
        files = entry.complete_files()
        if entry.error and time.monotonic() - entry.failed_at < RETRY_SECONDS:
            raise ModelUnavailable(f"model {entry.name}: {entry.error}")
        try:
            self._make_room(files)
            with metrics.MODEL_LOAD_SECONDS.labels(entry.name).time():
                network = _warmed_up(self._load_network(files))
            model = LoadedModel(files, network, self._close_later)
        except (DarknetError, OSError) as error:
            metrics.MODEL_LOAD_FAILURES.labels(entry.name).inc()
            entry.error, entry.failed_at = str(error), time.monotonic()
            raise ModelUnavailable(f"model {entry.name}: {error}") from error
        entry.error = None
        metrics.model_loaded(entry.name, network)
        log.info("model loaded: %s", model.description)
        return model

    def _close_later(self, model: LoadedModel) -> None:
        """Close on the loader's thread, because closing may wait for an inference."""
        try:
            self._loader.submit(_close, model)
        except ShuttingDown:
            _close(model)

    def _first(self, entries: Mapping[str, _Entry]) -> str:
        if self._extra:
            return self._extra.name
        complete = _complete(entries)
        return MINE if MINE in complete else next(iter(complete), "")

    def _nothing_to_serve(self) -> str:
        errors = "".join(f"\n  {entry.error}" for entry in self._entries.values() if entry.error)
        what = f"no model {self.default!r}" if self.default else "no model"
        names = ", ".join(_complete(self._entries))
        complete = f"\n  complete: {names}" if names else ""
        return (
            f"{what} in {self._roots[0].resolve()}; put one there as a folder with its .cfg, "
            f".weights and .names, or set YOLO_MODELS_DIR or YOLO_MODEL{complete}{errors}"
        )


def describe_folders(roots: Sequence[Path]) -> list[ModelInfo]:
    """Describe every model of some folders; see ``model_folders``.

    Raises:
        ConfigurationError: one of them cannot be listed.
    """
    return [_entry(folder).info() for folder in model_folders(roots).values()]


def _complete(entries: Mapping[str, _Entry]) -> list[str]:
    return [name for name, entry in entries.items() if entry.files]


def _entry(folder: Path) -> _Entry:
    try:
        return _Entry(folder.name, read_folder(folder), None)
    except ModelUnavailable as error:
        return _Entry(folder.name, None, error.detail)


def _stays(old: _Entry, found: _Entry | None) -> bool:
    """Return whether an entry outlives a scan: it is loaded, or its folder has not changed."""
    if old.model is not None:
        return True
    return found is not None and found.files is not None and found.files == old.files


def _warmed_up(network: Network) -> Network:
    """Compute one image: engines do part of their work at the first one."""
    try:
        network.detect([np.zeros((64, 64, 3), np.uint8)])
    except BaseException:
        network.close()
        raise
    return network


def _close(model: LoadedModel) -> None:
    model.network.close()
    process.return_freed_memory()
