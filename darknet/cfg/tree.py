"""Read YOLO9000's class tree and class map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from darknet.cfg.sections import Section
from darknet.errors import NamesError
from darknet.text_files import read_bytes

IntArray = npt.NDArray[np.int32]
Contents = TypeVar("Contents")

SUFFIXES = frozenset({".list", ".map", ".tree", ".txt"})
"""Of files outside of the .cfg's folder. Others are not read: a .cfg that somebody sent could name
any file, whose lines would be part of an error."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree of classes whose siblings share a softmax.

    Nodes are in Darknet's order: parents before children, siblings in a row. There may be several
    roots.

    Attributes:
        names: one label per node (a WordNet id in 9k.tree).
        parent: int32[n], index of the parent, -1 for roots.
        child: int32[n], the group of the node's children, -1 for leaves.
        group_offset: int32[g], first node of each group of siblings.
        group_size: int32[g], number of nodes in each group.
    """

    names: tuple[str, ...]
    parent: IntArray
    child: IntArray
    group_offset: IntArray
    group_size: IntArray

    def __len__(self) -> int:
        return len(self.names)


def read_tree(path: Path) -> Tree:
    """Read a tree file: one ``name parent`` per line, parent -1 for roots.

    Raises:
        NamesError: the file is missing, or a line is not a name and an earlier node's number.
    """
    names: list[str] = []
    parents: list[int] = []
    for number, line in enumerate(read_lines(path, "class tree"), start=1):
        name, parent = _parse_node(path, number, line, len(names))
        names.append(name)
        parents.append(parent)
    if not names:
        raise NamesError(f"{path}: expected lines of 'name parent', found an empty file")
    return _build(path, names, parents)


def read_map(path: Path, classes: int) -> tuple[int, ...]:
    """Read a class map: the number of each class's tree node, one per line.

    Raises:
        NamesError: the file is missing, or a line is not a number from 0 to ``classes`` - 1.
    """
    nodes: list[int] = []
    for number, line in enumerate(read_lines(path, "class map"), start=1):
        text = line.strip()
        if not text.isdecimal() or int(text) >= classes:
            raise NamesError(
                f"{path}:{number}: expected a node from 0 to {classes - 1}, found {text[:40]!r}"
            )
        nodes.append(int(text))
    return tuple(nodes)


def read_named_tree(
    section: Section, folder: Path | None, classes: int | None = None
) -> Tree | None:
    """Read the file of a section's ``tree`` option; None without the option.

    Raises:
        NamesError: it is missing, wrong, or of another number of ``classes``.
    """

    def read(path: Path) -> Tree:
        tree = read_tree(path)
        if classes not in (None, len(tree)):
            raise NamesError(f"{path}: has {len(tree)} classes, the section says {classes}")
        return tree

    return _read_named(section, "tree", folder, read)


def read_named_map(section: Section, folder: Path | None, classes: int) -> tuple[int, ...]:
    """Read the file of a section's ``map`` option; () without the option."""
    return _read_named(section, "map", folder, lambda path: read_map(path, classes)) or ()


def _read_named(
    section: Section, option: str, folder: Path | None, read: Callable[[Path], Contents]
) -> Contents | None:
    """Read the file that an option names: beside the .cfg, else the path as given.

    Of several, the first that is right: beside the .cfg there may be a broken copy, which Darknet
    does not look at.
    """
    name = section.text(option, "")
    if not name:
        return None
    beside = [folder / name, folder / Path(name).name] if folder else []
    paths = [path for path in dict.fromkeys((*beside, Path(name))) if path.is_file()]
    errors: list[NamesError] = []
    for path in paths:
        _check_inside(section, option, folder, path)
        try:
            contents = read(path)
        except NamesError as error:
            errors.append(error)
            continue
        for wrong in errors:
            section.warn(f"{wrong}; {path} is read instead", option)
        return contents
    if errors:
        raise errors[0]
    raise section.error(f"{name} not found; put {Path(name).name} beside the .cfg", option)


def _check_inside(section: Section, option: str, folder: Path | None, path: Path) -> None:
    """Refuse a file of another kind outside of the .cfg's folder, also behind a link."""
    target = path.resolve()
    is_inside = folder is not None and target.is_relative_to(folder.resolve())
    if not is_inside and target.suffix not in SUFFIXES:
        raise section.error(
            f"{path} is outside of the .cfg's folder and not one of "
            f"{', '.join(sorted(SUFFIXES))}; copy it beside the .cfg",
            option,
        )


def read_lines(path: Path, what: str) -> list[str]:
    """Return the lines of a text file without empty lines at its end.

    Raises:
        NamesError: the file cannot be read or is not UTF-8 text.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NamesError(f"{path}: cannot read the {what}: {error}") from error
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _parse_node(path: Path, number: int, line: str, seen: int) -> tuple[str, int]:
    fields = line.split()
    try:
        name, parent = fields[0], int(fields[1])
    except (IndexError, ValueError) as error:
        raise NamesError(f"{path}:{number}: expected 'name parent', found {line[:40]!r}") from error
    if len(fields) != 2 or not -1 <= parent < seen:
        raise NamesError(
            f"{path}:{number}: parent must be -1 or an earlier line (below {seen}), found {parent}"
        )
    return name, parent


def _build(path: Path, names: list[str], parents: list[int]) -> Tree:
    """Group siblings, which are consecutive lines with one parent."""
    offsets = [i for i, parent in enumerate(parents) if i == 0 or parent != parents[i - 1]]
    sizes = np.diff([*offsets, len(parents)])
    child = np.full(len(parents), -1, np.int32)
    for group, offset in enumerate(offsets):
        parent = parents[offset]
        if parent < 0 and group > 0:
            raise NamesError(f"{path}:{offset + 1}: roots must be the first group of the tree")
        if parent >= 0:
            child[parent] = group
    return Tree(
        names=tuple(names),
        parent=np.asarray(parents, np.int32),
        child=child,
        group_offset=np.asarray(offsets, np.int32),
        group_size=np.asarray(sizes, np.int32),
    )
