"""Readers of labelled data: COCO JSON, YOLO text files, Pascal VOC XML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

from darknet.errors import DataError
from darknet.training.dataset import Collector, Dataset, Label

T = TypeVar("T")

IMAGE_SUFFIXES = frozenset(".bmp .jpeg .jpg .png .tif .tiff .webp".split())


def read_dataset(
    path: str | Path,
    names: Sequence[str] | None = None,
    *,
    images: str | Path | None = None,
    strict: bool = False,
) -> Dataset:
    """Read labelled images.

    Args:
        path: a COCO .json; a folder with Pascal VOC .xml files (or its ``Annotations``); or,
            for YOLO labels, a folder of images or a text file with one image a line.
        names: class names of the model; None: those of the data (YOLO: ``*.names`` or
            ``classes.txt`` beside the data).
        images: folder of the images; None: beside the labels (``images/``, ``JPEGImages/``).
        strict: raise for any problem instead of leaving out bad labels and images.

    Raises:
        DataError: the data cannot be read or have no labelled object, or ``strict`` and there is a
            problem.
    """
    path = Path(path)
    folder = Path(images) if images else None
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    try:
        if path.suffix == ".json":
            collector = _read_coco(path, names, folder)
        elif found := _xml_files(path):
            collector = _read_voc(path, found, names, folder)
        else:
            collector = _read_yolo(path, names)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return collector.finish(path, strict=strict)


def _read_coco(path: Path, names: Sequence[str] | None, images: Path | None) -> Collector:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        categories = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
        listed = [(entry["id"], str(entry["file_name"])) for entry in data["images"]]
        annotations = [(entry["image_id"], entry) for entry in data["annotations"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected COCO JSON with lists images (id, file_name), annotations "
            f"(image_id, category_id, bbox) and categories (id, name): {error!r}"
        ) from error
    folder = images or _beside(path.parent, "images")
    collector = Collector(names or [categories[number] for number in sorted(categories)])
    labels: dict[object, list[Label]] = {}
    with_ids = ((entry.get("id"), (image_id, entry)) for image_id, entry in annotations)
    for _, (image_id, entry) in _unique(with_ids, f"{path}: annotation", collector):
        if label := _coco_label(entry, categories, collector, path):
            labels.setdefault(image_id, []).append(label)
    for image_id, file_name in _unique(listed, f"{path}: image", collector):
        collector.add(folder / file_name, labels.pop(image_id, []))
    for image_id in labels:
        collector.problem("missing image", f"{path}: annotations of unlisted image {image_id}")
    return collector


def _unique(
    entries: Iterable[tuple[object, T]], where: str, collector: Collector
) -> Iterator[tuple[object, T]]:
    """Yield pairs of id and value without those with a duplicate id; None is no id."""
    seen: set[object] = set()
    for number, value in entries:
        if number is not None and number in seen:
            collector.problem("duplicate id", f"{where} {number}")
        else:
            seen.add(number)
            yield number, value


def _coco_label(
    entry: dict[str, Any], categories: dict[object, str], collector: Collector, path: Path
) -> Label | None:
    try:
        left, top, width, height = (float(value) for value in entry["bbox"])
        name = categories.get(entry["category_id"], f"category {entry['category_id']}")
        crowd = bool(entry.get("iscrowd", 0))
    except (ValueError, KeyError, TypeError) as error:
        collector.problem("bad annotation", f"{path}: annotation {entry.get('id')}: {error!r}")
        return None
    return Label(name, (left, top, left + width, top + height), crowd)


def _xml_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(_beside(path, "Annotations").glob("*.xml"))


def _read_voc(
    path: Path, files: list[Path], names: Sequence[str] | None, images: Path | None
) -> Collector:
    problems: list[tuple[str, str]] = []
    parsed: list[tuple[Path, list[Label]]] = []
    home = files[0].parent
    folder = images or _beside(path, "JPEGImages", home.parent / "JPEGImages", path / "images")
    for file in files:
        try:
            # The labels are the user's own; expat itself stops entities that grow.
            root = ElementTree.fromstring(file.read_bytes())  # noqa: S314
            image = folder / (root.findtext("filename") or f"{file.stem}.jpg").strip()
            parsed.append((image, [_voc_label(entry) for entry in root.iter("object")]))
        except (ElementTree.ParseError, ValueError) as error:
            problems.append(("bad annotation", f"{file}: {error}"))
    found = sorted({str(label.name) for _, labels in parsed for label in labels})
    collector = Collector(names or found)
    for kind, where in problems:
        collector.problem(kind, where)
    for image, labels in parsed:
        collector.add(image, labels)
    return collector


def _voc_label(entry: ElementTree.Element) -> Label:
    left, top, right, bottom = (
        float(entry.findtext(f"bndbox/{side}") or "nan")
        for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return Label((entry.findtext("name") or "").strip(), (left, top, right, bottom))


def _read_yolo(path: Path, names: Sequence[str] | None) -> Collector:
    collector = Collector(names or _names_beside(path))
    for image in _yolo_images(path):
        text = _label_file(image)
        if not text.is_file():
            collector.problem("missing labels", text)
            continue
        lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
        collector.add(image, list(_yolo_labels(text, lines, collector)))
    return collector


def _yolo_images(path: Path) -> list[Path]:
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        return sorted(files)
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [path.parent / line for line in lines if line]


def _label_file(image: Path) -> Path:
    """Return the .txt beside the image, or in ``labels`` instead of ``images``, as in Darknet."""
    beside = image.with_suffix(".txt")
    parts = ["labels" if part in ("images", "JPEGImages") else part for part in beside.parts]
    elsewhere = Path(*parts)
    return elsewhere if elsewhere.is_file() else beside


def _yolo_labels(text: Path, lines: list[str], collector: Collector) -> Iterator[Label]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name, *box = line.split()
            x, y, width, height = (float(value) for value in box)
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            yield Label(int(name), corners, relative=True)
        except ValueError:
            collector.problem("bad annotation", f"{text}:{number}: {line[:60]!r}")


def _names_beside(path: Path) -> list[str]:
    folder = path if path.is_dir() else path.parent
    for file in (*sorted(folder.glob("*.names")), folder / "classes.txt"):
        if file.is_file():
            return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    raise DataError(f"{path}: YOLO labels contain no class names; give the names of the classes")


def _beside(folder: Path, *choices: str | Path) -> Path:
    """Return the first existing folder of ``choices``, else ``folder``."""
    return next((folder / choice for choice in choices if (folder / choice).is_dir()), folder)
