from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from darknet.errors import InferenceError
from darknet.model import Thresholds
from darknet.network import Network
from tests.support.fakes import FakeEngine
from tests.support.networks import write_model
from yolo_service.errors import ConfigurationError, ModelNotFound, ModelUnavailable
from yolo_service.models import repository as repository_module
from yolo_service.models.folder import ModelFiles
from yolo_service.models.opening import load_files
from yolo_service.models.repository import ModelRepository, describe_folders
from yolo_service.settings import load_settings

IMAGE = np.zeros((48, 64, 3), np.uint8)


class Loader:
    """Loads real networks, and counts."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, files: ModelFiles) -> Network:
        self.names.append(files.name)
        assert self.go.wait(10)
        return load_files(files, load_settings())


@pytest.fixture
def loader() -> Loader:
    return Loader()


def test_a_folder_of_four_files_is_a_model(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "pets")
    model = ModelRepository([tmp_path], loader).get()
    assert model.name == "pets"
    assert model.network.names == ("cat", "dog")
    assert model.network.input_size == (64, 48)
    assert len(model.detect([IMAGE], Thresholds())) == 1


def test_a_model_is_computed_at_the_size_in_its_model_yaml(tmp_path: Path, loader: Loader) -> None:
    folder = write_model(tmp_path / "pets")
    for text, size in (("[32, 64]", (32, 64)), ("96", (96, 96)), ("128x48", (128, 48))):
        (folder / "model.yaml").write_text(f"input_size: {text}\n")
        repository = ModelRepository([tmp_path], loader)
        assert repository.describe().result(10)[0].input_size == size
        assert repository.get().network.input_size == size


def test_a_size_that_does_not_fit_is_the_models_error(tmp_path: Path, loader: Loader) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "model.yaml").write_text("input_size: 50\n")
    repository = ModelRepository([tmp_path], loader)
    assert "the nearest is 52x52" in (repository.describe().result(10)[0].error or "")
    with pytest.raises(ModelUnavailable, match="the nearest is 52x52"):
        repository.get()


def test_the_size_of_the_settings_is_that_of_the_default_model_only(
    tmp_path: Path, loader: Loader
) -> None:
    for name in ("a", "b"):
        folder = write_model(tmp_path / name)
        (folder / "model.yaml").write_text("input_size: 32\n")
    repository = ModelRepository([tmp_path], loader, default="b", input_size=(96, 64))
    for _ in range(2):
        sizes = {info.name: info.input_size for info in repository.describe().result(10)}
        assert sizes == {"a": (32, 32), "b": (96, 64)}
    assert repository.get("a").network.input_size == (32, 32)
    assert repository.get().network.input_size == (96, 64)


def test_the_names_may_come_from_a_data_file(tmp_path: Path, loader: Loader) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "model.names").rename(folder / "list.txt")
    (folder / "model.data").write_text("classes = 2\nnames = /elsewhere/list.txt\n")
    assert ModelRepository([tmp_path], loader).get().network.names == ("cat", "dog")


def test_the_first_complete_model_is_the_default(tmp_path: Path, loader: Loader) -> None:
    (tmp_path / "a").mkdir()
    write_model(tmp_path / "b")
    write_model(tmp_path / "c")
    assert ModelRepository([tmp_path], loader).default == "b"
    assert ModelRepository([tmp_path], loader, default="c").get().name == "c"


def test_two_threads_load_a_model_once(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "pets")
    repository = ModelRepository([tmp_path], loader)
    loader.go.clear()
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(repository.get, "pets") for _ in range(2)]
        loader.go.set()
        first, second = (each.result() for each in both)
    assert first is second
    assert loader.names == ["pets"]


def test_an_unloaded_model_is_loaded_again_at_its_next_use(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "pets")
    repository = ModelRepository([tmp_path], loader)
    old = repository.get()
    repository.unload("pets")
    assert repository.loaded("pets") is None
    assert repository.get() is not old


def test_a_model_that_is_held_is_closed_after_its_last_holder_on_the_loaders_thread(
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "pets")
    engine = FakeEngine()
    repository = ModelRepository([tmp_path], engine.network)
    model = repository.get()
    assert model.acquire()
    repository.unload("pets")
    with model.held():
        assert len(model.detect([IMAGE], Thresholds())) == 1
    assert not engine.is_closed
    model.release()
    assert repository.close(time.monotonic() + 10)
    assert str(engine.closed_by) == "model-loader-0"
    assert not model.acquire()
    with pytest.raises(ModelUnavailable, match="unloaded"), model.held():
        pass


def test_a_model_that_nobody_holds_is_closed_at_once(tmp_path: Path) -> None:
    write_model(tmp_path / "pets")
    engine = FakeEngine()
    repository = ModelRepository([tmp_path], engine.network)
    repository.get()
    repository.unload("pets")
    assert engine.closed_by


def test_a_model_whose_first_image_fails_is_closed(tmp_path: Path) -> None:
    write_model(tmp_path / "pets")
    engine = FakeEngine(error=InferenceError("the device is lost"))
    with pytest.raises(ModelUnavailable, match="the device is lost"):
        ModelRepository([tmp_path], engine.network).get()
    assert engine.closed_by


def test_of_two_folders_the_first_one_counts(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "mine" / "b")
    write_model(tmp_path / "package" / "a")
    write_model(tmp_path / "package" / "b", names=("cat",))
    repository = ModelRepository([tmp_path / "mine", tmp_path / "package"], loader)
    assert repository.default == "b"
    assert repository.get("b").network.names == ("cat", "dog")
    assert repository.get("a").name == "a"
    alone = ModelRepository([tmp_path / "nowhere", tmp_path / "package"], loader)
    assert alone.default == "a"


def test_only_models_that_nobody_used_for_long_are_idle(tmp_path: Path, loader: Loader) -> None:
    for name in "ab":
        write_model(tmp_path / name)
    repository = ModelRepository([tmp_path], loader)
    repository.get("a").last_used -= 100
    repository.get("b")
    repository.unload_idle(1000)
    assert repository.loaded("a")
    repository.unload_idle(50)
    assert repository.loaded("a") is None
    assert repository.loaded("b")


def test_the_models_used_least_recently_are_unloaded_for_others(
    tmp_path: Path, loader: Loader
) -> None:
    for name in "abc":
        write_model(tmp_path / name)
    size = (tmp_path / "a" / "model.weights").stat().st_size
    repository = ModelRepository([tmp_path], loader, max_bytes=2 * size)
    repository.get("a")
    repository.get("b")
    repository.get("a").detect([IMAGE], Thresholds())
    repository.get("c")
    assert [name for name in "abc" if repository.loaded(name)] == ["a", "c"]


def test_a_model_larger_than_the_budget_is_served_alone(tmp_path: Path, loader: Loader) -> None:
    for name in "ab":
        write_model(tmp_path / name)
    repository = ModelRepository([tmp_path], loader, max_bytes=1)
    repository.get("a")
    assert repository.get("b").detect([IMAGE], Thresholds())
    assert [name for name in "ab" if repository.loaded(name)] == ["b"]


def test_a_broken_model_does_not_hide_the_others(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "a")
    write_model(tmp_path / "b", names=("cat",))
    (tmp_path / "c").mkdir()
    repository = ModelRepository([tmp_path], loader)
    with pytest.raises(ModelUnavailable, match="2 classes"):
        repository.get("b")
    with pytest.raises(ModelUnavailable, match=r"c: expected one \.cfg, found none"):
        repository.get("c")
    a, b, c = repository.describe().result(10)
    assert a.error is None
    assert "2 classes" in str(b.error)
    assert c.error
    assert a.classes == ("cat", "dog")
    assert a.input_size == (64, 48)


def test_a_model_added_or_fixed_later_is_found(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "a")
    (tmp_path / "b").mkdir()
    repository = ModelRepository([tmp_path], loader)
    write_model(tmp_path / "b")
    write_model(tmp_path / "c")
    assert repository.get("b").name == "b"
    assert repository.get("c").name == "c"


def test_a_model_that_cannot_be_loaded_is_tried_again_only_after_a_while(
    tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "a")
    write_model(tmp_path / "b", names=("cat",))
    repository = ModelRepository([tmp_path], loader)
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="the names list has 1"):
            repository.get("b")
    assert loader.names == ["b"]
    write_model(tmp_path / "b")
    monkeypatch.setattr(repository_module, "RETRY_SECONDS", 0.0)
    assert repository.get("b").name == "b"


def test_an_unknown_model_is_an_error_that_lists_the_known_ones(
    tmp_path: Path, loader: Loader
) -> None:
    write_model(tmp_path / "pets")
    with pytest.raises(ModelNotFound, match=r"'\.\./pets'; there are: pets"):
        ModelRepository([tmp_path], loader).get("../pets")


@pytest.mark.parametrize("name", [None, "pets"])
def test_without_a_model_the_error_says_how_to_get_one(
    tmp_path: Path, loader: Loader, name: str | None
) -> None:
    with pytest.raises(ConfigurationError, match=r"put one there.*YOLO_MODELS_DIR"):
        ModelRepository([tmp_path / "nowhere"], loader, default=name)


def test_an_unknown_default_model_is_an_error_that_lists_the_complete_ones(
    tmp_path: Path, loader: Loader
) -> None:
    write_model(tmp_path / "pets")
    with pytest.raises(ConfigurationError, match=r"no model 'cats'(.|\n)*\n  complete: pets"):
        ModelRepository([tmp_path], loader, default="cats")


def test_a_folder_can_be_described_without_loading(tmp_path: Path) -> None:
    assert describe_folders([tmp_path / "nowhere"]) == []
    write_model(tmp_path / "pets")
    (info,) = describe_folders([tmp_path])
    assert (info.name, info.loaded, info.error) == ("pets", None, None)


@pytest.mark.parametrize("kind", ["cfg", "names", "yaml"])
@pytest.mark.timeout(30)
def test_a_pipe_or_a_huge_file_makes_one_bad_model_and_no_hang(
    tmp_path: Path, loader: Loader, kind: str
) -> None:
    write_model(tmp_path / "good")
    for name in ("pipe", "huge"):
        write_model(tmp_path / name)
        (tmp_path / name / f"model.{kind}").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe" / f"model.{kind}")
    with (tmp_path / "huge" / f"model.{kind}").open("wb") as file:
        file.truncate(10**9)
    repository = ModelRepository([tmp_path], loader)
    good, huge, pipe = repository.describe().result(20)
    assert good.error is None
    assert "larger than" in str(huge.error)
    assert pipe.error
