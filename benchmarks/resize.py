"""Ways to compute Darknet's resize: how exact, how fast.

    python -m benchmarks.resize [--model FOLDER] [--threads N]

Prints, for a 768 x 576 image stretched to 320 x 320, the largest difference from Darknet's own
loops (values 0..1) and the time of each candidate; then the time of the winner for images of
0.3 to 48 megapixels. With the folder of a model, also its inference time, to compare with.

What won: ``cv2.remap`` of OpenCV 5, which interpolates in float, fed with Darknet's own
coordinates, with pixels of four channels instead of three, and in blocks that stay in the cache. It
is exact. ``cv2.resize`` is twice as fast, and puts pixels elsewhere. A graph in OpenVINO is exact
and several times slower, alone or put before a network's graph: it interpolates by its general
path, and would have to be compiled for each size of image.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from darknet.network import load_network
from darknet.resize import resize_pixels_into

Array = npt.NDArray[Any]
Candidate = Callable[[], Array]

WIDTH, HEIGHT, SIDE = 768, 576, 320
LARGER = ((640, 480), (1280, 720), (1920, 1080), (4000, 3000), (8000, 6000))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Compare ways to compute Darknet's resize.")
    parser.add_argument("--model", type=Path, help="folder of a model whose inference is timed")
    parser.add_argument("--threads", type=int, default=1, help="threads of OpenCV and OpenVINO")
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)
    compare(noise(HEIGHT, WIDTH), arguments.threads)
    print(f"\n{'image':<28}{'min ms':>10}{'median ms':>12}")
    for width, height in LARGER:
        print_times(f"{width} x {height}", winner(noise(height, width)))
    if arguments.model:
        print_times(f"inference of {arguments.model.name}", inference(arguments.model))


def compare(image: Array, threads: int) -> None:
    """Print error and time of every candidate."""
    expected = numpy_gathers(image)()
    candidates: dict[str, Candidate] = {
        "this project": winner(image),
        "numpy, two passes": numpy_gathers(image),
        "numpy, two matrices": numpy_matrices(image),
        "cv2.remap, RGBA, at once": cv2_remap(image, cv2.COLOR_RGB2RGBA),
        "cv2.remap, RGB, at once": cv2_remap(image, None),
        "cv2.warpAffine, RGB": cv2_warp(image),
        "cv2.resize (not the same)": cv2_resize(image),
        "OpenVINO Interpolate": openvino_interpolate(image, threads),
        "OpenVINO Gather": openvino_gather(image, threads),
    }
    print(f"{'candidate':<28}{'min ms':>10}{'median ms':>12}{'error':>12}")
    for name, candidate in candidates.items():
        print_times(name, candidate, f"{np.abs(candidate() - expected).max():12.1e}")


def print_times(name: str, run: Callable[[], object], more: str = "") -> None:
    """Print the shortest and the middle of 50 runs."""
    times = []
    for _ in range(55):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    print(f"{name:<28}{min(times[5:]):10.3f}{statistics.median(times[5:]):12.3f}{more}")


def noise(height: int, width: int) -> Array:
    """Return an image of random pixels."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def coordinates(size: int) -> tuple[Array, Array, Array]:
    """Darknet's: the line before each output line, the line after it, and that one's weight."""
    positions = np.arange(SIDE, dtype=np.float32) * (np.float32(size - 1) / np.float32(SIDE - 1))
    first = positions.astype(np.int32)
    return first, np.minimum(first + 1, size - 1), positions - first.astype(np.float32)


def winner(image: Array) -> Candidate:
    """Return what the library does."""
    out = np.empty((SIDE, SIDE, 3), np.float32)

    def run() -> Array:
        resize_pixels_into(image, out, "stretch")
        return out

    return run


def numpy_gathers(image: Array) -> Candidate:
    """Return Darknet's loops, a line of columns or rows at a time."""
    left, right, dx = coordinates(image.shape[1])
    upper, lower, dy = coordinates(image.shape[0])
    dx, dy = dx[:, None], dy[:, None, None]

    def run() -> Array:
        source = image.astype(np.float32) / np.float32(255)
        part: Array = (1 - dx) * source[:, left] + dx * source[:, right]
        return np.asarray((1 - dy) * part[upper] + dy * part[lower]).transpose(2, 0, 1)

    return run


def numpy_matrices(image: Array) -> Candidate:
    """Return a matrix product for each direction; the matrices are nearly empty."""

    def matrix(size: int) -> Array:
        first, second, weight = coordinates(size)
        made = np.zeros((SIDE, size), np.float32)
        np.add.at(made, (np.arange(SIDE), first), 1 - weight)
        np.add.at(made, (np.arange(SIDE), second), weight)
        return made

    rows, columns = matrix(image.shape[0]), matrix(image.shape[1]).T / np.float32(255)
    return lambda: rows @ image.transpose(2, 0, 1).astype(np.float32) @ columns


def cv2_remap(image: Array, conversion: int | None) -> Candidate:
    """Return an interpolation at given coordinates of the whole image."""
    (left, _, dx), (upper, _, dy) = coordinates(image.shape[1]), coordinates(image.shape[0])
    x = np.tile((left + dx).astype(np.float32), (SIDE, 1))
    y = np.tile((upper + dy).astype(np.float32)[:, None], (1, SIDE))

    def run() -> Array:
        pixels = image if conversion is None else cv2.cvtColor(image, conversion)
        return planes(cv2.remap(pixels.astype(np.float32), x, y, cv2.INTER_LINEAR))

    return run


def planes(values: Array) -> Array:
    """Return float32[3, height, width], 0..1, of pixels 0..255."""
    return np.multiply(values[..., :3].transpose(2, 0, 1), np.float32(1 / 255))


def cv2_warp(image: Array) -> Candidate:
    """Return an affine transformation, which computes the coordinates itself."""
    scale = [(side - 1) / (SIDE - 1) for side in image.shape[1::-1]]
    matrix = np.array([[scale[0], 0, 0], [0, scale[1], 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def run() -> Array:
        return planes(cv2.warpAffine(image.astype(np.float32), matrix, (SIDE, SIDE), flags=flags))

    return run


def cv2_resize(image: Array) -> Candidate:
    """Return OpenCV's resize, which maps the middle of corner pixels elsewhere."""
    return lambda: planes(cv2.resize(image, (SIDE, SIDE)))


def openvino_interpolate(image: Array, threads: int) -> Candidate:
    """Return a graph with one Interpolate."""
    from openvino import Type, opset11

    source = opset11.parameter([1, *image.shape], Type.u8)
    resized = opset11.interpolate(
        opset11.transpose(opset11.convert(source, "f32"), np.array([0, 3, 1, 2])),
        np.array([SIDE, SIDE]),
        "linear_onnx",
        "sizes",
        coordinate_transformation_mode="align_corners",
        axes=np.array([2, 3]),
    )
    return openvino_run(source, opset11.multiply(resized, np.float32(1 / 255)), image, threads)


def openvino_gather(image: Array, threads: int) -> Candidate:
    """Return a graph that gathers lines and mixes them."""
    from openvino import Type, opset11

    def mix(values: Any, size: int, axis: int, shape: tuple[int, ...]) -> Any:
        first, second, weight = coordinates(size)
        before, after = (opset11.gather(values, at, np.int32(axis)) for at in (first, second))
        share = weight.reshape(shape)
        return opset11.add(opset11.multiply(before, 1 - share), opset11.multiply(after, share))

    source = opset11.parameter([1, *image.shape], Type.u8)
    values = opset11.multiply(opset11.convert(source, "f32"), np.float32(1 / 255))
    values = mix(values, image.shape[0], 1, (1, SIDE, 1, 1))
    values = opset11.transpose(values, np.array([0, 3, 1, 2]))
    return openvino_run(source, mix(values, image.shape[1], 3, (1, 1, 1, SIDE)), image, threads)


def openvino_run(source: Any, output: Any, image: Array, threads: int) -> Candidate:
    """Compile a graph for one size of image."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(openvino.Model([output], [source], "resize"), "CPU", settings)
    request = compiled.create_infer_request()

    def run() -> Array:
        request.infer({0: image[None]}, share_inputs=True)
        result: Array = request.get_output_tensor().data[0]
        return result

    return run


def inference(folder: Path) -> Callable[[], object]:
    """Return what computes one fp32 inference in OpenVINO, without resize and decoding."""
    cfg, weights, names = (next(folder.glob(f"*.{end}")) for end in ("cfg", "weights", "names"))
    engine: Any = load_network(cfg, weights, names, engine="openvino").engine
    engine.runner.images().fill(0.5)
    return lambda: engine.runner.infer(1)


if __name__ == "__main__":
    main()
