"""Folders of images, and what is found in them."""

from __future__ import annotations

from pathlib import Path

from tests.support.input_suite import png
from yolo_service.inputs import Item
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions


def write(folder: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i))
    return folder


def items(*sources: object, **options: object) -> list[Item]:
    return list(open_input([str(source) for source in sources], InputOptions(**options)))  # type: ignore[arg-type]


def names(*sources: object, **options: object) -> list[str]:
    return [item.name for item in items(*sources, **options)]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
