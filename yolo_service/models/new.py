"""A new model folder, ready to be trained, from the .cfg of another model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from darknet.cfg import Cfg, read_cfg
from darknet.cfg.adapt import adapt
from yolo_service.errors import ConfigurationError, ModelNotFound
from yolo_service.models.catalog import find_entry, is_name
from yolo_service.models.download import Bar, Wanted, download, no_bar
from yolo_service.models.folder import files_by_kind, model_folders
from yolo_service.settings import Settings

FitAnchors = Callable[[Cfg], tuple[list[tuple[float, float]], float]]
"""Returns anchors for a network, and the mean IoU of the objects with their best ones."""


class NewModel(NamedTuple):
    """A folder with a .cfg and a list of names.

    Attributes:
        folder: of the model.
        classes: number of classes.
        unchanged: number of layers whose weights may come from the other model.
        weights: of the other model; None: it is not pulled.
        fit: mean IoU of the objects with their best anchors, 0..1; None: no data were given.
    """

    folder: Path
    classes: int
    unchanged: int
    weights: Path | None
    fit: float | None


def new_model(
    name: str,
    base: str,
    names: Sequence[str],
    settings: Settings,
    *,
    fit_anchors: FitAnchors | None = None,
    bar: Bar = no_bar,
) -> NewModel:
    """Make a model folder whose .cfg fits other classes.

    Args:
        name: of the new model.
        base: a model that is served or in the catalog, of which only the .cfg is downloaded.
        names: the classes.
        settings: models folder and mirror.
        fit_anchors: fits the anchors to labelled images; None: they stay.
        bar: see ``download``.

    Raises:
        ConfigurationError: the name is taken or not a plain one, or a class is empty or repeated.
        ModelNotFound: there is no model ``base``.
        PullError: its .cfg cannot be downloaded.
        CfgError: it has other heads than ``[yolo]``.
    """
    target = settings.models_dir / name
    if not is_name(name) or target.exists():
        raise ConfigurationError(f"model {name!r}: expected a new name of letters, digits, . _ -")
    if not names or not all(names) or len(set(names)) != len(names):
        raise ConfigurationError(f"expected different names of classes, found {', '.join(names)!r}")
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.models_dir, prefix=".new-") as folder:
        source, weights = _base(base, settings, Path(folder), bar)
        cfg = read_cfg(source)
        anchors, fit = fit_anchors(cfg) if fit_anchors else (None, None)
        adapted = adapt(cfg, len(names), anchors)
        made = Path(folder) / "made"
        made.mkdir()
        (made / f"{name}.cfg").write_text(adapted.text, encoding="utf-8")
        (made / f"{name}.names").write_text("\n".join(names) + "\n", encoding="utf-8")
        shutil.move(made, target)
    return NewModel(target, len(names), adapted.unchanged, weights, fit)


def _base(base: str, settings: Settings, folder: Path, bar: Bar) -> tuple[Path, Path | None]:
    """Return the .cfg of a model, downloaded into a folder if need be, and its weights."""
    found = model_folders(settings.model_roots).get(base)
    if found and (cfgs := files_by_kind(found)["cfg"]):
        return cfgs[0], next(iter(files_by_kind(found)["weights"]), None)
    entry = find_entry(base, settings.models_dir)
    source = next((each for name, each in entry.files.items() if name.endswith(".cfg")), None)
    if source is None:
        raise ModelNotFound(f"{base} has no .cfg in its sources")
    urls: tuple[str, ...] = (source.url, *source.mirrors)
    if settings.models_mirror:
        urls = (f"{settings.models_mirror.rstrip('/')}/{base}/{source.file}",)
    sizes = frozenset({source.bytes} if source.bytes else ())
    target = folder / f"{base}.cfg"
    download(Wanted(f"{base}/{source.file}", urls, sizes, source.sha256), target, bar=bar)
    return target, None
