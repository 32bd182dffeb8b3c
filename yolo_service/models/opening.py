"""The models of the settings: the repository, the default model, loading."""

from __future__ import annotations

from darknet.model import EngineName, Precision
from darknet.network import Network, load_network
from yolo_service.models.classic import classic_files, pull_classic
from yolo_service.models.download import Bar, no_bar
from yolo_service.models.folder import ModelFiles
from yolo_service.models.pull import pull_named
from yolo_service.models.repository import ModelRepository
from yolo_service.settings import Settings


def open_repository(settings: Settings) -> ModelRepository:
    """Make the repository of the models that the settings name; none is loaded yet.

    Raises:
        ConfigurationError: there is no model to serve.
    """
    return ModelRepository(
        settings.model_roots,
        lambda files: load_files(files, settings, settings.workers),
        default=settings.model,
        extra=classic_files(settings),
        input_size=settings.input_size,
        max_bytes=settings.model_memory_bytes,
    )


def ensure_model(settings: Settings, bar: Bar = no_bar) -> None:
    """Pull the default model if the settings name one that is not complete: by name, or by files.

    Raises:
        PullError: it cannot be pulled.
        ConfigurationError: the models folder cannot be listed.
    """
    pull_classic(settings, bar)
    pull_named(settings, bar)


def default_files(settings: Settings) -> ModelFiles:
    """Return the files of the default model.

    Raises:
        ConfigurationError: there is no model.
        ModelUnavailable: its folder is incomplete.
    """
    return open_repository(settings).files()


def load_files(
    files: ModelFiles,
    settings: Settings,
    streams: int | None = None,
    *,
    engine: EngineName | None = None,
    precision: Precision | None = None,
) -> Network:
    """Load a model with the settings' engine and precision, or others; see ``load_network``."""
    return load_network(
        **files.load_arguments(),
        engine=engine or settings.engine,
        device=settings.device,
        precision=precision or settings.precision,
        library=settings.libdarknet,
        streams=streams,
        cache=settings.cache_dir,
    )
