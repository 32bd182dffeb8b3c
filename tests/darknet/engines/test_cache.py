"""Compiled graphs are kept whole or not at all, and change no answer."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from darknet import Network, load_network
from darknet.detections import FloatArray
from darknet.engines.cache import GraphCache, cache_key
from tests.support.networks import write_model

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def load(folder: Path, cache: Path, *, streams: int | None = None) -> Network:
    files = (folder / f"model.{kind}" for kind in ("cfg", "weights", "names"))
    return load_network(*files, engine="openvino", cache=cache, streams=streams)


def boxes(network: Network) -> FloatArray:
    return network.detect([IMAGE], threshold=0.01)[0].boxes


def test_what_was_written_is_read(tmp_path: Path) -> None:
    cache = GraphCache(tmp_path / "new" / "folder")
    assert cache.read("key") is None
    cache.write("key", b"graph")
    assert cache.read("key") == b"graph"
    assert cache.read("other") is None


@pytest.mark.parametrize("damage", [b"", b"short", bytes(32) + b"graph"])
def test_a_damaged_file_counts_as_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    cache = GraphCache(tmp_path)
    cache.write("key", b"graph")
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert cache.read("key") is None
    assert "damaged" in caplog.text
    cache.write("key", b"graph")
    assert cache.read("key") == b"graph"


def test_a_folder_that_cannot_be_written_keeps_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = GraphCache(tmp_path / "file" / "folder")
    cache.write("key", b"graph")
    assert cache.read("key") is None
    assert "nothing is kept for the next start" in caplog.text


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    graphs = [bytes([number]) * 1_000_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda graph: GraphCache(tmp_path).write("key", graph), graphs))
    assert GraphCache(tmp_path).read("key") in graphs
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_depends_on_all_that_is_given() -> None:
    keys = [cache_key(b"a"), cache_key(b"b"), cache_key(b"a", "CPU"), cache_key(b"a", "CPU", {})]
    assert len(set(keys)) == len(keys)


def test_a_network_from_the_cache_gives_the_same_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder = write_model(tmp_path / "model")
    with load(folder, tmp_path / "cache") as network:
        expected = boxes(network)
    kept = list((tmp_path / "cache").iterdir())
    with load(folder, tmp_path / "cache") as network:
        assert network.precision == "fp32"
        np.testing.assert_array_equal(boxes(network), expected)
    assert list((tmp_path / "cache").iterdir()) == kept
    assert len(expected)
    assert not caplog.text


def test_other_weights_and_other_settings_are_compiled_anew(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load(write_model(tmp_path / "a"), cache).close()
    load(write_model(tmp_path / "a"), cache, streams=2).close()
    weights = tmp_path / "a" / "model.weights"
    content = bytearray(weights.read_bytes())
    content[-4:] = np.float32(0.5).tobytes()
    weights.write_bytes(content)
    load(tmp_path / "a", cache).close()
    assert len(list(cache.iterdir())) == 3


def test_a_graph_that_openvino_refuses_is_compiled_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, cache = write_model(tmp_path / "model"), tmp_path / "cache"
    with load(folder, cache) as network:
        expected = boxes(network)
    (file,) = cache.iterdir()
    GraphCache(cache).write(file.stem, b"no compiled graph")
    with load(folder, cache) as network:
        np.testing.assert_array_equal(boxes(network), expected)
    assert "cannot load" in caplog.text
