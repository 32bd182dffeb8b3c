"""Labelled images in three formats, and bad data that never ends a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darknet.errors import DataError
from darknet.training.dataset import Dataset, merge
from darknet.training.readers import read_dataset

NAMES = ("cat", "dog")


def write_image(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))
    return path


def coco(folder: Path, **changes: Any) -> Path:
    """One image of 40 x 30 with a dog in its right lower quarter."""
    write_image(folder / "images" / "one.jpg")
    data: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "one.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 3, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [annotation()],
    }
    path = folder / "train.json"
    path.write_text(json.dumps(data | changes), encoding="utf-8")
    return path


def annotation(**changes: Any) -> dict[str, Any]:
    whole = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [20, 15, 20, 15], "iscrowd": 0}
    return whole | changes


def kinds(dataset: Dataset) -> list[str]:
    return [problem.kind for problem in dataset.problems]


def assert_one_dog(dataset: Dataset) -> None:
    (one,) = dataset.images
    assert (one.width, one.height) == (40, 30)
    np.testing.assert_allclose(one.boxes, [[30, 22.5, 20, 15]], atol=1e-4)
    assert [dataset.names[number] for number in one.class_ids] == ["dog"]
    assert dataset.problems == ()


def test_coco_labels_are_read(tmp_path: Path) -> None:
    assert_one_dog(read_dataset(coco(tmp_path)))
    assert_one_dog(read_dataset(coco(tmp_path), ("dog", "cat", "horse")))


def test_yolo_labels_are_read_beside_the_images_and_in_labels(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "one.jpg")
    beside, apart = tmp_path / "images" / "one.txt", tmp_path / "labels" / "one.txt"
    for text in (beside, apart):
        text.parent.mkdir(exist_ok=True)
        text.write_text("1 0.75 0.75 0.5 0.5\n", encoding="utf-8")
        assert_one_dog(read_dataset(tmp_path / "images", NAMES))
        text.unlink()


def test_a_list_of_images_is_read_as_darknet_writes_it(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "one.jpg").with_suffix(".txt").write_text("1 .75 .75 .5 .5")
    (tmp_path / "train.txt").write_text("images/one.jpg\n", encoding="utf-8")
    (tmp_path / "my.names").write_text("cat\ndog\n", encoding="utf-8")
    assert_one_dog(read_dataset(tmp_path / "train.txt"))


def voc(folder: Path, box: str, name: str = "dog") -> Path:
    write_image(folder / "JPEGImages" / "one.jpg")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "one.xml").write_text(
        f"<annotation><filename>one.jpg</filename><object><name>{name}</name>"
        f"<bndbox>{box}</bndbox></object></annotation>",
        encoding="utf-8",
    )
    return folder


def test_voc_labels_are_read(tmp_path: Path) -> None:
    box = "<xmin>20</xmin><ymin>15</ymin><xmax>40</xmax><ymax>30</ymax>"
    assert_one_dog(read_dataset(voc(tmp_path, box), NAMES))
    assert_one_dog(read_dataset(tmp_path / "Annotations"))


def test_a_voc_box_without_a_side_is_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty box: 1"):
        read_dataset(voc(tmp_path, "<xmin>20</xmin>"), NAMES)


GOOD = annotation(id=99)
BAD = {
    "empty box": annotation(bbox=[20, 15, 0, 0]),
    "unknown class": annotation(category_id=12),
    "box outside its image": annotation(bbox=[-10, -10, 30, 30]),
    "duplicate id": annotation(id=99),
    "bad annotation": annotation(bbox=[1, 2, 3]),
    "missing image": annotation(image_id=55),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_annotation_is_counted_and_named_or_refused(tmp_path: Path, kind: str) -> None:
    path = coco(tmp_path, annotations=[GOOD, BAD[kind]])
    dataset = read_dataset(path)
    assert kinds(dataset) == [kind]
    assert f"{kind}: 1" in dataset.summary()
    assert str(tmp_path) in dataset.problems[0].where
    with pytest.raises(DataError, match=kind):
        read_dataset(path, strict=True)


def test_a_box_that_leaves_its_image_is_clipped(tmp_path: Path) -> None:
    boxes = read_dataset(coco(tmp_path, annotations=[annotation(bbox=[-10, -10, 30, 30])]))
    np.testing.assert_allclose(boxes.images[0].boxes, [[10, 10, 20, 20]])


def test_missing_unreadable_and_empty_images_are_counted(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": name}
        for number, name in ((7, "one.jpg"), (8, "gone.jpg"), (9, "text.jpg"), (10, "empty.jpg"))
    ]
    path = coco(tmp_path, images=[*images, images[0]])
    (tmp_path / "images" / "text.jpg").write_text("no image", encoding="utf-8")
    write_image(tmp_path / "images" / "empty.jpg")
    dataset = read_dataset(path)
    wanted = ["missing image", "unreadable image", "no objects", "duplicate id"]
    assert kinds(dataset) == wanted
    assert [len(one.class_ids) for one in dataset.images] == [1, 0]


def test_an_image_on_its_side_has_the_size_that_is_shown(tmp_path: Path) -> None:
    from PIL import Image

    path = coco(tmp_path, annotations=[annotation(bbox=[0, 0, 30, 40])])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "one.jpg", exif=exif)
    (one,) = read_dataset(path).images
    assert (one.width, one.height) == (30, 40)
    image = one.load()
    assert image is not None
    assert image.shape == (40, 30, 3)


def test_data_sets_with_the_same_classes_become_one(tmp_path: Path) -> None:
    one, other = read_dataset(coco(tmp_path / "a")), read_dataset(coco(tmp_path / "b"))
    both = merge([one, other])
    assert both.images == (*one.images, *other.images)
    assert both.names == one.names


def test_data_sets_with_other_classes_are_not_mixed(tmp_path: Path) -> None:
    one = read_dataset(coco(tmp_path), ("cat", "dog"))
    other = read_dataset(coco(tmp_path), ("dog", "cat"))
    with pytest.raises(DataError, match="cat, dog and dog, cat"):
        merge([one, other])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": 1}', '{"images": [1]}'])
def test_json_that_is_not_coco_says_what_was_expected(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="expected COCO JSON"):
        read_dataset(tmp_path / "train.json")


def test_yolo_labels_without_names_ask_for_them(tmp_path: Path) -> None:
    write_image(tmp_path / "one.jpg")
    with pytest.raises(DataError, match="give the names"):
        read_dataset(tmp_path)


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_dataset(tmp_path / "none.json")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_no_yolo_label_file_ends_in_anything_but_a_count(tmp_path: Path, text: str) -> None:
    write_image(tmp_path / "one.jpg").with_suffix(".txt").write_text(
        f"0 .5 .5 .5 .5\n{text}", encoding="utf-8"
    )
    for one in read_dataset(tmp_path, NAMES).images:
        assert set(one.class_ids.tolist()) <= {0, 1}
        corners = one.boxes[:, :2] - one.boxes[:, 2:] / 2, one.boxes[:, :2] + one.boxes[:, 2:] / 2
        assert (corners[0] >= -0.01).all()
        assert (corners[1] <= np.array((40.01, 30.01))).all()
