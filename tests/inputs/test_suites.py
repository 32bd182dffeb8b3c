"""Folders, files, patterns and lists of names are inputs like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.input_suite import InputSuite, Source
from yolo_service.inputs import Input
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions

STAYS = InputOptions(poll=0.05)
VANISHES = replace(STAYS, delete=True)


class OnDisk:
    """A folder, and the sources that name its images."""

    keeps = True

    def __init__(self, folder: Path, options: InputOptions, source: str = "") -> None:
        self.folder, self._options, self._source = folder, options, source
        self.forgets, self.waits = options.takes_away, options.watch

    def fill(self, images: Mapping[str, bytes]) -> None:
        for name, data in images.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def open(self) -> Input:
        return open_input([str(self.folder / self._source)], self._options)


class TestFolder(InputSuite):
    @pytest.fixture(params=[STAYS, VANISHES], ids=["stays", "vanishes"])
    def source(self, tmp_path: Path, request: pytest.FixtureRequest) -> Source:
        return OnDisk(tmp_path / "in", request.param)


class TestMovedFolder(InputSuite):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return OnDisk(tmp_path / "in", replace(STAYS, move_to=tmp_path / "in" / "done"))


class TestWatchedFolder(InputSuite):
    @pytest.fixture(params=[STAYS, VANISHES], ids=["stays", "vanishes"])
    def source(self, tmp_path: Path, request: pytest.FixtureRequest) -> Source:
        return OnDisk(tmp_path / "in", replace(request.param, watch=True))


class TestPattern(InputSuite):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return OnDisk(tmp_path / "in", STAYS, "**/*.png")


class TestNamesOnStandardInput(InputSuite):
    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
        class Names(OnDisk):
            def open(self) -> Input:
                names = [str(path) for path in self.folder.rglob("*") if path.is_file()]
                path = tmp_path / "names"
                path.write_text("\n".join(names))
                monkeypatch.setattr("sys.stdin", opened.enter_context(path.open()))
                return open_input(["-"], STAYS)

        with ExitStack() as opened:
            yield Names(tmp_path / "in", STAYS)
