"""Class names: names lists, and .data files that refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from darknet.cfg.tree import read_lines
from darknet.errors import NamesError

DATA_SUFFIXES = frozenset({".data", ".meta"})
"""Suffixes of files that name the list; Obico's is a ``.meta``."""

COCO_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""Names of Darknet's coco.names and voc.names, and what COCO itself calls these classes."""


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read the class names of a model, in the order of its class indices.

    Args:
        path: a list with one name per line, or all in one line with commas between them; or a
            ``.data`` or ``.meta`` file whose ``names`` option is the path of one, relative to that
            file or else to the current folder.

    Raises:
        NamesError: the file or the list is missing or empty, or is not UTF-8 text.
    """
    path = Path(path)
    if path.suffix in DATA_SUFFIXES:
        path = find_list(path)
    lines = read_lines(path, "class names")
    only = lines[0].rstrip(", \t") if len(lines) == 1 else ""
    names = tuple(name.strip() for name in (only.split(",") if "," in only else lines))
    if not names:
        raise NamesError(f"{path}: expected one class name per line, found an empty file")
    if not all(names):
        raise NamesError(f"{path}: expected a name between any two commas, found none")
    return names


def check_names(names: tuple[str, ...], classes: int, source: str) -> None:
    """Check that there are as many names as a .cfg has classes.

    Raises:
        NamesError: the numbers differ.
    """
    if len(names) != classes:
        raise NamesError(
            f"{source} has {classes} classes, but the names list has {len(names)}; "
            "use the list this model was trained with"
        )


def has_darknets_coco_names(names: Sequence[str]) -> bool:
    """Return whether a list has all names that Darknet's lists spell differently from COCO's.

    Darknet's coco.names and voc.names do. A list with only some of them is somebody's own: its
    clients know its names as they are.
    """
    return COCO_NAMES.keys() <= set(names)


def coco_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names as COCO spells them; one whose new spelling the list has already is kept."""
    changed = {old: new for old, new in COCO_NAMES.items() if new not in names}
    return tuple(changed.get(name, name) for name in names)


def find_list(path: Path) -> Path:
    """Return the names list that a .data or .meta file names.

    Raises:
        NamesError: it names none, or the list is missing.
    """
    return _find(path, list_name(path))


def list_name(path: Path) -> str:
    """Return the path of the names list as a .data or .meta file has it.

    Raises:
        NamesError: it names none.
    """
    for line in read_lines(path, f"{path.suffix} file"):
        option, equals, value = line.partition("=")
        if equals and option.strip() == "names":
            return value.strip()
    raise NamesError(f"{path}: expected a line 'names = FILE', found none")


def _find(data: Path, name: str) -> Path:
    for candidate in (data.parent / name, data.parent / Path(name).name, Path(name)):
        if candidate.is_file():
            return candidate
    raise NamesError(f"{data}: names = {name}: no such file; put it beside {data.name}")
