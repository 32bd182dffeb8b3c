"""A model folder as files, and what its model.yaml sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from darknet.model import Thresholds
from tests.support.networks import write_model, write_obicos_model
from yolo_service.errors import ConfigurationError, ModelUnavailable
from yolo_service.models.folder import read_folder
from yolo_service.models.pull import check_folder
from yolo_service.models.repository import describe_folders


def test_a_folder_with_two_of_a_kind_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "other.cfg").write_text("")
    with pytest.raises(ModelUnavailable, match=r"one \.cfg, found model\.cfg, other\.cfg"):
        read_folder(folder)


def test_obicos_files_are_a_model(tmp_path: Path) -> None:
    """As its image has them: the .meta names a path within the image."""
    folder = write_obicos_model(tmp_path / "obico")
    files = read_folder(folder)
    assert (files.weights.name, files.names.name) == ("model-weights-5a6b1be1fa.darknet", "names")
    (info,) = describe_folders([tmp_path])
    assert (info.error, info.classes) == (None, ("failure", "other"))
    assert check_folder(folder).names == ("failure", "other")


def test_a_meta_file_names_the_list_as_a_data_file_does(tmp_path: Path) -> None:
    folder = write_obicos_model(tmp_path / "obico")
    (folder / "names").rename(folder / "obico.list")
    (folder / "model.meta").write_text("classes= 2\nnames = model/obico.list\n")
    assert check_folder(folder).names == ("failure", "other")


def test_weights_of_two_suffixes_are_two_of_a_kind(tmp_path: Path) -> None:
    folder = write_obicos_model(tmp_path / "obico")
    (folder / "model.weights").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match=r"one \.weights, found model-weights-.*, model\."):
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
        ("description: 2026-13-45", "month must be in"),
        ("classes: " + "9" * 5000, "digits"),
        ("a: " + "[" * 5000, "recursion"),
        ("a: &a [x]\nb: [*a, *a]", "aliases are not taken"),
        ("description: " + "x" * 70_000, "larger than 65536 bytes"),
    ],
)
def test_a_wrong_model_yaml_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    folder = write_model(tmp_path / "pets")
    (folder / "model.yaml").write_text(text)
    with pytest.raises(ModelUnavailable, match=words):
        read_folder(folder)


def test_a_folder_that_cannot_be_listed_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"cannot be listed: .*YOLO_MODELS_DIR"):
        describe_folders([tmp_path / "models"])


def test_a_list_of_names_outside_of_the_folder_is_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("cat\ndog\n")
    linked, named, obico = (write_model(tmp_path / name) for name in ("linked", "named", "obico"))
    for folder in (linked, named, obico):
        (folder / "model.names").unlink()
    (linked / "model.names").symlink_to(secret)
    (obico / "names").symlink_to(secret)
    (named / "model.data").write_text(f"names = {secret}\n")
    for folder in (linked, named, obico):
        with pytest.raises(ModelUnavailable, match="outside of the model's folder"):
            read_folder(folder)
