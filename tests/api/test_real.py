"""A real network on a real photo, through HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import StartServer

EXPECTED = {
    "pjreddie": {
        "label": ["dog", "car", "bicycle", "cat", "dog", "truck"],
        "score": [0.9355, 0.8762, 0.8568, 0.4503, 0.3463, 0.2622],
    },
    "alexeyab": {
        "label": ["dog", "bicycle", "car", "truck", "cat"],
        "score": [0.933, 0.902, 0.800, 0.462, 0.347],
    },
}
"""What Darknet itself finds; for the second its own JPEG decoder differs by up to 0.02."""

TOLERANCE = {"pjreddie": 0.0002, "alexeyab": 0.02}


@pytest.fixture
def dialects(xl: Path, tmp_path: Path) -> Path:
    """A models folder with Yolo-Fastest-XL in both dialects."""
    for dialect in EXPECTED:
        folder = tmp_path / dialect
        folder.mkdir()
        for path in xl.iterdir():
            (folder / path.name).symlink_to(path)
        (folder / "model.yaml").write_text(f"dialect: {dialect}\n")
    return tmp_path


def test_dog_jpg_is_answered_as_darknet_does(
    start_server: StartServer, dialects: Path, darknet_data: Path
) -> None:
    photo = (darknet_data / "data" / "dog.jpg").read_bytes()
    client = start_server(models_dir=str(dialects)).client()
    for dialect, expected in EXPECTED.items():
        found = client.post([("image_file", photo), ("model", dialect)]).json
        assert [label for label, _, _ in found] == expected["label"]
        scores = pytest.approx(expected["score"], abs=TOLERANCE[dialect])
        assert [score for _, score, _ in found] == scores
    client.close()
