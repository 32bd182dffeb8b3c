"""Pulls from web servers: complete or not at all, resumed, and once for several pulls at once."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.support.networks import write_model
from tests.support.publisher import Publisher, publishing
from yolo_service.errors import ModelUnavailable, PullError
from yolo_service.models.catalog import CatalogEntry, changed_files, read_entry
from yolo_service.models.folder import ModelOptions, read_folder
from yolo_service.models.opening import ensure_model
from yolo_service.models.pull import add_model, check_folder, pull_model
from yolo_service.settings import load_settings

FILES = ("model.cfg", "model.names", "model.weights")
AT_ONCE = (0.0, 0.0, 0.0)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    """A server that has the files of a real, tiny model."""
    folder = write_model(tmp_path / "origin")
    with publishing({name: (folder / name).read_bytes() for name in FILES}) as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def published(publisher: Publisher, models: Path, *, hashes: bool = True) -> CatalogEntry:
    """Write the model.yaml of the published model into models/tiny."""
    sources = []
    for name in FILES:
        data = publisher.files[f"/{name}"]
        source: dict[str, object] = {"file": name, "url": f"{publisher.url}/{name}"}
        if hashes:
            source |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        sources.append(source)
    (models / "tiny").mkdir(parents=True)
    (models / "tiny" / "model.yaml").write_text(yaml.safe_dump({"sources": sources}))
    return read_entry(models / "tiny")


def pull(entry: CatalogEntry, models: Path, mirror: str | None = None) -> Path:
    return pull_model(entry, models, mirror=mirror, pauses=AT_ONCE)


def refused(entry: CatalogEntry, models: Path) -> str:
    """Return the message of a pull that fails and leaves nothing behind."""
    with pytest.raises(PullError) as raised:
        pull(entry, models)
    assert [path.name for path in models.iterdir()] == ["tiny"]
    assert [path.name for path in (models / "tiny").iterdir()] == ["model.yaml"]
    return str(raised.value)


@pytest.mark.parametrize("hashes", [True, False])
def test_a_pulled_model_is_complete_and_nothing_else_stays(
    publisher: Publisher, models: Path, hashes: bool
) -> None:
    folder = pull(published(publisher, models, hashes=hashes), models)
    assert check_folder(folder).names == ("cat", "dog")
    assert sorted(path.name for path in folder.iterdir()) == [*FILES, "model.yaml"]
    assert [path.name for path in models.iterdir()] == ["tiny"]
    assert changed_files(folder) == []


def test_a_model_that_is_not_pulled_yet_says_how_to_pull_it(
    publisher: Publisher, models: Path
) -> None:
    published(publisher, models)
    with pytest.raises(ModelUnavailable, match=r"not pulled yet; run: .* models pull tiny"):
        read_folder(models / "tiny")


def test_the_model_yaml_of_the_catalog_is_copied(
    publisher: Publisher, models: Path, tmp_path: Path
) -> None:
    entry = published(publisher, tmp_path / "catalog")
    folder = pull(entry, models)
    assert read_entry(folder).options == entry.options


def test_a_pulled_model_is_not_pulled_again(publisher: Publisher, models: Path) -> None:
    entry = published(publisher, models)
    pull(entry, models)
    publisher.asked.clear()
    pull(entry, models)
    assert publisher.asked == []


def test_files_that_are_there_are_kept(publisher: Publisher, models: Path) -> None:
    entry = published(publisher, models)
    own = publisher.files["/model.cfg"] + b"\n# mine\n"
    (models / "tiny" / "model.cfg").write_bytes(own)
    folder = pull(entry, models)
    assert (folder / "model.cfg").read_bytes() == own
    assert [path for path, _ in publisher.asked] == ["/model.names", "/model.weights"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_pull_is_resumed_by_the_next(
    publisher: Publisher, models: Path, how: signal.Signals
) -> None:
    entry = published(publisher, models)
    _interrupt_in_the_weights(publisher, models, how)
    assert [path.name for path in (models / "tiny").iterdir()] == ["model.yaml"]
    publisher.asked.clear()
    folder = pull(entry, models)
    assert check_folder(folder)
    half = len(publisher.files["/model.weights"]) // 2
    assert f"bytes={half}-" in publisher.ranges()
    assert [path.name for path in models.iterdir()] == ["tiny"]


def _interrupt_in_the_weights(publisher: Publisher, models: Path, how: signal.Signals) -> None:
    """End a process that pulls when half of the weights have arrived."""
    code = """if True:
        import sys, contextlib, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" ignores it
        from pathlib import Path
        from yolo_service.models.catalog import read_entry
        from yolo_service.models.pull import pull_model
        def bar(label, total):
            show = lambda done: print(label, done, total, flush=True)
            return contextlib.nullcontext(show)
        models = Path(sys.argv[1])
        pull_model(read_entry(models / "tiny"), models, bar=bar)
    """
    size = len(publisher.files["/model.weights"])
    gate = publisher.gates["/model.weights"] = threading.Event()
    command = [sys.executable, "-c", code, str(models)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line == f"tiny/model.weights {size // 2} {size}\n":
                process.send_signal(how)
                break
        assert process.wait(60) != 0
    gate.set()


def test_many_pulls_at_once_download_every_file_once(publisher: Publisher, models: Path) -> None:
    entry = published(publisher, models)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: pull(entry, models), range(8)))
    assert set(folders) == {models / "tiny"}
    assert sorted(path for path, _ in publisher.asked) == [f"/{name}" for name in FILES]
    assert [path.name for path in models.iterdir()] == ["tiny"]


def test_pulls_that_wait_for_each_other_survive_the_removal_of_the_staging_folder(
    publisher: Publisher, models: Path
) -> None:
    entry = published(publisher, models)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: pull(entry, models), range(2000)))
    assert set(folders) == {models / "tiny"}
    assert [path.name for path in models.iterdir()] == ["tiny"]


def test_a_damaged_file_is_refused(publisher: Publisher, models: Path) -> None:
    entry = published(publisher, models)
    data = bytearray(publisher.files["/model.weights"])
    data[-1] ^= 1
    publisher.files["/model.weights"] = bytes(data)
    assert "it was damaged on the way" in refused(entry, models)


@pytest.mark.parametrize("change", [-8, 4])
def test_weights_of_another_model_are_refused_by_their_length(
    publisher: Publisher, models: Path, change: int
) -> None:
    entry = published(publisher, models, hashes=False)
    data = publisher.files["/model.weights"]
    publisher.files["/model.weights"] = (data + bytes(4))[: len(data) + change]
    message = refused(entry, models)
    assert f"offers {len(data) + change} bytes" in message
    assert str(len(data)) in message


def test_weights_with_the_old_short_header_are_taken(publisher: Publisher, models: Path) -> None:
    data = publisher.files["/model.weights"]
    old = (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(8) + data[20:]
    publisher.files["/model.weights"] = old
    folder = pull(published(publisher, models, hashes=False), models)
    assert check_folder(folder).weights.header.minor == 1


def test_a_model_yaml_that_contradicts_its_cfg_is_refused(
    publisher: Publisher, models: Path
) -> None:
    publisher.files["/model.weights"] += bytes(4)
    assert "they are of different models" in refused(published(publisher, models), models)
    assert "/model.weights" not in [path for path, _ in publisher.asked]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("model.cfg", b"<!DOCTYPE html><title>Not found</title>", "the pulled .cfg is no network"),
        ("model.names", b"cat\ndog\nbird\n", "has 2 classes, but the names list has 3"),
        ("model.names", b"", "expected one class name per line"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    publisher: Publisher, models: Path, name: str, data: bytes, message: str
) -> None:
    publisher.files[f"/{name}"] = data
    assert message in refused(published(publisher, models, hashes=False), models)


def test_weights_that_are_not_numbers_are_refused(publisher: Publisher, models: Path) -> None:
    data = publisher.files["/model.weights"]
    publisher.files["/model.weights"] = data[:20] + b"\xff" * (len(data) - 20)
    assert "not finite" in refused(published(publisher, models, hashes=False), models)


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_a_mirror_is_the_only_source(
    publisher: Publisher, models: Path, tmp_path: Path, kind: str
) -> None:
    entry = published(publisher, models)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "origin").rename(tmp_path / "mirror" / "tiny")
    with publishing({f"tiny/{name}": publisher.files[f"/{name}"] for name in FILES}) as other:
        folder = pull(entry, models, str(tmp_path / "mirror") if kind == "folder" else other.url)
    assert check_folder(folder)
    assert publisher.asked == []


def test_a_models_folder_that_cannot_be_written_is_named(
    publisher: Publisher, models: Path, tmp_path: Path
) -> None:
    entry = published(publisher, models)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PullError, match=r"file must be writable .* see YOLO_MODELS_DIR"):
        pull(entry, tmp_path / "file")


def test_the_default_model_is_pulled_at_its_first_use(publisher: Publisher, models: Path) -> None:
    published(publisher, models)
    ensure_model(load_settings(models_dir=models, model="tiny"))
    assert read_folder(models / "tiny")


@pytest.mark.parametrize("name", ["mine", "none", "../models/mine", None])
def test_what_is_no_model_of_the_catalog_is_not_pulled(models: Path, name: str | None) -> None:
    write_model(models / "mine")
    ensure_model(load_settings(models_dir=models, model=name))
    assert [path.name for path in models.iterdir()] == ["mine"]


def test_a_users_folder_counts_before_the_catalog(models: Path) -> None:
    write_model(models / "yolov3_coco")
    ensure_model(load_settings(models_dir=models, model="yolov3_coco"))
    assert sorted(path.name for path in (models / "yolov3_coco").iterdir()) == list(FILES)


def test_a_model_is_added_from_urls_and_paths(
    publisher: Publisher, models: Path, tmp_path: Path
) -> None:
    origin = tmp_path / "origin"
    places = [str(origin / "model.cfg"), f"{publisher.url}/model.weights"]
    folder = add_model(
        "mine",
        [*places, str(origin / "model.names")],
        models,
        ModelOptions(license="CC0", threshold=0.3),
        pauses=AT_ONCE,
    )
    assert check_folder(folder).names == ("cat", "dog")
    options = read_folder(folder).options
    assert (options.license, options.threshold) == ("CC0", 0.3)
    data = publisher.files["/model.weights"]
    assert [source.model_dump() for source in options.sources] == [
        {
            "file": "model.weights",
            "url": f"{publisher.url}/model.weights",
            "mirrors": (),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    ]


@pytest.mark.parametrize("name", ["there", "../up", "a/b", "", ".hidden", "x" * 101])
def test_a_name_that_is_taken_or_a_path_is_not_added(
    models: Path, tmp_path: Path, name: str
) -> None:
    write_model(models / "there")
    with pytest.raises(PullError, match="expected a new name"):
        add_model(name, [str(tmp_path)], models, ModelOptions())


def test_files_that_are_no_model_are_not_added(models: Path, tmp_path: Path) -> None:
    origin = write_model(tmp_path / "origin")
    (origin / "model.names").write_text("one\n")
    with pytest.raises(PullError, match="the names list has 1"):
        add_model("mine", [str(origin / name) for name in FILES], models, ModelOptions())
    assert list(models.iterdir()) == []
