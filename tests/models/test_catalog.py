"""The catalog as data: every entry is complete, pinned and consistent with Darknet's own files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from darknet.cfg import read_cfg
from darknet.names import read_names
from darknet.weights import Header, expected_bytes
from tests.support.networks import write_model
from yolo_service.errors import ConfigurationError, ModelNotFound, ModelUnavailable
from yolo_service.models.catalog import (
    CatalogEntry,
    changed_files,
    entries,
    find_entry,
    read_entry,
)
from yolo_service.models.folder import model_folders, read_folder, subfolders
from yolo_service.models.pull import pull_model
from yolo_service.package_data import CATALOG

ENTRIES = entries(CATALOG)
IMAGES = [
    "yolov3_coco",
    "yolov3_openimages",
    "yolo9000",
    "yolov4_coco",
    "yolov4_tiny_coco",
    "yolov7_tiny_coco",
]
"""The models that images are published with, beside the embedded one."""


@pytest.mark.parametrize("name", IMAGES)
def test_the_catalog_has_the_models_of_the_images(name: str) -> None:
    assert find_entry(name, Path("none")).name == name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_has_a_description_a_license_and_sizes(entry: CatalogEntry) -> None:
    options = entry.options
    assert options.description
    assert options.license
    assert options.classes
    assert options.input_size


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_has_the_files_of_a_model(entry: CatalogEntry) -> None:
    kinds = sorted(Path(name).suffix for name in entry.files)
    assert {".cfg", ".names", ".weights"} <= set(kinds)
    assert kinds.count(".cfg") == kinds.count(".names") == kinds.count(".weights") == 1


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_address_is_encrypted(entry: CatalogEntry) -> None:
    for source in entry.files.values():
        assert all(url.startswith("https://") for url in (source.url, *source.mirrors))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries_agree_with_darknets_own_files(entry: CatalogEntry, darknet_data: Path) -> None:
    """Debian's package has the same .cfg files, names and trees; one .cfg is patched there."""
    for name, source in entry.files.items():
        own = [path for path in darknet_data.rglob(name) if path.name != "yolo9000.cfg"]
        if own and source.sha256:
            data = own[0].read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (source.bytes, source.sha256)
    cfg_name = next(name for name in entry.files if name.endswith(".cfg"))
    path = darknet_data / "cfg" / cfg_name
    if path.exists():
        _agrees(entry, path, darknet_data)


@pytest.mark.parametrize("name", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_the_files_of_yolo_fastest_are_the_published_ones(
    name: str, shared: Path, tmp_path: Path
) -> None:
    entry = find_entry(
        {"yolo-fastest-1.1": "yolo_fastest_coco"}.get(name, "yolo_fastest_xl_coco"), tmp_path
    )
    folder = pull_model(_local(entry, shared / "models" / name), tmp_path)
    assert changed_files(folder) == []
    cfg = read_cfg(folder / f"{name}.cfg")
    assert entry.options.input_size == (cfg.net.input.width, cfg.net.input.height)
    assert entry.options.classes == cfg.classes == 80


def _local(entry: CatalogEntry, folder: Path) -> CatalogEntry:
    """Return an entry whose files are copied from a folder, with their lengths and hashes."""
    sources = tuple(
        source.model_copy(update={"url": str(folder / name), "mirrors": ()})
        for name, source in entry.files.items()
    )
    options = entry.options.model_copy(update={"sources": sources})
    return CatalogEntry(entry.name, entry.folder, options)


def _agrees(entry: CatalogEntry, path: Path, darknet_data: Path) -> None:
    cfg = read_cfg(path)
    assert entry.options.input_size == (cfg.net.input.width, cfg.net.input.height)
    assert entry.options.classes == cfg.classes
    names = next(name for name in entry.files if name.endswith(".names"))
    assert len(read_names(darknet_data / "data" / names)) == cfg.classes
    weights = entry.files[cfg_name.replace(".cfg", ".weights")] if (cfg_name := path.name) else None
    assert weights
    implied = {expected_bytes(cfg), expected_bytes(cfg, Header(0, 1))}
    assert weights.bytes is None or weights.bytes in implied


def test_an_entry_of_the_models_folder_counts_before_the_catalog(tmp_path: Path) -> None:
    own = tmp_path / "yolov3_coco"
    own.mkdir()
    (own / "model.yaml").write_text("sources: [{file: a.cfg, url: 'https://example.org/a.cfg'}]")
    assert list(find_entry("yolov3_coco", tmp_path).files) == ["a.cfg"]
    found = {entry.name: entry for entry in entries(tmp_path)}
    assert list(found["yolov3_coco"].files) == ["a.cfg"]
    assert "yolov4_coco" in found


def test_models_that_come_with_the_package_are_served_after_the_users(tmp_path: Path) -> None:
    own = {name: write_model(tmp_path / name) for name in ("a", "z")}
    included = {"blood-cells": CATALOG / "blood-cells"}
    assert list(model_folders([tmp_path, CATALOG]).items()) == list((own | included).items())


def test_a_model_that_comes_with_the_package_is_found_without_a_models_folder() -> None:
    assert model_folders([Path("none"), CATALOG]) == {"blood-cells": CATALOG / "blood-cells"}


def test_a_folder_of_the_users_hides_the_packages_model_of_its_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "blood-cells")
    assert model_folders([tmp_path, CATALOG]) == {"blood-cells": folder}


def test_a_models_folder_that_is_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("no folder")
    for look in (subfolders, entries, lambda folder: find_entry("yolov3_coco", folder)):
        with pytest.raises(ConfigurationError, match=r"file cannot be listed: Not a directory"):
            look(path)
    with pytest.raises(ModelUnavailable, match=r"file cannot be listed: Not a directory"):
        read_folder(path)


def test_a_models_folder_that_this_user_may_not_read_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir(mode=0)
    with _as_another_user(), pytest.raises(ConfigurationError, match="Permission denied"):
        model_folders([folder])


@contextmanager
def _as_another_user() -> Iterator[None]:
    """Root may read every folder, and some run the tests as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("name", ["none", "../yolov3_coco", "", "a/b", "mine"])
def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path, name: str) -> None:
    write_model(tmp_path / "mine")
    with pytest.raises(ModelNotFound, match=r"has no model .*yolov3_coco, .*yolov7_tiny_coco"):
        find_entry(name, tmp_path)


def test_a_broken_model_yaml_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.yaml").write_text("sources: 3")
    assert len(entries(tmp_path)) == len(ENTRIES)
    with pytest.raises(ModelUnavailable, match="sources"):
        find_entry("broken", tmp_path)


def test_the_staging_folder_of_an_interrupted_pull_is_no_entry(tmp_path: Path) -> None:
    staging = tmp_path / ".yolov3_coco.pull"
    staging.mkdir()
    (staging / "model.yaml").symlink_to(CATALOG / "yolov3_coco" / "model.yaml")
    assert [entry.name for entry in entries(tmp_path)] == [entry.name for entry in ENTRIES]


@pytest.mark.parametrize("file", ["../a.cfg", "/a.cfg", "a/b.cfg", ".cfg", ""])
def test_a_file_name_that_is_a_path_is_refused(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    text = f"sources: [{{file: '{file}', url: 'https://example.org/a.cfg'}}]"
    (folder / "model.yaml").write_text(text)
    with pytest.raises(ModelUnavailable, match=r"sources\.0\.file"):
        read_entry(folder)


def test_changed_and_missing_files_are_listed(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    cfg = (folder / "model.cfg").read_bytes()
    source = f"url: 'https://example.org/x', bytes: {len(cfg)}, sha256: '{'0' * 64}'"
    names = "model.cfg", "model.names", "more.txt"
    sources = "".join(f"  - {{file: {name}, {source}}}\n" for name in names)
    (folder / "model.yaml").write_text(f"sources:\n{sources}")
    assert changed_files(folder) == [
        "more.txt: missing",
        "model.cfg: its sha256 is not the one in model.yaml",
        f"model.names: has 8 bytes, model.yaml says {len(cfg)}",
    ]
