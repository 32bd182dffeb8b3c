"""Files and folders as sinks of the suite of outputs, and how their results are read back."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq

from yolo_service.outputs import Output
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions


class OnDisk:
    """A path, and how its results are read."""

    remembers = keeps_errors = True
    shows_nothing = False
    form: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, resume: bool = False) -> Output:
        return open_output(str(self.path), OutputOptions(self.form, resume=resume))

    def results(self) -> Mapping[str, list[str]]:
        raise NotImplementedError

    def errors(self) -> Mapping[str, str]:
        return {}


class Folder(OnDisk):
    suffix = ".json"

    def labels(self, path: Path) -> list[str]:
        return [found["label"] for found in json.loads(path.read_text())["detections"]]

    def results(self) -> Mapping[str, list[str]]:
        return {
            path.relative_to(self.path).as_posix().removesuffix(self.suffix): self.labels(path)
            for path in self.path.rglob(f"*{self.suffix}")
            if not path.name.endswith(".error.txt")
        }

    def errors(self) -> Mapping[str, str]:
        return {
            path.relative_to(self.path).as_posix().removesuffix(".error.txt"): path.read_text()
            for path in self.path.rglob("*.error.txt")
        }


class Labels(Folder):
    form, suffix = "yolo", ".txt"

    def labels(self, path: Path) -> list[str]:
        return [("cat", "dog")[int(line.split()[0])] for line in path.read_text().splitlines()]


class Annotations(Folder):
    form, suffix = "voc", ".xml"

    def labels(self, path: Path) -> list[str]:
        found = ElementTree.fromstring(path.read_text()).findall("object/name")
        return [name.text or "" for name in found]


class JsonLines(OnDisk):
    def entries(self) -> list[dict[str, Any]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [json.loads(line) for line in lines]

    def labels(self, entry: dict[str, Any]) -> list[str]:
        return [found["label"] for found in entry["detections"]]

    def results(self) -> Mapping[str, list[str]]:
        entries = self.entries()
        assert len({str(entry) for entry in entries}) == len(entries)
        return {entry["file"]: self.labels(entry) for entry in entries if "error" not in entry}

    def errors(self) -> Mapping[str, str]:
        return {entry["file"]: entry["error"] for entry in self.entries() if "error" in entry}


class JsonList(JsonLines):
    form = "objects"

    def entries(self) -> list[dict[str, Any]]:
        return json.loads(self.path.read_text()) if self.path.exists() else []


class AlexeyAB(JsonList):
    form = "darknet-json"

    def results(self) -> Mapping[str, list[str]]:
        entries = [entry for entry in self.entries() if "error" not in entry]
        assert [entry["frame_id"] for entry in entries] == list(range(1, len(entries) + 1))
        return {
            entry["filename"]: [found["name"] for found in entry["objects"]] for entry in entries
        }

    def errors(self) -> Mapping[str, str]:
        return {e["filename"]: e["error"] for e in self.entries() if "error" in e}


class Rows(OnDisk):
    keeps_errors = False
    shows_nothing = True

    def rows(self) -> list[tuple[str, str]]:
        with self.path.open(newline="") as file:
            return [(row["file"], row["label_str"]) for row in csv.DictReader(file)]

    def results(self) -> Mapping[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name, label in self.rows() if self.path.exists() else []:
            found[name].append(label)
        return dict(found)


class Coco(Rows):
    def rows(self) -> list[tuple[str, str]]:
        entries = json.loads(self.path.read_text())
        return [(entry["file_name"], ("", "cat", "dog")[entry["category_id"]]) for entry in entries]


class Parquet(OnDisk):
    def results(self) -> Mapping[str, list[str]]:
        table = pq.read_table(self.path).to_pylist() if self.path.exists() else []
        labels: dict[str, list[str]] = defaultdict(list)
        for row in table:
            if row["error"] is None:
                labels[row["file"]] += [row["label"]] if row["label"] else []
        return dict(labels)

    def errors(self) -> Mapping[str, str]:
        rows = pq.read_table(self.path).to_pylist()
        return {row["file"]: row["error"] for row in rows if row["error"]}
