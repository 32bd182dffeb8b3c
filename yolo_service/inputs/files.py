"""What a path on the command line names: a file, a folder, a pattern, or a list on stdin."""

from __future__ import annotations

import glob
import os
import select
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_service.errors import ConfigurationError
from yolo_service.inputs.claims import claimed_name, claimed_pattern
from yolo_service.inputs.file_item import FileItem, abandoned_item, file_item
from yolo_service.inputs.folder import Folders
from yolo_service.inputs.item import Input, Item
from yolo_service.inputs.listing import count_images
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.urls import UrlItem
from yolo_service.inputs.watch import WatchedFolders
from yolo_service.schemes import scheme_of

STDIN = "-"
_STOP_SECONDS = 0.2


def open_paths(
    sources: Sequence[str], options: InputOptions, among: Sequence[str] = ()
) -> list[Input]:
    """Open paths, patterns and ``-``.

    Names of items are relative to the one folder that is given, else to the innermost folder that
    has all of the sources in it.

    Args:
        sources: what is opened; only folders, if they are to be watched.
        options: of the items.
        among: all paths that are sources, if there are others between them.

    Raises:
        ConfigurationError: a path does not exist, or a pattern has no match.
    """
    paths = [Path(source) for source in sources if source != STDIN]
    if options.watch:
        return [WatchedFolders(_folders(paths), options)]
    base = _base([Path(source) for source in among or sources if source != STDIN])
    return [
        StandardInput(options) if source == STDIN else _open(source, base, options)
        for source in sources
    ]


def check_places(sources: Sequence[str], places: Sequence[Path]) -> None:
    """Check that nothing is written over the images of some paths, or taken for new ones.

    Args:
        sources: paths, patterns and ``-``.
        places: folders for annotated images and for inputs that have ended.

    Raises:
        ConfigurationError: one of them is where the images are.
    """
    paths = [Path(source) for source in sources if source != STDIN]
    roots = {_base(paths).resolve(), *(path.resolve() for path in paths)}
    for place in places:
        if place.resolve() in roots:
            raise ConfigurationError(f"{place} is where the images are; choose another place")


def _folders(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    base = _base(paths)
    return [(path, _prefix(path, base)) for path in paths]


def _open(source: str, base: Path, options: InputOptions) -> Input:
    path = Path(source)
    if path.is_dir():
        return Folders([(path, _prefix(path, base))], options)
    if path.exists():
        return Files([path], base, options)
    if not glob.has_magic(source) and not _claimed(source, options):
        raise ConfigurationError(f"{source} does not exist; expected a file, a folder or a pattern")
    return Pattern(source, base, options)


def _claimed(pattern: str, options: InputOptions) -> list[str]:
    """Return the files that match a pattern but for being claimed, if this run claims files too."""
    return _matches(claimed_pattern(pattern)) if options.takes_away else []


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207 - as given


def _base(paths: Sequence[Path]) -> Path:
    """Return the folder that names are relative to."""
    if not paths:
        return Path.cwd()
    fixed = [_without_magic(path) for path in paths]
    folders = [path if path.is_dir() else path.parent for path in fixed]
    if len(set(fixed)) > 1:  # several folders: their own names belong to the names of items
        folders = [
            path.parent if path.is_dir() else folder
            for path, folder in zip(fixed, folders, strict=True)
        ]
    try:
        return Path(os.path.commonpath([_absolute(folder) for folder in folders]))
    except ValueError:  # several drives of Windows
        return Path.cwd()


def _without_magic(path: Path) -> Path:
    while glob.has_magic(str(path)) and not path.exists():
        path = path.parent
    return path


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _prefix(folder: Path, base: Path) -> str:
    name = _name(folder, base)
    return f"{name}/" if name else ""


def _name(path: Path, base: Path) -> str:
    """Return the relative name of a path, or all of it without its root if it is elsewhere."""
    absolute = _absolute(path)
    if absolute.is_relative_to(base):
        relative = absolute.relative_to(base)
        return "" if relative == Path() else relative.as_posix()
    return absolute.relative_to(absolute.anchor).as_posix()


class Files:
    """An ``Input``: files by their names; one that does not exist is an item that fails."""

    def __init__(self, paths: Sequence[Path], base: Path, options: InputOptions) -> None:
        self._paths, self._base, self._options = paths, base, options
        self._is_stopped = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        for path in self._each():
            if self._is_stopped.is_set():
                return
            yield from self._items_of(path)

    def count(self) -> int | None:
        """Count the paths; None if a video is among them."""
        return count_images(path.name for path in self._each() if not claimed_name(path.name))

    def stop(self) -> None:
        """Yield no more items."""
        self._is_stopped.set()

    def close(self) -> None:
        """Do nothing: items hold their own files."""

    def _each(self) -> Iterator[Path]:
        yield from self._paths

    def _items_of(self, path: Path) -> Iterator[FileItem]:
        claimed = [] if path.exists() else _claimed(glob.escape(str(path)), self._options)
        for each in claimed:
            yield from self._taken_over(Path(each))
        if not claimed:
            name = _name(path, self._base)
            yield file_item(path, name, self._options) or FileItem(name, str(path), path=path)

    def _taken_over(self, claimed: Path) -> Iterator[FileItem]:
        original = claimed.with_name(claimed_name(claimed.name) or claimed.name)
        if item := abandoned_item(claimed, _name(original, self._base), self._options):
            yield item


class Pattern(Files):
    """An ``Input``: the files that match a pattern such as ``photos/**/*.jpg``, by name."""

    def __init__(self, pattern: str, base: Path, options: InputOptions) -> None:
        """Look for a match.

        Raises:
            ConfigurationError: there is none.
        """
        super().__init__([], base, options)
        self._pattern = pattern
        if next(self._each(), None) is None:
            raise ConfigurationError(f"no file matches {pattern}")

    def _each(self) -> Iterator[Path]:
        for name in sorted(_matches(self._pattern) + _claimed(self._pattern, self._options)):
            if (path := Path(name)).is_file():
                yield path

    def _items_of(self, path: Path) -> Iterator[FileItem]:
        """Yield the item of a file, unless another process has taken it."""
        if claimed_name(path.name):
            yield from self._taken_over(path)
        elif item := file_item(path, _name(path, self._base), self._options):
            yield item


class StandardInput(Files):
    """An ``Input``: files, folders and URLs whose names come on standard input, one a line."""

    def __init__(self, options: InputOptions) -> None:
        super().__init__([], Path.cwd(), options)

    def __iter__(self) -> Iterator[Item]:
        for line in _lines(sys.stdin.fileno(), self._is_stopped):
            for item in self._items(line):
                if self._is_stopped.is_set():
                    item.release()
                    return
                yield item

    def count(self) -> int | None:
        """Return None: the list is read as it comes."""
        return None

    def _items(self, name: str) -> Iterator[Item]:
        path = Path(name)
        if scheme_of(name) in ("http", "https"):
            yield UrlItem.of(name, self._options)
        elif path.is_dir():
            yield from Folders([(path, _prefix(path, self._base))], self._options)
        else:
            yield from self._items_of(path)


def _lines(file: int, stopped: threading.Event) -> Iterator[str]:
    """Yield the lines of a file, without waiting for more when it is to stop."""
    rest = b""
    while not stopped.is_set():
        if sys.platform != "win32" and not select.select([file], [], [], _STOP_SECONDS)[0]:
            continue
        piece = os.read(file, 1 << 16)
        *lines, rest = (rest + piece).split(b"\n")
        if not piece:
            lines, rest = [rest], b""
        for line in lines:
            if name := line.rstrip(b"\r"):
                yield os.fsdecode(name)
        if not piece:
            return
