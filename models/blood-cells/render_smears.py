"""Render labelled images of blood smears, so that training can be tried without a data set.

    python models/blood-cells/render_smears.py --count 400 --output smears

An image is computed as transmitted light: every cell adds to the optical density (Beer-Lambert),
cells that overlap are darker, and a pixel is background * exp(-density). Sizes and colours imitate
a Wright-stained smear at 640 x 480; they are not measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt

RgbImage = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Random = np.random.Generator

NAMES = ("RBC", "WBC", "Platelets")
SIZE = (640, 480)
MIN_VISIBLE = 0.35
"""Smallest part of a cell's area within the image for which the cell is labelled."""
VALIDATION_SEED = 1_000_000
"""First seed of the validation images; training images have lower ones."""


@dataclass(frozen=True, eq=False)
class _Stain:
    """Optical density of each kind of tissue per colour channel: float32[3], red, green, blue.

    Attributes:
        pallor: how much thinner red cells are in their centre, 0..1.
    """

    red_cell: FloatArray
    cytoplasm: FloatArray
    nucleus: FloatArray
    platelet: FloatArray
    pallor: float

    @classmethod
    def random(cls, random: Random) -> _Stain:
        """Choose a hue from tan (haemoglobin) to violet (strong azure), and a strength."""
        violet, strength = random.uniform(0, 1), random.uniform(0.55, 1.15)
        tan, purple = floats((0.18, 0.48, 0.50)), floats((0.24, 0.58, 0.30))
        red_cell = floats((tan + violet * (purple - tan)) * strength)
        nucleus = floats((0.85, 1.20, 0.32)) * random.uniform(0.75, 1.25)
        nucleus *= random.uniform(0.85, 1.15, 3).astype(np.float32)
        cytoplasm = floats((0.22, 0.40, 0.10)) * random.uniform(0.5, 1.4)
        platelet = floats((0.36, 0.52, 0.16)) * random.uniform(0.7, 1.3)
        return cls(red_cell, cytoplasm, nucleus, platelet, random.uniform(0.1, 0.8))


@dataclass(frozen=True, eq=False)
class _Cell:
    """One cell: density float32[h, w, 3], mask bool[h, w], and the patch's left top corner."""

    left: int
    top: int
    density: FloatArray
    mask: BoolArray
    class_id: int


def render_smear(seed: int, size: tuple[int, int] = SIZE) -> tuple[RgbImage, FloatArray, IntArray]:
    """Render one smear.

    Args:
        seed: the same seed gives the same image.
        size: width and height in pixels; cells have the size they have at 640 x 480.

    Returns:
        uint8[height, width, 3], RGB; float32[n, 4], boxes as centre x, centre y, width, height
        in pixels, clipped to the image; int32[n], indices into ``NAMES``.
    """
    random = np.random.default_rng(seed)
    stain = _Stain.random(random)
    cells = _cells(random, size, stain)
    density = np.zeros((size[1], size[0], 3), np.float32)
    for cell in cells:
        _add(density, cell)
    image = _photograph(density, random)
    rows = [(box, cell.class_id) for cell in cells if (box := _box(cell, size))]
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    return image, boxes, np.array([class_id for _, class_id in rows], np.int32)


def write_dataset(labels: Path, seeds: Iterable[int], size: tuple[int, int] = SIZE) -> None:
    """Render one image per seed and label them in COCO format.

    Args:
        labels: the COCO JSON to write; the images go into ``images`` beside it.
        seeds: of the images.
        size: width and height in pixels.
    """
    folder = labels.parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for seed in seeds:
        image, boxes, class_ids = render_smear(seed, size)
        name = f"smear_{seed:07}.jpg"
        cv2.imwrite(str(folder / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        images.append({"id": seed, "file_name": name, "width": size[0], "height": size[1]})
        for box, class_id in zip(boxes.tolist(), class_ids.tolist(), strict=True):
            corner = [box[0] - box[2] / 2, box[1] - box[3] / 2, *box[2:]]
            annotations.append(
                {"id": len(annotations), "image_id": seed, "category_id": class_id}
                | {"bbox": corner, "area": box[2] * box[3], "iscrowd": 0}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    labels.write_text(json.dumps(content), encoding="utf-8")


@click.command()
@click.option("--count", type=click.IntRange(1), default=400, show_default=True, help="Images.")
@click.option("--val-count", type=click.IntRange(1), default=80, show_default=True, help="Others.")
@click.option("--seed", type=click.IntRange(0, VALIDATION_SEED - 1), default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder.")
def main(count: int, val_count: int, seed: int, output: Path) -> None:
    """Render images to train on (train.json) and others to validate on (val.json)."""
    for name, first, number in (("train", seed, count), ("val", VALIDATION_SEED + seed, val_count)):
        with click.progressbar(range(first, first + number), label=f"{name}.json") as seeds:
            write_dataset(output / f"{name}.json", seeds)


_Draw = Callable[[Random, _Stain, FloatArray, float], _Cell]
"""(random, stain, centre, radius) -> cell."""


def _cells(random: Random, size: tuple[int, int], stain: _Stain) -> list[_Cell]:
    """Choose kinds, sizes and positions; red cells may overlap, white cells overlap nothing."""
    area = size[0] * size[1] / (SIZE[0] * SIZE[1])
    scale, crowding = random.uniform(0.88, 1.1), random.choice([0.45, 0.75, 0.9])
    red = int(random.integers(8, 30) * area)
    plan: list[tuple[_Draw, npt.NDArray[np.float64], float]] = [
        (_white_cell, random.uniform(48, 112, random.poisson(1.1 * area)), 0.95),
        (_platelet, random.uniform(12, 26, random.poisson(1.3 * area)), 1.0),
        (_red_cell, random.normal(50, 5, red), crowding),
    ]
    placed: list[tuple[FloatArray, float]] = []
    cells = []
    for draw, radii, distance in plan:
        for radius in (radii * scale).tolist():
            centre = _free_centre(random, size, radius, distance, placed)
            if centre is not None:
                placed.append((centre, radius))
                cells.append(draw(random, stain, centre, radius))
    return cells


def _free_centre(
    random: Random,
    size: tuple[int, int],
    radius: float,
    distance: float,
    placed: list[tuple[FloatArray, float]],
) -> FloatArray | None:
    """Return a centre at least ``distance`` * (sum of both radii) from all others, or None."""
    for _ in range(30):
        centre = random.uniform(-0.3 * radius, floats(size) + 0.3 * radius).astype(np.float32)
        if all(
            np.hypot(*(centre - other)) > distance * (radius + length) for other, length in placed
        ):
            return centre
    return None


def _red_cell(random: Random, stain: _Stain, centre: FloatArray, radius: float) -> _Cell:
    """A disc with a paler centre, in 12 % of cells with bright refracting spots."""
    left, top, r = _shape(random, centre, radius, random.uniform(0.78, 1.0), 0.03)
    hollow = random.uniform(0.35, 0.6)
    pallor = np.clip(stain.pallor + random.normal(0, 0.15), 0, 0.95)
    thickness = 1 - pallor * np.exp(-((r / hollow) ** 4)) + 0.2 * np.exp(-(((r - 0.8) / 0.15) ** 2))
    thickness *= _edge(r, random.uniform(0.02, 0.08)) * random.uniform(0.85, 1.15)
    if random.random() < 0.12:
        thickness = thickness + _spots(random, r.shape, radius) * (r < 0.8)
    return _Cell(left, top, thickness[..., None] * stain.red_cell, r < 1, 0)


def _white_cell(random: Random, stain: _Stain, centre: FloatArray, radius: float) -> _Cell:
    """Granular cytoplasm around a dark nucleus, which is round and large or has lobes."""
    left, top, r = _shape(random, centre, radius, random.uniform(0.8, 1.0), 0.04)
    body = _edge(r, 0.05) * (1 + random.uniform(0.1, 0.6) * _texture(random, r.shape, 3))
    nucleus = np.zeros_like(r)
    lobes = 1 if random.random() < 0.45 else int(random.integers(2, 6))
    turn = random.uniform(0, 2 * np.pi)
    for _ in range(lobes):
        nucleus = np.maximum(nucleus, _lobe(random, r.shape, radius, lobes, turn))
        turn += random.uniform(0.8, 1.3)
    nucleus *= (1 + 0.12 * _texture(random, r.shape, 5)) * _edge(r, 0.05)
    density = body[..., None] * stain.cytoplasm + nucleus[..., None] * stain.nucleus
    return _Cell(left, top, density, r < 1, 1)


def _lobe(
    random: Random,
    shape: tuple[int, ...],
    radius: float,
    lobes: int,
    turn: float,
) -> FloatArray:
    """One lobe of a nucleus: a single one fills most of the cell, several lie on an arc."""
    if lobes == 1:
        size, away = radius * random.uniform(0.6, 0.93), radius * random.uniform(0, 0.15)
    else:
        size, away = radius * random.uniform(0.25, 0.42), radius * random.uniform(0.3, 0.5)
    middle = floats(shape[1::-1]) / 2 + away * floats((np.cos(turn), np.sin(turn)))
    return _edge(
        _radius(random, shape, middle, size, aspect=random.uniform(0.7, 1), ragged=0.06), 0.08
    )


def _platelet(random: Random, stain: _Stain, centre: FloatArray, radius: float) -> _Cell:
    """A small spot with a ragged outline and a granular centre."""
    left, top, r = _shape(random, centre, radius, random.uniform(0.65, 1.0), 0.09)
    grains = 1 + 0.3 * _texture(random, r.shape, 2)
    density = (_edge(r, 0.25) * 0.55 + np.exp(-((r / 0.6) ** 2)) * 0.6) * grains
    return _Cell(left, top, density[..., None] * stain.platelet, r < 1, 2)


def _shape(
    random: Random, centre: FloatArray, radius: float, aspect: float, ragged: float
) -> tuple[int, int, FloatArray]:
    """Return a patch's left top corner and its distance field: 1 on the outline, less inside."""
    reach = int(radius * (1.2 + 2 * ragged)) + 2
    left, top = (int(value) - reach for value in centre)
    middle = centre - floats((left, top))
    shape = (2 * reach, 2 * reach)
    return left, top, _radius(random, shape, middle, radius, aspect=aspect, ragged=ragged)


def _radius(
    random: Random,
    shape: tuple[int, ...],
    middle: FloatArray,
    radius: float,
    *,
    aspect: float,
    ragged: float,
) -> FloatArray:
    """Distance from ``middle`` relative to the outline, an ellipse with random waves."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    x, y = x - middle[0], y - middle[1]
    turn = random.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / aspect
    angle = np.arctan2(v, u)
    outline = np.ones_like(u)
    for periods in range(2, 6):
        outline = outline + random.normal(0, 2 * ragged / periods) * np.cos(
            periods * angle + random.uniform(0, 2 * np.pi)
        )
    return np.asarray(np.hypot(u, v) / (radius * np.maximum(outline, 0.3)), np.float32)


def _edge(r: FloatArray, width: float) -> FloatArray:
    """Smooth step: 1 inside, 0 outside, ``width`` wide at the outline."""
    step = np.clip((1 - r) / width + 0.5, 0, 1)
    return np.asarray(step * step * (3 - 2 * step), np.float32)


def _texture(random: Random, shape: tuple[int, ...], grain: float) -> FloatArray:
    """Smooth noise of mean 0 and deviation 1; ``grain`` is its size in pixels."""
    noise = cv2.GaussianBlur(random.standard_normal(shape, np.float32), (0, 0), grain)
    return np.asarray(noise / (noise.std() + 1e-6), np.float32)


def _spots(random: Random, shape: tuple[int, ...], radius: float) -> FloatArray:
    """Bright spots with dark rims, which are artefacts of drying."""
    spots = np.zeros(shape, np.float32)
    for _ in range(int(random.integers(1, 4))):
        middle = floats(floats(shape) / 2 + random.normal(0, 0.3 * radius, 2))
        r = _radius(
            random, shape, middle, random.uniform(3, 9), aspect=random.uniform(0.5, 1), ragged=0.1
        )
        spots += 1.2 * np.exp(-(((r - 1) / 0.35) ** 2)) - 0.8 * np.exp(-((r / 0.6) ** 2))
    return spots


def _add(density: FloatArray, cell: _Cell) -> None:
    """Add a cell's density to the part of the image that its patch covers."""
    height, width = density.shape[:2]
    h, w = cell.mask.shape
    x0, x1 = max(0, cell.left), min(width, cell.left + w)
    y0, y1 = max(0, cell.top), min(height, cell.top + h)
    if x0 < x1 and y0 < y1:
        rows, columns = slice(y0 - cell.top, y1 - cell.top), slice(x0 - cell.left, x1 - cell.left)
        density[y0:y1, x0:x1] += cell.density[rows, columns]


def _box(cell: _Cell, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return the box around the visible part of a cell, or None below ``MIN_VISIBLE``."""
    rows, columns = np.nonzero(cell.mask)
    rows, columns = rows + cell.top, columns + cell.left
    seen = (rows >= 0) & (rows < size[1]) & (columns >= 0) & (columns < size[0])
    if seen.mean() < MIN_VISIBLE:
        return None
    left, right = float(columns[seen].min()), float(columns[seen].max() + 1)
    top, bottom = float(rows[seen].min()), float(rows[seen].max() + 1)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _photograph(density: FloatArray, random: Random) -> RgbImage:
    """Turn density into an image with uneven light, a blurred focus and sensor noise."""
    height, width = density.shape[:2]
    lamp = floats((0.80, 0.82, 0.79)) + random.normal(0, 0.025, 3).astype(np.float32)
    slope = random.uniform(-0.08, 0.08, 2)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    uneven = 1 + slope[0] * x + slope[1] * y - random.uniform(0, 0.06) * (x * x + y * y)
    light = lamp * uneven[..., None].astype(np.float32) * np.exp(-density)
    focus = random.choice([random.uniform(0.5, 1.2), random.uniform(1.2, 3.0)], p=[0.75, 0.25])
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), focus), np.float32)
    noise = random.standard_normal(light.shape, np.float32) * random.uniform(0.004, 0.015)
    return np.asarray(np.clip((light + noise) * 255, 0, 255).round(), np.uint8)


def floats(values: npt.ArrayLike) -> FloatArray:
    """Return numbers as a float32 array."""
    return np.asarray(values, np.float32)


if __name__ == "__main__":
    main()
