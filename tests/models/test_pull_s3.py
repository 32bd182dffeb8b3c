"""Models whose files are in a store of S3's protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.support.command import run
from tests.support.networks import write_model
from tests.support.publisher import publishing
from tests.support.stores import Store
from yolo_service import s3
from yolo_service.errors import PullError, StoreError
from yolo_service.models.catalog import changed_files, read_entry
from yolo_service.models.download import Wanted, download
from yolo_service.models.folder import ModelOptions
from yolo_service.models.opening import default_files, ensure_model, open_repository
from yolo_service.models.pull import add_model, pull_model
from yolo_service.settings import load_settings

AT_ONCE = (0.0, 0.0, 0.0)
FILES = ("model.cfg", "model.names", "model.weights")


@pytest.fixture
def places(store: Store, tmp_path: Path) -> list[str]:
    """The addresses of a real, tiny model's files."""
    folder = write_model(tmp_path / "origin")
    return [store.put(f"tiny/{name}", (folder / name).read_bytes()) for name in FILES]


def test_a_model_is_added_from_a_store(places: list[str], tmp_path: Path) -> None:
    models = tmp_path / "models"
    folder = add_model("tiny", places, models, ModelOptions(), pauses=AT_ONCE)
    assert changed_files(folder) == []
    written = yaml.safe_load((folder / "model.yaml").read_text())["sources"]
    assert [source["url"] for source in written] == places
    assert all(source["sha256"] for source in written)
    assert open_repository(load_settings(models_dir=models)).get().network.names == ("cat", "dog")


def test_a_model_is_pulled_from_the_sources_of_its_model_yaml(
    places: list[str], tmp_path: Path
) -> None:
    entry = tmp_path / "models" / "tiny"
    entry.mkdir(parents=True)
    listed = [{"file": name, "url": url} for name, url in zip(FILES, places, strict=True)]
    (entry / "model.yaml").write_text(yaml.safe_dump({"sources": listed}))
    folder = pull_model(read_entry(entry), tmp_path / "models", pauses=AT_ONCE)
    assert sorted(path.name for path in folder.iterdir()) == [*FILES, "model.yaml"]


def test_a_store_may_be_the_mirror(places: list[str], tmp_path: Path) -> None:
    entry = tmp_path / "models" / "tiny"
    entry.mkdir(parents=True)
    listed = [{"file": name, "url": f"https://127.0.0.1:9/{name}"} for name in FILES]
    (entry / "model.yaml").write_text(yaml.safe_dump({"sources": listed}))
    settings = load_settings(
        models_dir=tmp_path / "models", model="tiny", models_mirror="s3://models"
    )
    ensure_model(settings)
    assert default_files(settings).weights == entry / "model.weights"


def test_a_download_resumes_where_the_store_broke_off(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []
    whole, real = (tmp_path / "origin" / "model.weights").read_bytes(), s3.open_object

    @contextmanager
    def broken(place: s3.Place, start: int, tag: str) -> Iterator[s3.Object]:
        starts.append(start)
        with real(place, start, tag) as found:
            yield replace(found, chunks=_cut_off(found.chunks)) if len(starts) < 3 else found

    monkeypatch.setattr(s3, "open_object", broken)
    wanted = Wanted("weights", (places[2],), frozenset({len(whole)}))
    download(wanted, tmp_path / "weights", pauses=AT_ONCE)
    assert (tmp_path / "weights").read_bytes() == whole
    assert starts == [0, 300, 600]


def _cut_off(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield some bytes, then fail as a connection that breaks."""
    yield next(chunks)[:300]
    raise StoreError("the connection broke", may_pass=True)


def test_a_part_of_an_object_that_has_changed_is_not_used(
    places: list[str], store: Store, tmp_path: Path
) -> None:
    target = tmp_path / "names"
    (tmp_path / "names.part").write_bytes(b"ca")
    (tmp_path / "names.part.etag").write_text('"of another object"')
    download(Wanted("names", (places[1],)), target, pauses=AT_ONCE)
    assert target.read_bytes() == b"cat\ndog\n"


def test_a_file_that_is_not_there_names_its_address(places: list[str], tmp_path: Path) -> None:
    with pytest.raises(PullError, match=r"s3://models/tiny/model.cfg2: .*no such object"):
        add_model("tiny", [f"{places[0]}2", *places[1:]], tmp_path / "models", ModelOptions())
    assert list((tmp_path / "models").iterdir()) == []


# The three files of the classic service


def classic(tmp_path: Path, cfg: str, weights: str, meta: str) -> dict[str, object]:
    files = {"config_file": cfg, "weights_file": weights, "meta_file": meta}
    return {**files, "models_dir": tmp_path / "models"}


def test_the_classic_files_are_pulled_from_a_store(places: list[str], tmp_path: Path) -> None:
    settings = load_settings(**classic(tmp_path, places[0], places[2], places[1]))
    ensure_model(settings)
    files = default_files(settings)
    assert files.name == "model"
    assert files.read_names() == ("cat", "dog")
    written = files.weights.stat().st_mtime_ns
    ensure_model(settings)
    assert files.weights.stat().st_mtime_ns == written
    assert [info.name for info in open_repository(settings).describe().result(10)] == ["model"]


def test_a_meta_file_of_a_store_names_a_list_beside_it(
    places: list[str], store: Store, tmp_path: Path
) -> None:
    meta = store.put("tiny/coco.data", b"classes=2\nnames = data/model.names\n")
    settings = load_settings(**classic(tmp_path, places[0], places[2], meta))
    ensure_model(settings)
    assert default_files(settings).read_names() == ("cat", "dog")


def test_addresses_and_paths_may_be_mixed(places: list[str], tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    (origin / "model.data").write_text(f"names = {origin}/model.names\n")
    weights = (origin / "model.weights").read_bytes()
    with publishing({"model.weights": weights}) as publisher:
        url = f"{publisher.url}/model.weights"
        own = classic(tmp_path, places[0], url, str(origin / "model.data"))
        settings = load_settings(**own)
        ensure_model(settings)
    assert default_files(settings).read_names() == ("cat", "dog")


def test_other_addresses_are_another_model(places: list[str], store: Store, tmp_path: Path) -> None:
    first = load_settings(**classic(tmp_path, places[0], places[2], places[1]))
    other = store.put("other/model.names", b"fox,owl\n")
    second = load_settings(**classic(tmp_path, places[0], places[2], other))
    for settings in (first, second):
        ensure_model(settings)
    assert default_files(first).read_names() == ("cat", "dog")
    assert default_files(second).read_names() == ("fox", "owl")


def test_the_command_line_reads_the_aws_variables(
    places: list[str], store: Store, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    added = run("models", "add", "tiny", *places, "--models-dir", models, **store.environment)
    assert added.returncode == 0, added.stderr
    listed = run("models", "list", "--models-dir", models)
    assert "tiny" in listed.stdout
    variables = {**store.environment, "config_file": places[0], "weights_file": places[2]}
    image = Path(__file__).parents[2] / "models" / "blood-cells" / "sample.jpg"
    found = run(
        *("detect", image, "--models-dir", tmp_path / "none"),
        **{**variables, "meta_file": places[1]},
    )
    assert json.loads(found.stdout)["model"] == "model", found.stderr
