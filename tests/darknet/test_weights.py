"""Reading and writing .weights files, and refusing files of the wrong length."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darknet.cfg import parse_cfg, read_cfg
from darknet.errors import UnsupportedError, WeightsError
from darknet.weights import Header, Weights, expected_bytes, read_weights, write_weights
from tests.support.networks import TINY, random_weights

CFG = parse_cfg(TINY, source="tiny.cfg")
ALL_KINDS = parse_cfg(
    """
    [net]
    width=6
    height=4
    channels=2
    [convolutional]
    batch_normalize=1
    filters=4
    groups=2
    size=3
    pad=1
    [connected]
    output=5
    batch_normalize=1
    [connected]
    output=3
    """
)


def values(path: Path, header: bytes, count: int) -> Path:
    path.write_bytes(header + np.arange(1, count + 1, dtype="<f4").tobytes())
    return path


@pytest.mark.parametrize("model", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_a_published_file_is_written_back_byte_for_byte(
    shared: Path, tmp_path: Path, model: str
) -> None:
    folder = shared / "models" / model
    cfg = read_cfg(folder / f"{model}.cfg")
    write_weights(tmp_path / "copy", cfg, read_weights(folder / f"{model}.weights", cfg))
    assert (tmp_path / "copy").read_bytes() == (folder / f"{model}.weights").read_bytes()


@pytest.mark.parametrize(
    ("version", "length"),
    [((0, 1, 0), 16), ((0, 2, 5), 20), ((0, 3, 0), 20), ((1, 0, 0), 20)],
)
def test_the_width_of_seen_follows_the_version(
    tmp_path: Path, version: tuple[int, int, int], length: int
) -> None:
    header = Header(*version, seen=77)
    assert len(header.pack()) == length
    write_weights(tmp_path / "w", CFG, Weights(header, random_weights(CFG).layers))
    assert (tmp_path / "w").stat().st_size == expected_bytes(CFG, header)
    assert read_weights(tmp_path / "w", CFG).header == header


def test_values_stand_in_darknets_order(tmp_path: Path) -> None:
    path = values(
        tmp_path / "w", struct.pack("<3iq", 0, 2, 0, 1), (expected_bytes(ALL_KINDS) - 20) // 4
    )
    conv, first, second = read_weights(path, ALL_KINDS).layers
    assert list(conv) == ["biases", "scales", "rolling_mean", "rolling_variance", "weights"]
    assert conv["biases"].tolist() == [1, 2, 3, 4]
    assert conv["weights"].shape == (4, 1, 3, 3)
    assert conv["weights"].flat[0] == 17
    assert list(first) == ["biases", "weights", "scales", "rolling_mean", "rolling_variance"]
    assert first["weights"].shape == (5, 96)
    assert list(second) == ["biases", "weights"]
    assert second["weights"].shape == (3, 5)


@given(st.integers(0, 9), st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 1))
def test_any_header_and_values_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, minor: int, seen: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("round")
    weights = Weights(Header(0, minor, 0, seen), random_weights(ALL_KINDS, seed).layers)
    write_weights(folder / "a", ALL_KINDS, weights)
    again = read_weights(folder / "a", ALL_KINDS)
    write_weights(folder / "b", ALL_KINDS, again)
    assert again.header == weights.header
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def written(tmp_path: Path) -> Path:
    write_weights(tmp_path / "tiny.weights", CFG, random_weights(CFG))
    return tmp_path / "tiny.weights"


def test_a_short_file_says_the_bytes_and_the_layer_it_ends_in(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-8])
    message = f"needs {whole} bytes, found {whole - 8}: the file ends in layer 2 (convolutional"
    with pytest.raises(WeightsError, match=re.escape(message)):
        read_weights(path, CFG)


def test_a_long_file_says_how_many_bytes_are_too_many(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0\0\0\0")
    with pytest.raises(WeightsError, match="4 too many; these weights belong to another"):
        read_weights(path, CFG)


@pytest.mark.parametrize("content", [b"", b"\0" * 11, b"\0" * 14, struct.pack("<3i", 0, 2, 0)])
def test_a_file_that_ends_in_its_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(WeightsError, match="header"):
        read_weights(tmp_path / "w", CFG)


@pytest.mark.parametrize("content", [b"PK\3\4" * 9, b"\xff" * 64, b"<!DOCTYPE html><html></html>"])
def test_another_kind_of_file_is_recognised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(WeightsError, match="is this another kind of file"):
        read_weights(tmp_path / "w", CFG)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_with_their_layer(tmp_path: Path, bad: float) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, 20 + 4 * 8, bad)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"layer 0 \(convolutional, line \d+ .* has scales"):
        read_weights(path, CFG)


def test_missing_and_unwritable_files_are_errors_with_their_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="gone: cannot be read"):
        read_weights(tmp_path / "gone", CFG)
    with pytest.raises(WeightsError, match="cannot be written"):
        write_weights(tmp_path / "no" / "folder", CFG, random_weights(CFG))


def test_arrays_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    layers = list(random_weights(CFG).layers)
    layers[0] = {**layers[0], "biases": np.zeros(3, np.float32)}
    with pytest.raises(WeightsError, match=r"layer 0 .* biases needs 8 values, found 3"):
        write_weights(tmp_path / "w", CFG, Weights(Header(), tuple(layers)))
    layers[0] = {"biases": np.zeros(8, np.float32)}
    with pytest.raises(WeightsError, match=r"layer 0 .* needs"):
        write_weights(tmp_path / "w", CFG, Weights(Header(), tuple(layers)))


def test_layers_of_unknown_layout_are_refused_by_name(tmp_path: Path) -> None:
    cfg = parse_cfg("[net]\ninputs=8\n[gru]\noutput=4")
    path = values(tmp_path / "w", Header().pack(), 9)
    with pytest.raises(UnsupportedError, match=r"layer 0 \[recurrent\] \(line 3"):
        read_weights(path, cfg)
