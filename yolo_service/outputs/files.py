"""What a path as a sink names: one file for all, by its suffix, or a folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath
from typing import cast

from yolo_service.errors import ConfigurationError
from yolo_service.outputs.collected import CollectedFile
from yolo_service.outputs.contents import content
from yolo_service.outputs.document import Document
from yolo_service.outputs.folder import FolderOutput
from yolo_service.outputs.lines import Lines, Stream
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.output import Output
from yolo_service.outputs.rows import CsvRows, Rows, TextRows, json_rows
from yolo_service.schemes import Scheme, load, scheme_of

_PARQUET = {"parquet": Scheme("yolo_service.outputs.parquet", "parquet")}
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_OF_ONE_FILE = frozenset({".jsonl", ".csv", ".json", ".parquet"})


def open_path(sink: str, options: OutputOptions) -> Output:
    """Open a path: by its suffix one file for all items, else a folder.

    Raises:
        ConfigurationError: the file exists, or the format does not fit it.
        OutputError: it cannot be written to.
    """
    path = Path(sink)
    suffix = path.suffix.lower()
    if options.draw or is_folder(sink):
        _check_folder(
            sink,
            "a video such as a.mp4" if options.draw else "a .csv, .json, .jsonl or .parquet file",
        )
        return FolderOutput(path, content(options), keeps_errors=not options.draw)
    if suffix == ".parquet":
        return cast(Output, load("parquet", _PARQUET).open_output(sink, options))
    if suffix == ".csv":
        return Lines(path, _csv(options), resume=options.resume)
    if suffix == ".jsonl":
        return Lines(path, json_rows(options.format or "objects"), resume=options.resume)
    form = options.format or "coco"
    document = Document(json_rows(form), form)
    return CollectedFile(path, document, resume=options.resume)


def is_folder(sink: str) -> bool:
    """Return whether a sink is a path that names a folder, there or to be made."""
    return scheme_of(sink) is None and (not is_called_file(sink) or Path(sink).is_dir())


def _check_folder(sink: str, other: str) -> None:
    """Check that the name of a new folder is not that of a file whose kind is not known here."""
    if _SUFFIX.search(sink) and not Path(sink).is_dir():
        raise ConfigurationError(
            f"{sink}: expected a folder or {other}; for a folder of that name write {sink}/"
        )


def is_called_file(sink: str) -> bool:
    """Return whether a sink has the suffix of a file with the results of all items."""
    return PurePosixPath(sink).suffix.lower() in _OF_ONE_FILE


def open_stdout(options: OutputOptions) -> Output:
    """Open standard output: JSON lines, CSV, or without a format on a terminal a table.

    Raises:
        ConfigurationError: the format does not fit it.
    """
    if options.format is None and sys.stdout.isatty():
        return Stream(TextRows())
    return Stream(CsvRows() if options.format == "rois" else json_rows(options.format or "objects"))


def _csv(options: OutputOptions) -> Rows:
    if options.format not in (None, "rois"):
        raise ConfigurationError(f"a CSV file has the format rois, not {options.format}")
    return CsvRows()
