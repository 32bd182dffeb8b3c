from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from darknet.detections import Detections
from darknet.errors import InferenceError
from darknet.model import RgbImage, Thresholds
from darknet.network import Network, load_model
from tests.support.networks import write_model
from yolo_service.errors import ConfigurationError, ModelNotFound, ModelUnavailable
from yolo_service.models import repository as repository_module
from yolo_service.models.folder import ModelFiles, read_folder
from yolo_service.models.loaded import LoadedModel
from yolo_service.models.opening import default_files, load_files, open_repository
from yolo_service.models.repository import ModelRepository, describe_folder
from yolo_service.settings import load_settings

IMAGE = np.zeros((48, 64, 3), np.uint8)
NOTHING = Detections(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ()
)


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
    model = Repository(tmp_path, loader).get()
    assert model.name == "pets"
    assert model.network.names == ("cat", "dog")
    assert model.network.input_size == (64, 48)
    assert len(model.detect([IMAGE], Thresholds())) == 1


def test_the_names_may_come_from_a_data_file(tmp_path: Path, loader: Loader) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "model.names").rename(folder / "list.txt")
    (folder / "model.data").write_text("classes = 2\nnames = /elsewhere/list.txt\n")
    assert Repository(tmp_path, loader).get().network.names == ("cat", "dog")


def test_the_first_complete_model_is_the_default(tmp_path: Path, loader: Loader) -> None:
    (tmp_path / "a").mkdir()
    write_model(tmp_path / "b")
    write_model(tmp_path / "c")
    assert Repository(tmp_path, loader).default == "b"
    assert Repository(tmp_path, loader, default="c").get().name == "c"


def test_two_threads_load_a_model_once(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "pets")
    repository = Repository(tmp_path, loader)
    loader.go.clear()
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(repository.get, "pets") for _ in range(2)]
        loader.go.set()
        first, second = (each.result() for each in both)
    assert first is second
    assert loader.names == ["pets"]


def test_an_unloaded_model_is_loaded_again_at_its_next_use(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "pets")
    repository = Repository(tmp_path, loader)
    old = repository.get()
    repository.unload("pets")
    assert repository.loaded("pets") is None
    assert repository.get() is not old


def test_an_unloaded_model_serves_who_has_it_and_is_closed_after_the_last(
    tmp_path: Path, loader: Loader
) -> None:
    write_model(tmp_path / "pets")
    repository = Repository(tmp_path, loader)
    model = repository.get()
    network = model.network
    repository.unload("pets")
    assert len(model.detect([IMAGE], Thresholds())) == 1
    del model
    with pytest.raises(InferenceError, match="closed"):
        network.detect([IMAGE])


def test_a_closed_model_says_so(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "pets")
    model = Repository(tmp_path, loader).get()
    model.close()
    with pytest.raises(ModelUnavailable, match="closed"):
        model.detect([IMAGE], Thresholds())


def test_only_models_that_nobody_used_for_long_are_idle(tmp_path: Path, loader: Loader) -> None:
    for name in "ab":
        write_model(tmp_path / name)
    repository = Repository(tmp_path, loader)
    repository.get("a").last_used -= 100
    repository.get("b")
    assert not repository.unload_idle(1000)
    assert repository.unload_idle(50)
    assert repository.loaded("a") is None
    assert repository.loaded("b")


def test_what_was_used_least_recently_makes_room(tmp_path: Path, loader: Loader) -> None:
    for name in "abc":
        write_model(tmp_path / name)
    size = (tmp_path / "a" / "model.weights").stat().st_size
    repository = Repository(tmp_path, loader, budget=2 * size)
    repository.get("a")
    repository.get("b")
    repository.get("a").detect([IMAGE], Thresholds())
    repository.get("c")
    assert [name for name in "abc" if repository.loaded(name)] == ["a", "c"]


def test_a_model_larger_than_the_budget_is_served_alone(tmp_path: Path, loader: Loader) -> None:
    for name in "ab":
        write_model(tmp_path / name)
    repository = Repository(tmp_path, loader, budget=1)
    repository.get("a")
    assert repository.get("b").detect([IMAGE], Thresholds())
    assert [name for name in "ab" if repository.loaded(name)] == ["b"]


class SlowEngine:
    """Computes until it is let go; closing it meanwhile is what must not happen."""

    name, device, precision = "openvino", "CPU", "fp32"

    def __init__(self) -> None:
        self.entered, self.go, self.closed = threading.Event(), threading.Event(), False

    def detect(self, images: Iterable[RgbImage], _: Thresholds) -> list[Detections]:
        self.entered.set()
        assert self.go.wait(10)
        assert not self.closed
        return [NOTHING for _ in images]

    def close(self) -> None:
        self.closed = True


def test_unloading_waits_for_those_who_compute(tmp_path: Path) -> None:
    files = read_folder(write_model(tmp_path / "pets"))
    engine = SlowEngine()
    network = Network(load_model(files.cfg, files.weights, files.names), engine)
    model = LoadedModel(files, network)
    with ThreadPoolExecutor(2) as threads:
        computing = threads.submit(model.detect, [IMAGE], Thresholds())
        assert engine.entered.wait(10)
        closing = threads.submit(model.close)
        assert not engine.closed
        engine.go.set()
        computing.result(10)
        closing.result(10)
    assert engine.closed


def test_a_broken_model_does_not_hide_the_others(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "a")
    write_model(tmp_path / "b", names=("cat",))
    (tmp_path / "c").mkdir()
    repository = Repository(tmp_path, loader)
    with pytest.raises(ModelUnavailable, match="2 classes"):
        repository.get("b")
    with pytest.raises(ModelUnavailable, match=r"c: expected one \.cfg, found none"):
        repository.get("c")
    a, b, c = repository.describe()
    assert a.error is None
    assert "2 classes" in str(b.error)
    assert c.error
    assert a.classes == ("cat", "dog")
    assert a.input_size == (64, 48)


def test_a_model_added_or_mended_later_is_found(tmp_path: Path, loader: Loader) -> None:
    write_model(tmp_path / "a")
    (tmp_path / "b").mkdir()
    repository = Repository(tmp_path, loader)
    write_model(tmp_path / "b")
    write_model(tmp_path / "c")
    assert repository.get("b").name == "b"
    assert repository.get("c").name == "c"


def test_a_model_that_cannot_be_loaded_is_tried_again_only_after_a_while(
    tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "a")
    write_model(tmp_path / "b", names=("cat",))
    repository = Repository(tmp_path, loader)
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
        Repository(tmp_path, loader).get("../pets")


@pytest.mark.parametrize("name", [None, "pets"])
def test_without_a_model_the_error_says_how_to_get_one(
    tmp_path: Path, loader: Loader, name: str | None
) -> None:
    with pytest.raises(ConfigurationError, match=r"put one there.*YOLO_MODELS_DIR"):
        Repository(tmp_path / "nowhere", loader, default=name)


def test_a_folder_with_two_of_a_kind_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "other.cfg").write_text("")
    with pytest.raises(ModelUnavailable, match=r"one \.cfg, found model\.cfg, other\.cfg"):
        read_folder(folder)


def test_model_yaml_sets_what_requests_leave_out(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "model.yaml").write_text("threshold: 0.1\nnms: 0\ndialect: pjreddie\n")
    options = read_folder(folder).options
    assert options.dialect == "pjreddie"
    assert options.thresholds(None, None, 0.7) == Thresholds(0.1, 0.0, 0.7)
    assert options.thresholds(0.9, 0.3, None) == Thresholds(0.9, 0.3, 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("treshold: 0.1", "unknown key 'treshold'; known are .*threshold"),
        ("threshold: 2", "threshold: .*less than or equal to 1, found 2"),
        ("dialect: yolo", "dialect: .*'alexeyab' or 'pjreddie', found 'yolo'"),
        ("- 1", "contents"),
        ("a: [", "model.yaml"),
    ],
)
def test_a_wrong_model_yaml_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "model.yaml").write_text(text)
    with pytest.raises(ModelUnavailable, match=words):
        read_folder(folder)


def test_the_classic_variables_name_the_default_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "classic")
    (folder / "coco.data").write_text(f"names = {folder}/model.names\n")
    write_model(tmp_path / "models" / "a")
    settings = load_settings(
        models_dir=tmp_path / "models",
        config_file=folder / "model.cfg",
        weights_file=folder / "model.weights",
        meta_file=folder / "coco.data",
    )
    repository = open_repository(settings)
    assert repository.default == "model"
    assert repository.get().network.names == ("cat", "dog")
    assert [info.name for info in repository.describe()] == ["a", "model"]
    assert default_files(settings).cfg == folder / "model.cfg"


def test_a_folder_can_be_described_without_loading(tmp_path: Path) -> None:
    assert describe_folder(tmp_path / "nowhere") == []
    write_model(tmp_path / "pets")
    (info,) = describe_folder(tmp_path)
    assert (info.name, info.loaded, info.error) == ("pets", None, None)
