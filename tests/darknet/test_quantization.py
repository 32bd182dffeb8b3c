"""int8 versions: accuracy, the check that they belong to the model, and no network access."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("nncf")

from darknet import Detections, Network, QuantizationError, load_network
from darknet.engines.quantized import (
    QuantizedGraph,
    origin_of,
    quantized_path,
    read_quantized,
    write_quantized,
)
from darknet.errors import CfgError, DeviceUnavailableError, ImageError
from darknet.model import EngineName, Precision, RgbImage
from darknet.quantization import quantize
from tests.support.networks import TINY, random_weights, write_model
from tests.support.paths import ROOT

GRAPH = QuantizedGraph(b"<net/>", bytes(range(99)))
ORIGIN = bytes(32)


def noise(count: int) -> list[RgbImage]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(count)]


def files(folder: Path, name: str = "model") -> tuple[Path, Path, Path]:
    return folder / f"{name}.cfg", folder / f"{name}.weights", folder / f"{name}.names"


def load(folder: Path, engine: EngineName = "auto", cache: Path | None = None) -> Network:
    return load_network(*files(folder), engine=engine, precision="int8", cache=cache)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with an int8 version; not to be changed."""
    folder = write_model(tmp_path_factory.mktemp("quantized") / "tiny")
    quantize(*files(folder), noise(8))
    return folder


@pytest.fixture
def folder(quantized: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    for path in quantized.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_int8_version_is_smaller_and_says_what_it_is(quantized: Path) -> None:
    path = quantized_path(quantized / "model.weights")
    assert path == quantized / "model.int8"
    graph = read_quantized(path, origin_of(*files(quantized)[:2], "alexeyab"))
    assert b'type="FakeQuantize"' in graph.topology
    assert len(graph.weights) < (quantized / "model.weights").stat().st_size
    with load(quantized) as network:
        assert (network.engine_name, network.precision) == ("openvino", "int8")


def test_the_counted_cells_are_those_of_fp32(tmp_path: Path) -> None:
    for path in (ROOT / "models" / "blood-cells").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    sample = cv2.imread(str(tmp_path / "sample.jpg"), cv2.IMREAD_COLOR_RGB)
    assert sample is not None
    model = files(tmp_path, "blood-cells")
    quantize(*model, [np.asarray(sample, np.uint8), np.asarray(sample[:, ::-1], np.uint8)])

    def found(precision: Precision) -> Detections:
        with load_network(*model, precision=precision) as network:
            return network.detect([np.asarray(sample, np.uint8)], threshold=0.5)[0]

    exact, int8 = found("fp32"), found("int8")
    sure = exact.scores > 0.7
    assert sure.sum() > 15
    for label, box in zip(np.array(exact.labels)[sure], exact.boxes[sure], strict=True):
        same = np.array(int8.labels) == label
        assert np.abs(int8.boxes[same] - box).max(1).min() < 10  # pixels


def test_changed_weights_or_layers_or_dialect_make_it_stale(folder: Path) -> None:
    cfg, weights, names = files(folder)
    with pytest.raises(QuantizationError, match=r"another .*run: yolo-service quantize"):
        load_network(cfg, weights, names, precision="int8", dialect="pjreddie")
    original = weights.read_bytes()
    weights.write_bytes(original[:-1] + b"\x01")
    with pytest.raises(QuantizationError, match="another"):
        load(folder)
    weights.write_bytes(original)
    load(folder).close()
    cfg.write_text(TINY.replace("8,8, 16,24", "8,8, 16,25"), encoding="utf-8")
    with pytest.raises(QuantizationError, match="another"):
        load(folder)


def test_each_input_size_has_its_own_version(folder: Path) -> None:
    with pytest.raises(QuantizationError, match=r"model\.128x96\.int8, which is missing"):
        load_network(*files(folder), precision="int8", input_size=(128, 96))
    path = quantize(*files(folder), noise(4), input_size=(128, 96))
    assert path == folder / "model.128x96.int8"
    with load_network(*files(folder), precision="int8", input_size=(128, 96)) as network:
        assert network.input_size == (128, 96)
    load(folder).close()  # the one at the size of the .cfg is still there
    path.rename(folder / "model.32x32.int8")
    with pytest.raises(QuantizationError, match="input size than is there now"):
        load_network(*files(folder), precision="int8", input_size=(32, 32))


def test_a_missing_version_says_how_to_make_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    with pytest.raises(QuantizationError, match=r"missing; run: yolo-service quantize"):
        load(folder)


@pytest.mark.parametrize("engine", ["libdarknet", "onnxruntime"])
def test_other_engines_refuse_int8_and_name_the_one_that_has_it(
    quantized: Path, engine: EngineName
) -> None:
    with pytest.raises(DeviceUnavailableError, match="openvino"):
        load(quantized, engine)


def test_a_cached_graph_of_another_precision_is_not_taken(folder: Path, tmp_path: Path) -> None:
    cache, image = tmp_path / "cache", noise(1)
    answers = []
    for precision in ("fp32", "int8", "int8", "fp32"):
        with load_network(*files(folder), precision=precision, cache=cache) as network:
            answers.append(network.detect(image, threshold=0.01)[0])
            assert network.precision == precision
    assert len(list(cache.iterdir())) == 2
    np.testing.assert_array_equal(answers[0].scores, answers[3].scores)
    np.testing.assert_array_equal(answers[1].scores, answers[2].scores)
    assert not np.array_equal(answers[0].scores, answers[1].scores)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_quantized(tmp_path / "a.int8", GRAPH, ORIGIN)
    assert read_quantized(tmp_path / "a.int8", ORIGIN) == GRAPH
    assert [path.name for path in tmp_path.iterdir()] == ["a.int8"]


@settings(max_examples=200)
@given(st.data())
def test_a_file_that_is_cut_or_changed_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.int8"
    write_quantized(path, GRAPH, ORIGIN)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(QuantizationError, match=r"damaged .*yolo-service quantize"):
        read_quantized(path, ORIGIN)


def test_a_folder_instead_of_a_file_is_a_designed_error(tmp_path: Path) -> None:
    (tmp_path / "a.int8").mkdir()
    with pytest.raises(QuantizationError, match="cannot be read"):
        read_quantized(tmp_path / "a.int8", ORIGIN)
    with pytest.raises(QuantizationError, match="cannot be written"):
        write_quantized(tmp_path / "a.int8", GRAPH, ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["a.int8"]


def test_no_images_wrong_images_and_wrong_files_have_their_own_errors(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    with pytest.raises(QuantizationError, match="images"):
        quantize(*files(folder), [])
    with pytest.raises(ImageError):
        quantize(*files(folder), [np.zeros((4, 4), np.uint8)])
    with pytest.raises(CfgError):
        quantize(folder / "model.names", *files(folder)[1:], noise(1))
    assert not quantized_path(folder / "model.weights").exists()


def test_quantising_posts_nothing_and_leaves_no_client_id(tmp_path: Path) -> None:
    """An audit hook ends the process at its first connection, or at another process it starts."""
    folder = write_model(tmp_path / "model")
    code = (
        "import os, sys\n"
        "def hook(event, args):\n"
        "    if event in ('os.fork', 'os.posix_spawn', 'subprocess.Popen', 'socket.connect',\n"
        "                 'socket.getaddrinfo'):\n"
        "        sys.stderr.write(f'{event} {args}')\n"
        "        sys.stderr.flush()\n"
        "        os._exit(3)\n"
        "import numpy\n"
        "from darknet.quantization import quantize\n"
        "sys.addaudithook(hook)\n"
        "quantize(*sys.argv[1:4], [numpy.zeros((48, 64, 3), numpy.uint8)])\n"
        "assert 'nncf' in sys.modules\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "CI"}  # there NNCF posts nothing
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files(folder))],
        env=environment | {"HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not any(path.is_file() for path in home.rglob("*"))


def test_weights_that_no_graph_can_hold_are_refused_as_everywhere(tmp_path: Path) -> None:
    from darknet.cfg import parse_cfg
    from darknet.errors import WeightsError
    from darknet.weights import write_weights

    folder = write_model(tmp_path)
    cfg = parse_cfg(TINY)
    weights = random_weights(cfg)
    weights.layers[0]["rolling_variance"][:] = -1
    write_weights(folder / "model.weights", cfg, weights)
    with pytest.raises(WeightsError):
        quantize(*files(folder), noise(1))
