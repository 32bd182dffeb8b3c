"""The C library: finding it, telling its forks apart, loading models, its output and answers."""

from __future__ import annotations

import _ctypes
import ctypes
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet import load_network
from darknet.cfg import parse_cfg, read_cfg
from darknet.decode import MAX_CANDIDATES
from darknet.detections import FloatArray
from darknet.engines.libdarknet import load
from darknet.engines.libdarknet_abi import open_library
from darknet.engines.libdarknet_files import write_files
from darknet.engines.libdarknet_output import c_output_to_log
from darknet.engines.libdarknet_probe import probe
from darknet.errors import (
    DeviceUnavailableError,
    EngineUnavailableError,
    InferenceError,
)
from darknet.model import BATCH_NORM_EPSILON, Dialect, Model, Resize, Thresholds
from darknet.weights import Header, Weights, read_weights
from tests.support.libdarknet_models import an_image, engine_of, model_from, model_of
from tests.support.networks import TINY, write_model

EVERYTHING = Thresholds(threshold=0.0, nms=0.0)


# Finding and knowing the library


def test_a_missing_library_is_reported_in_the_loaders_words_with_what_to_do(tmp_path: Path) -> None:
    missing = tmp_path / "libdarknet.so"
    with pytest.raises(EngineUnavailableError, match=r"No such file.*apt-get install darknet"):
        engine_of(model_of(TINY), missing)


def test_a_file_that_is_no_library_is_reported(tmp_path: Path) -> None:
    text = tmp_path / "libdarknet.so"
    text.write_text("not a library")
    with pytest.raises(EngineUnavailableError, match="cannot be loaded"):
        engine_of(model_of(TINY), text)


def test_a_library_of_another_kind_is_refused_by_its_functions() -> None:
    other = Path(_ctypes.__file__)
    with pytest.raises(EngineUnavailableError, match=r"does not export .*get_network_boxes"):
        engine_of(model_of(TINY), other)


def test_debians_library_is_known_as_pjreddies_for_the_cpu(libdarknet: Path) -> None:
    library = open_library(libdarknet)
    assert (library.family, library.dialect, library.on_gpu) == ("pjreddie", "pjreddie", False)


def test_the_library_is_found_without_a_path_where_debian_puts_it(libdarknet: Path) -> None:
    assert open_library(None).path == str(libdarknet)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "gpu", "cpu:1", "cuda:x"])
def test_a_device_the_library_was_not_built_for_is_an_error(libdarknet: Path, device: str) -> None:
    with pytest.raises(DeviceUnavailableError, match="built for cpu only"):
        load(model_of(TINY), library=libdarknet, device=device)


def test_fast_stays_fp32_and_says_so(libdarknet: Path, tmp_path: Path) -> None:
    files = [write_model(tmp_path) / f"model.{kind}" for kind in ("cfg", "weights", "names")]
    with load_network(
        *files, engine="libdarknet", library=libdarknet, device="cpu", precision="fast"
    ) as network:
        assert (network.device, network.precision) == ("CPU", "fp32")


def test_loading_leaves_the_processs_smallest_numbers_alone(libdarknet: Path) -> None:
    code = "import sys, pathlib, numpy; from darknet.engines.libdarknet_abi import open_library; "
    code += "open_library(pathlib.Path(sys.argv[1])); assert numpy.float64(5e-324) * 1 > 0"
    subprocess.run([sys.executable, "-W", "error", "-c", code, libdarknet], check=True)


# An unknown build: AlexeyAB's functions around a struct of our own

STUB = r"""
#include <stdlib.h>
#include <string.h>
typedef struct { float x, y, w, h; } box;
typedef struct { box bbox; BEFORE float *prob; AFTER float objectness; } detection;
typedef struct { int w, h, c; float *data; } image;
static float scores[7] = SCORES;
static int letterboxed;
void fuse_conv_batchnorm(void) {}
void *load_network_custom(char *cfg, char *weights, int clear, int batch) { return malloc(1); }
void free_network_ptr(void *net) { free(net); }
float *network_predict_ptr(void *net, float *input) { return scores; }
float *network_predict_image(void *net, image im) { letterboxed = 0; return scores; }
float *network_predict_image_letterbox(void *net, image im) { letterboxed = 1; return scores; }
detection *get_network_boxes(void *net, int w, int h, float thresh, float hier, int *map,
                             int relative, int *num, int letter) {
    detection *dets = calloc(6, sizeof(detection));
    for (int i = 0; i < 6; ++i) {
        float sx = relative ? w : 1, sy = relative ? h : 1;
        dets[i].bbox = (box){(32 * (i % 3) + 16) / sx, (32 * (i / 3) + 16) / sy, 24 / sx,
                             (letter ? 64 : 32) / sy};
        dets[i].objectness = 0.5;
        dets[i].prob = memcpy(malloc(sizeof scores), scores, sizeof scores);
    }
    *num = letter == letterboxed ? 6 : 0;
    return dets;
}
void do_nms_sort(detection *dets, int total, int classes, float thresh) {
    for (int i = 0; i < total / 2; ++i) {
        detection swap = dets[i];
        dets[i] = dets[total - 1 - i];
        dets[total - 1 - i] = swap;
    }
    memset(dets[0].prob, 0, sizeof scores);
}
void diounms_sort(detection *dets, int total, int classes, float thresh, int kind, float beta) {}
void free_detections(detection *dets, int n) {
    for (int i = 0; i < n; ++i) free(dets[i].prob);
    free(dets);
}
"""
LAYOUTS = [
    ("int classes;", "float *mask;"),
    ("int classes, best_class_idx;", "float *mask; int sort_class; float sort_score;"),
    ("int classes; float *uc; double spare[9];", "char more[40];"),
]


def scores_of_probe(dialect: Dialect) -> FloatArray:
    """What a library of a dialect answers to the probe, from the formulas."""
    a, b = BATCH_NORM_EPSILON[dialect]
    weights = probe().weights.layers[0]
    mean, variance = (float(weights[f"rolling_{name}"][4]) for name in ("mean", "variance"))
    logits = np.append((0 - mean) / (np.sqrt(variance + a) + b), weights["biases"][5:])
    active = 1 / (1 + np.exp(-logits))
    return np.array(active[0] * active[1:], np.float32)


def stub(folder: Path, layout: tuple[str, str], dialect: Dialect, scale: float = 1) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is missing")
    source, library = folder / "stub.c", folder / "libdarknet.so"
    values = ",".join(map(str, scale * scores_of_probe(dialect)))
    text = STUB.replace("BEFORE", layout[0]).replace("AFTER", layout[1])
    source.write_text(text.replace("SCORES", f"{{{values}}}"))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@pytest.mark.parametrize("dialect", ["alexeyab", "pjreddie"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unseen_struct_is_measured_and_so_is_the_formula_of_the_batch_normalisation(
    tmp_path: Path, layout: tuple[str, str], dialect: Dialect
) -> None:
    library = open_library(stub(tmp_path, layout, dialect))
    assert (library.family, library.dialect) == ("alexeyab", dialect)


def test_an_alexeyab_library_resizes_by_itself_and_keeps_the_order_through_its_sort(
    tmp_path: Path,
) -> None:
    library = stub(tmp_path, LAYOUTS[1], "alexeyab")
    for resize, height in (("letterbox", 64), ("stretch", 32)):
        model = Model(probe().cfg, probe().weights, tuple("abcdefg"), "alexeyab", resize)  # type: ignore[arg-type]
        engine = engine_of(model, library)
        (found,) = engine.detect([an_image()], Thresholds(threshold=0.1, nms=0.4))
        engine.close()
        # The stub's suppression turns the array round and drops the box that was last.
        expected = [[32 * (i % 3) + 16, 32 * (i // 3) + 16, 24, height] for i in range(5)]
        np.testing.assert_allclose(found.boxes[::7], expected, rtol=1e-6)
        assert found.class_ids.tolist() == [*range(7)] * 5
        assert np.array_equal(found.scores, np.tile(scores_of_probe("alexeyab"), 5))


@pytest.mark.parametrize("layout", [("char before[300];", ""), ("char crooked[3];", "")])
def test_an_answer_in_no_known_form_is_refused(tmp_path: Path, layout: tuple[str, str]) -> None:
    before, after = layout
    hidden = f"{before} }} detection_; typedef struct {{ char c; box bbox;"
    with pytest.raises(EngineUnavailableError, match="answers a test network in a form"):
        open_library(stub(tmp_path, (hidden, after), "alexeyab"))


def test_a_formula_that_neither_dialect_has_is_refused(tmp_path: Path) -> None:
    library = stub(tmp_path, LAYOUTS[0], "alexeyab", scale=0.99)
    with pytest.raises(EngineUnavailableError, match="answers a test network in a form"):
        open_library(library)


# What the library is given


def test_options_given_as_people_write_them_reach_the_c_code_as_we_read_them(
    libdarknet: Path,
) -> None:
    messy = TINY.replace("size=3", "# size=9\r\n size = 3 # three\r\nsize=7")
    messy = messy.replace("[yolo]", " [YOLO] ").replace("activation=leaky", "activation = Leaky")
    plain, same = (
        engine_of(model_of(text), libdarknet).detect([an_image()], EVERYTHING)[0]
        for text in (TINY, messy)
    )
    assert len(plain) == 16 * 12 * 2 * 2
    assert np.array_equal(plain.boxes, same.boxes)
    assert np.array_equal(plain.scores, same.scores)


def test_class_trees_are_written_without_their_names_and_not_into_a_folder_with_spaces(
    darknet_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(darknet_data)
    text = TINY.split("[yolo]")[0].replace("filters=14", "filters=37")
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "some.tree").write_text("animal -1\nplant -1\ncat 0\ndog 0\n" + "x 1\n" * 4 * 7)
    cfg = parse_cfg(f"{text}[region]\nclasses=32\nnum=1\nsoftmax=1\ntree=some.tree", folder=folder)
    model = model_from(cfg, "alexeyab", "stretch")
    with pytest.raises(EngineUnavailableError, match="set TMPDIR"):
        write_files(model, folder, "alexeyab")
    written, _ = write_files(model, tmp_path, "alexeyab")
    again = read_cfg(written).heads[0]
    assert again.tree.parent.tolist() == cfg.heads[0].tree.parent.tolist()  # type: ignore[union-attr]
    assert "animal" not in "".join(path.read_text() for path in tmp_path.glob("*.tree"))


@settings(deadline=None)  # files are written
@given(
    variances=st.lists(st.floats(0, 1e4, width=32), min_size=12, max_size=12),
    own=st.sampled_from(["alexeyab", "pjreddie"]),
    library=st.sampled_from(["alexeyab", "pjreddie"]),
)
def test_either_formula_of_the_batch_normalisation_gives_the_models_own_value(
    variances: list[float], own: Dialect, library: Dialect
) -> None:
    cfg, arrays = probe().cfg, dict(probe().weights.layers[0])
    arrays["rolling_variance"] = np.array(variances, np.float32)
    model = Model(cfg, Weights(Header(), (arrays, {})), tuple("abcdefg"), own, "stretch")
    with tempfile.TemporaryDirectory() as folder:
        _, path = write_files(model, Path(folder), library)
        written = read_weights(path, cfg).layers[0]
    (a, b), (library_a, library_b) = BATCH_NORM_EPSILON[own], BATCH_NORM_EPSILON[library]
    expected = arrays["scales"] / (np.sqrt(np.float64(arrays["rolling_variance"]) + a) + b)
    variance = np.float64(written["rolling_variance"])
    computed = written["scales"] / (np.sqrt(variance + library_a) + library_b)
    assert np.allclose(computed, expected, rtol=1e-6)


def test_the_files_written_for_the_c_code_are_gone_after_loading(
    libdarknet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine_of(model_of(TINY), libdarknet).close()
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_that_cannot_be_written_to_is_reported(
    libdarknet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(EngineUnavailableError, match="temporary folder"):
        engine_of(model_of(TINY), libdarknet)


# What it answers


def test_what_the_c_code_prints_goes_to_the_log(
    libdarknet: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="darknet"):
        engine_of(model_of(TINY), libdarknet).close()
    assert capfd.readouterr() == ("", "")
    assert "libdarknet:     0 conv      8  3 x 3 / 2" in caplog.text


def test_only_c_code_is_redirected_while_a_model_is_loaded(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    libc = ctypes.CDLL(None)
    with caplog.at_level(logging.DEBUG, logger="darknet"):
        with c_output_to_log():
            libc.puts(b"printed by C")
            libc.perror(b"failed in C")
            for number in (1, 2):
                thread = Thread(target=os.write, args=(number, b"written by another thread"))
                thread.start()
                thread.join()
        libc.puts(b"printed later")
        libc.fflush(None)
    other = "written by another thread"
    assert capfd.readouterr() == (f"{other}printed later\n", other)
    assert "libdarknet: printed by C" in caplog.text
    assert "libdarknet: failed in C" in caplog.text


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 500), (48, 64), (500, 3)])
def test_images_of_any_shape_give_finite_boxes_around_the_image(
    libdarknet: Path, size: tuple[int, int], resize: Resize
) -> None:
    engine = engine_of(model_of(TINY, resize=resize), libdarknet)
    (found,) = engine.detect([an_image(*size)], EVERYTHING)
    engine.close()
    assert len(found)
    assert np.isfinite(found.boxes).all()


def test_a_threshold_of_zero_gives_the_best_rows_in_bounded_time(libdarknet: Path) -> None:
    classes = 300
    text = TINY.replace("classes=2", f"classes={classes}").replace("14", f"{2 * (classes + 5)}")
    engine = engine_of(model_of(text), libdarknet)
    (some,) = engine.detect([an_image()], Thresholds(0.0, 0.0))
    (few,) = engine.detect([an_image()], Thresholds(0.04, 0.0))
    engine.close()
    assert len(few) < len(some) == MAX_CANDIDATES < 16 * 12 * 2 * classes
    assert few.scores.min() >= some.scores.min()


def test_a_closed_network_says_so(libdarknet: Path) -> None:
    engine = engine_of(model_of(TINY), libdarknet)
    engine.close()
    engine.close()
    with pytest.raises(InferenceError, match="closed"):
        engine.detect([an_image()], EVERYTHING)
