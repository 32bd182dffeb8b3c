"""One file for all results."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.support.output_suite import answer
from tests.support.pipelines import FakeItem, broken
from yolo_service.errors import ConfigurationError, OutputError
from yolo_service.outputs import Output
from yolo_service.outputs.lines import Stream
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.rows import CsvRows, JsonRows, TextRows

ONE_FILE = ["out.jsonl", "out.csv", "out.json", "out.parquet"]


@pytest.fixture(params=ONE_FILE)
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


def put(output: Output, name: str, *labels: str) -> None:
    item = FakeItem(name, name)
    output.put(item, output.encode(item, answer(name, *labels)), lambda: None)


def test_a_file_that_exists_is_not_overwritten(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(
        ConfigurationError, match=r"exists; remove it, or continue it with --resume"
    ):
        open_output(str(path), OutputOptions())
    assert path.read_text() == "precious"


def test_two_processes_do_not_write_to_one_file(path: Path) -> None:
    output = open_output(str(path), OutputOptions())
    with pytest.raises((OutputError, ConfigurationError)):
        open_output(str(path), OutputOptions())
    with pytest.raises(OutputError, match="another process"):
        open_output(str(path), OutputOptions(resume=True))
    output.close()


@pytest.mark.parametrize("path", ["out.json", "out.parquet"], indirect=True)
def test_what_is_no_result_is_not_continued(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match="remove it"):
        open_output(str(path), OutputOptions(resume=True))
    assert path.read_text() == "precious"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("path", ["out.json", "out.parquet"], indirect=True)
def test_a_list_or_a_table_appears_when_it_is_complete(path: Path) -> None:
    output = open_output(str(path), OutputOptions())
    put(output, "a.jpg", "cat")
    output.flush()
    assert not path.exists()
    output.close()
    assert list(path.parent.iterdir()) == [path]


def test_lines_can_be_followed_as_they_come(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "out.jsonl"), OutputOptions())
    put(output, "a.jpg", "cat")
    assert json.loads((tmp_path / "out.jsonl").read_text())["file"] == "a.jpg"
    output.close()


@pytest.mark.parametrize(
    ("name", "torn"),
    [
        ("out.jsonl", b'{"file":"b.jp'),
        ("out.csv", b'b.jpg,1.0,"'),
        ("out.csv", b"\0.jpg,1.0,cat,1,2,3,4,5,6,7,8,9,,\nb.jpg,1.0,cat,1"),
    ],
)
def test_a_row_that_was_cut_off_is_removed_and_written_again(
    tmp_path: Path, name: str, torn: bytes
) -> None:
    path = tmp_path / name
    output = open_output(str(path), OutputOptions())
    put(output, "a.jpg", "cat")
    put(output, "z.jpg", "cat")
    output.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    output = open_output(str(path), OutputOptions(resume=True))
    assert path.read_bytes() == whole
    assert output.has(FakeItem("a.jpg", "a.jpg"))
    assert output.has(FakeItem("z.jpg", "z.jpg"))
    assert not output.has(FakeItem("b.jpg", "b.jpg"))
    put(output, "b.jpg", "dog", "cat")
    output.close()
    assert path.read_bytes().startswith(whole)
    assert path.read_bytes().count(b"b.jpg") == (2 if name == "out.csv" else 1)
    assert b"\0" not in path.read_bytes()


@pytest.mark.parametrize("path", ["out.json", "out.parquet"], indirect=True)
def test_what_a_killed_run_left_is_replaced_or_continued(path: Path) -> None:
    journal = path.with_name(f".{path.name}.journal")
    output = open_output(str(path), OutputOptions())
    put(output, "a.jpg", "cat")
    output.put_error(FakeItem("b.jpg", "b.jpg"), broken(), lambda: None)
    output.flush()
    left = journal.read_bytes()
    output.abort()
    journal.write_bytes(left + b'["c.jpg",[')
    output = open_output(str(path), OutputOptions(resume=True))
    assert output.has(FakeItem("a.jpg", "a.jpg"))
    assert not output.has(FakeItem("b.jpg", "b.jpg"))
    assert not output.has(FakeItem("c.jpg", "c.jpg"))
    put(output, "b.jpg", "dog")
    output.close()
    assert list(path.parent.iterdir()) == [path]
    assert names(path) == ["a.jpg", "b.jpg"]
    journal.write_bytes(left)
    with pytest.raises(ConfigurationError, match="was left by a run with another --format or anot"):
        open_output(str(path), OutputOptions(resume=True))
    path.unlink()
    journal.write_bytes(left)
    output = open_output(str(path), OutputOptions())
    put(output, "z.jpg", "cat")
    output.close()
    assert names(path) == ["z.jpg"]


@pytest.mark.parametrize("path", ["out.json", "out.parquet"], indirect=True)
@pytest.mark.parametrize("is_continued", [False, True])
@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_a_run_that_was_killed_while_its_file_appeared_is_continued(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_continued: bool, call: str
) -> None:
    if is_continued:
        output = open_output(str(path), OutputOptions())
        put(output, "a.jpg", "cat")
        output.close()
    output = open_output(str(path), OutputOptions(resume=is_continued))
    put(output, "b.jpg", "dog")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, call, killed)
    with pytest.raises(KeyboardInterrupt):
        output.close()
    monkeypatch.undo()
    output = open_output(str(path), OutputOptions(resume=True))
    assert output.has(FakeItem("b.jpg", "b.jpg"))
    put(output, "c.jpg", "cat")
    output.close()
    assert list(path.parent.iterdir()) == [path]
    assert names(path) == ["a.jpg", "b.jpg", "c.jpg"][not is_continued :]


@pytest.mark.parametrize("path", ["out.json", "out.parquet"], indirect=True)
def test_errors_of_images_that_are_not_tried_again_stay(path: Path) -> None:
    form = "objects" if path.suffix == ".json" else None
    output = open_output(str(path), OutputOptions(form))
    put(output, "a.jpg", "cat")
    for name in ("b.jpg", "c.jpg", "c.jpg"):
        output.put_error(FakeItem(name, name), broken(), lambda: None)
    output.close()
    output = open_output(str(path), OutputOptions(form, resume=True))
    assert not output.has(FakeItem("b.jpg", "b.jpg"))
    put(output, "c.jpg", "dog")
    output.put_error(FakeItem("c.jpg", "c.jpg"), broken(), lambda: None)
    output.close()
    if path.suffix == ".json":
        entries = json.loads(path.read_text())
    else:
        entries = pq.read_table(path).to_pylist()
    found = [(entry["file"], bool(entry.get("error"))) for entry in entries]
    assert found == [("a.jpg", False), ("b.jpg", True), ("c.jpg", False)]


def test_a_list_in_another_format_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    output = open_output(str(path), OutputOptions("objects"))
    put(output, "a.jpg", "cat")
    output.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="no list in the format coco; set --format"):
        open_output(str(path), OutputOptions(resume=True))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    output = open_output(str(path), OutputOptions())
    put(output, "a.jpg", "cat")
    output.abort()
    journal = tmp_path / ".out.json.journal"
    journal.write_bytes(journal.read_bytes().replace(b"]\n", b"}\n", 2))
    with pytest.raises(ConfigurationError):
        open_output(str(path), OutputOptions(resume=True))


@pytest.mark.parametrize("path", ["out.json", "out.parquet"], indirect=True)
def test_a_file_that_is_continued_is_whole_until_it_is_replaced(path: Path) -> None:
    output = open_output(str(path), OutputOptions())
    put(output, "a.jpg", "cat")
    output.close()
    output = open_output(str(path), OutputOptions(resume=True))
    put(output, "b.jpg", "cat", "dog")
    output.flush()
    assert names(path) == ["a.jpg"]
    output.abort()
    assert names(path) == ["a.jpg"]
    open_output(str(path), OutputOptions(resume=True)).close()
    assert names(path) == ["a.jpg", "b.jpg"]


def names(path: Path) -> list[str]:
    """Return the names of the images with a result, once each."""
    if path.suffix == ".json":
        entries = json.loads(path.read_text())
        return list(dict.fromkeys(entry["file_name"] for entry in entries))
    rows = pq.read_table(path).to_pylist()
    return list(dict.fromkeys(row["file"] for row in rows if row["error"] is None))


def test_duckdb_reads_a_table_in_which_every_image_can_be_counted(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    output = open_output(str(path), OutputOptions())
    put(output, "a.jpg", "cat", "dog")
    put(output, "nothing.jpg")
    output.put_error(FakeItem("b.jpg", "b.jpg"), broken(), lambda: None)
    output.close()
    query = f"select count(distinct file), count(label), count(error) from '{path}'"
    assert duckdb.connect().execute(query).fetchall() == [(3, 2, 1)]


def test_details_of_an_item_are_members_of_its_line(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "out.jsonl"), OutputOptions())
    item = FakeItem("a.mp4/7", "a.mp4", details={"time": 0.28, "frame": 7})
    output.put(item, output.encode(item, answer(item.name, "cat")), lambda: None)
    output.close()
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert (line["file"], line["time"], line["frame"]) == ("a.mp4", 0.28, 7)


@pytest.mark.parametrize(
    ("sink", "form"),
    [("out.jsonl", "yolo"), ("out.json", "voc"), ("out.csv", "opex"), (None, "yolo")],
)
def test_a_format_that_does_not_fit_is_refused(tmp_path: Path, sink: str | None, form: str) -> None:
    path = None if sink is None else str(tmp_path / sink)
    with pytest.raises(ConfigurationError, match=form):
        open_output(path, OutputOptions(form))
    assert list(tmp_path.iterdir()) == []


def test_parquet_needs_its_extra_and_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(pyarrow=None)\n"
        "from yolo_service.outputs.opening import open_output\n"
        "from yolo_service.outputs.options import OutputOptions\n"
        f"open_output({str(tmp_path / 'out.parquet')!r}, OutputOptions())\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "ConfigurationError: parquet" in answer.stderr
    assert "pip install 'yolo-service[parquet]'" in answer.stderr


def test_standard_output_is_json_csv_or_a_table() -> None:
    def printed(rows: object) -> str:
        stream = io.BytesIO()
        output = Stream(rows, stream)  # type: ignore[arg-type]
        put(output, "a.jpg", "cat", "dog", "cat")
        put(output, "b.jpg")
        output.put_error(FakeItem("c.jpg", "c.jpg"), broken(), lambda: None)
        output.close()
        return stream.getvalue().decode()

    first, second, third = map(json.loads, printed(JsonRows("objects")).splitlines())
    assert [found["label"] for found in first["detections"]] == ["cat", "dog", "cat"]
    assert (second["file"], second["detections"]) == ("b.jpg", [])
    assert (third["file"], third["error"]) == ("c.jpg", "cannot be read: it is broken")
    assert len(printed(CsvRows()).splitlines()) == 4
    table = printed(TextRows()).splitlines()
    assert table[0] == "a.jpg  96 x 64  2 cat, 1 dog"
    assert table[1].split() == ["cat", "90.00%", "16.0", "24.0", "24.0", "36.0"]
    assert table[4:] == ["b.jpg  96 x 64  nothing", "c.jpg  error: cannot be read: it is broken"]


def test_a_file_without_any_row_has_its_header(tmp_path: Path) -> None:
    open_output(str(tmp_path / "out.csv"), OutputOptions()).close()
    assert (tmp_path / "out.csv").read_text().startswith("file,x0,")
