"""Runs over a folder of which each is killed at the next call that changes or opens a file.

A program: it forks, so it has to be a process of its own. Its argument is JSON with ``root``, a
folder, and the fields of ``Setting``. It prints a line for each kill after which something is not
as expected, and the number of runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.folders import files
from tests.support.input_suite import png
from tests.support.output_suite import answer
from yolo_service.errors import ConfigurationError, ItemError
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.pipeline import Pipeline
from yolo_service.predictor import Image, Options

IMAGES = {"a.png": png(0), "b.png": b"broken", "c.png": png(2)}
CALLS = frozenset(("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.utime"))


@dataclass(frozen=True)
class Setting:
    """What a run does: its source within the folder, its sink, and where inputs are moved to."""

    source: str
    sink: str
    done: str


class Predictor:
    """One that answers at once."""

    items_ahead = 2

    def submit(self, image: Image, _: Options, *, finish: Any, name: str, **__: object) -> Any:
        future: Future[Any] = Future()
        if image == IMAGES["b.png"]:
            future.set_exception(ItemError("it is broken"))
        else:
            future.set_result(finish(answer(name, "cat", "dog")))
        return future


def run(root: Path, setting: Setting) -> None:
    options = InputOptions(move_to=Path(setting.done), failed_to=root / "failed")
    source = open_input([str(root / "in" / setting.source)], options)
    form = "objects" if "." in setting.sink else None
    output = open_output(str(root / setting.sink), OutputOptions(form, resume=True))
    predictor: Any = Predictor()
    Pipeline(source, predictor, output, Options(threshold=0.5), resume=True).run()


def is_killed(root: Path, setting: Setting, number: int) -> bool:
    """Run in a process that is killed before a call; returns whether there were so many."""
    if not (process := os.fork()):
        left = number

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in CALLS and str(arguments[0]).startswith((str(root), setting.done)):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        run(root, setting)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def found(root: Path, setting: Setting) -> dict[str, list[str]]:
    sink = root / setting.sink
    results: list[str] = []
    if sink.is_dir():
        results = sorted(files(sink))
    else:
        text = sink.read_text()
        rows = map(json.loads, text.splitlines()) if sink.suffix == ".jsonl" else json.loads(text)
        results = sorted(Path(row["file"]).name for row in rows if not row.get("error"))
    folders = {"in": root / "in", "done": Path(setting.done), "failed": root / "failed"}
    return {"results": results} | {name: sorted(files(each)) for name, each in folders.items()}


def main() -> None:
    values = json.loads(sys.argv[1])
    root, setting = Path(values.pop("root")), Setting(**values)
    names = ["a.png", "c.png"]
    in_folder = ["a.png.json", "b.png.error.txt", "c.png.json"]
    expected = {
        "results": names if "." in setting.sink else in_folder,
        "in": [], "done": names, "failed": ["b.png", "b.png.error.txt"],
    }  # fmt: skip
    number, goes_on = 0, True
    while goes_on:
        number += 1
        for folder in (root, Path(setting.done)):
            shutil.rmtree(folder, ignore_errors=True)
        (root / "in").mkdir(parents=True)
        for name, data in IMAGES.items():
            (root / "in" / name).write_bytes(data)
        goes_on = is_killed(root, setting, number)
        with suppress(ConfigurationError):  # a pattern that matches nothing more
            run(root, setting)
        if (result := found(root, setting)) != expected:
            sys.stdout.write(f"killed at call {number}: {result}\n")
    sys.stdout.write(f"{number} runs\n")


if __name__ == "__main__":
    main()
