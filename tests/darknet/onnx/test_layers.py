"""Every layer's operators compute what Darknet's layer computes: against NumPy."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet.cfg import parse_cfg
from darknet.cfg.builders import ACTIVATIONS
from darknet.cfg.layers import Convolutional
from darknet.model import BATCH_NORM_EPSILON, Dialect
from darknet.weights import Weights
from tests.support.networks import random_weights
from tests.support.onnx_graphs import Array, model, net, output, random_input, run


def reference_conv(x: Array, weights: Array, layer: Convolutional) -> Array:
    """Convolution as its definition says, in float64; x is [channels, height, width]."""
    pad, dilation = layer.padding * layer.dilation, layer.dilation
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad)))
    reach = dilation * (layer.size - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (reach, reach), axis=(1, 2))
    windows = windows[:, :: layer.stride_y, :: layer.stride_x, ::dilation, ::dilation]
    groups = zip(np.split(windows, layer.groups), np.split(weights, layer.groups), strict=True)
    return np.concatenate([np.einsum("chwij,ncij->nhw", *group) for group in groups])


def reference_maxpool(x: Array, size: int, strides: tuple[int, int], padding: int) -> Array:
    before = padding // 2
    sides = ((0, 0), *((before, padding - before),) * 2)
    x = np.pad(x, sides, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    result: Array = windows[:, :: strides[0], :: strides[1]].max(axis=(3, 4))
    return result


def reference_reorg(x: Array, stride: int, *, forward: bool) -> Array:
    """reorg_cpu of both forks, loop by loop, with x's own channels, height and width."""
    channels, height, width = x.shape
    few = channels // stride**2
    wide = (few, height * stride, width * stride)
    source, result = x.ravel(), np.empty(x.size, np.float32)
    for k, j, i in product(range(channels), range(height), range(width)):
        low = np.ravel_multi_index((k, j, i), x.shape)
        row, column = j * stride + k // few // stride, i * stride + k // few % stride
        high = np.ravel_multi_index((k % few, row, column), wide)
        result[high if forward else low] = source[low if forward else high]
    return result


def logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def stair(x: Array) -> Array:
    whole = np.floor(x)
    return np.where(whole % 2 == 0, np.floor(x / 2), x - whole + np.floor(x / 2))


FORMULAS: dict[str, Callable[[Array], Array]] = {
    "elu": lambda x: np.where(x >= 0, x, np.exp(x) - 1),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3)),
    "hard_mish": lambda x: np.where(x > 0, x, np.where(x > -2, x * x / 2 + x, 0)),
    "hardtan": lambda x: np.where(x < -1, -1, np.where(x > 1, 1, x)),
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "lhtan": lambda x: np.where(x < 0, 0.001 * x, np.where(x > 1, 0.001 * (x - 1) + 1, x)),
    "linear": lambda x: x,
    "loggy": lambda x: 2 * logistic(x) - 1,
    "logistic": logistic,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "plse": lambda x: np.where(
        x < -4, 0.01 * (x + 4), np.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)
    ),
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "relie": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu": lambda x: x * (x > 0),
    "relu6": lambda x: np.where(x < 0, 0, np.where(x > 6, 6, x)),
    "revleaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "selu": lambda x: 1.0507 * np.where(x >= 0, x, 1.6732 * (np.exp(x) - 1)),
    "stair": stair,
    "swish": lambda x: x * logistic(x),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activation_is_darknets_formula(activation: str) -> None:
    cfg = net(41, 3, 1, "dropout", f"shortcut from=0 activation={activation}")
    x = np.linspace(-9.3, 9.4, 123, dtype=np.float32).reshape(1, 1, 3, 41)
    np.testing.assert_allclose(output(cfg, x / 2), FORMULAS[activation](x), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "activation", sorted(ACTIVATIONS - set("gelu hard_mish mish relu6 revleaky swish".split()))
)
def test_formulas_of_these_tests_are_the_c_librarys(libdarknet: Path, activation: str) -> None:
    c = ctypes.CDLL(str(libdarknet))
    x = np.linspace(-9.3, 9.4, 123, dtype=np.float32)
    expected = x.copy()
    number = c.get_activation(activation.encode())
    c.activate_array(expected.ctypes.data_as(ctypes.c_void_p), x.size, number)
    np.testing.assert_allclose(FORMULAS[activation](x), expected, rtol=1e-5, atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_convolution_of_any_setting(data: st.DataObject) -> None:
    # Size 3 with padding 1 is the only kind of dilation that Darknet computes right.
    size, padding, dilation = data.draw(
        st.tuples(st.integers(1, 5), st.integers(0, 3), st.just(1)) | st.just((3, 1, 2)), "kernel"
    )
    strides = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), "strides")
    groups = data.draw(st.sampled_from((1, 2, 4)), "groups")
    height, width = data.draw(st.tuples(st.integers(9, 14), st.integers(9, 14)), "shape")
    options = f"size={size} padding={padding} dilation={dilation} groups={groups} filters=8"
    options += f" stride_y={strides[0]} stride_x={strides[1]} activation=linear"
    cfg = net(width, height, 4, f"convolutional {options}")
    (layer,), arrays = cfg.layers, random_weights(cfg).layers[0]
    assert isinstance(layer, Convolutional)
    images = random_input(cfg)
    expected = reference_conv(images[0], arrays["weights"], layer)
    expected += arrays["biases"][:, None, None]
    np.testing.assert_allclose(output(cfg, images)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dialect", ["alexeyab", "pjreddie"])
@pytest.mark.parametrize("section", ["convolutional filters=6 size=3 pad=1", "connected output=6"])
def test_batch_normalisation_divides_as_the_dialect_does(section: str, dialect: Dialect) -> None:
    cfg = net(5, 4, 3, f"{section} batch_normalize=1 activation=linear")
    plain = net(5, 4, 3, f"{section} activation=linear")
    weights = random_weights(cfg)
    arrays = weights.layers[0]
    arrays["rolling_variance"][:3] = (0, 1e-7, 1e-4)  # where the dialects differ most
    images = random_input(cfg)
    bare = Weights(
        weights.header, ({"weights": arrays["weights"], "biases": 0 * arrays["biases"]},)
    )
    (x,) = run(model(plain, weights=bare), images)
    a, b = BATCH_NORM_EPSILON[dialect]
    per_filter = {key: value.astype(np.float64)[:, None, None] for key, value in arrays.items()}
    divisor = np.sqrt(per_filter["rolling_variance"] + a) + b
    expected = per_filter["scales"] * (x - per_filter["rolling_mean"]) / divisor
    expected += per_filter["biases"]
    (result,) = run(model(cfg, dialect, weights), images)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_connected_layer_reads_its_input_channel_by_channel() -> None:
    cfg = net(4, 3, 2, "connected output=5 activation=linear")
    images = random_input(cfg, 2)
    arrays = random_weights(cfg).layers[0]
    expected = images.reshape(2, -1) @ arrays["weights"].T + arrays["biases"]
    np.testing.assert_allclose(output(cfg, images)[..., 0, 0], expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_maxpool_of_any_setting_ignores_its_padding(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6), "size")
    padding = data.draw(st.integers(0, 2 * (size - 1)), "padding")
    strides = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)), "strides")
    height, width = data.draw(st.tuples(st.integers(6, 11), st.integers(6, 11)), "shape")
    options = f"size={size} stride_y={strides[0]} stride_x={strides[1]} padding={padding}"
    cfg = net(width, height, 2, f"maxpool {options}")
    images = random_input(cfg) - 10  # a padding of zeros would win
    expected = reference_maxpool(images[0], size, strides, padding)
    np.testing.assert_array_equal(output(cfg, images)[0], expected)


def test_avgpool_is_the_mean_of_each_channel() -> None:
    cfg = net(5, 4, 3, "avgpool")
    images = random_input(cfg)
    expected = images.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(output(cfg, images), expected, rtol=1e-5, atol=1e-6)


def test_upsample_repeats_and_scales() -> None:
    cfg = net(4, 3, 2, "upsample stride=3 scale=0.5")
    images = random_input(cfg)
    expected = images.repeat(3, axis=2).repeat(3, axis=3) * 0.5
    np.testing.assert_array_equal(output(cfg, images), expected)


def test_route_takes_a_group_of_each_source() -> None:
    cfg = net(4, 3, 4, "dropout", "maxpool size=1", "route layers=-1,0 groups=2 group_id=1")
    images = random_input(cfg)
    expected = np.concatenate((images[:, 2:], images[:, 2:]), axis=1)
    np.testing.assert_array_equal(output(cfg, images), expected)


def test_route_to_one_layer_is_that_layer() -> None:
    cfg = net(4, 3, 4, "dropout", "avgpool", "route layers=0")
    images = random_input(cfg)
    np.testing.assert_array_equal(output(cfg, images), images)


def test_shortcut_adds_every_source_before_it_activates() -> None:
    cfg = net(4, 3, 2, "dropout", "maxpool size=2 stride=1", "shortcut from=0,-1 activation=relu")
    images = random_input(cfg)
    pooled = reference_maxpool(images[0], 2, (1, 1), 1)
    expected = np.maximum(images[0] + 2 * pooled, 0)
    np.testing.assert_allclose(output(cfg, images)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["per_feature", "per_channel"])
@pytest.mark.parametrize("normalization", ["relu", "avg_relu", "softmax"])
def test_shortcut_weighs_its_inputs_as_the_c_loop_does(kind: str, normalization: str) -> None:
    options = f"weights_type={kind} weights_normalization={normalization} activation=leaky"
    cfg = net(4, 3, 2, "dropout", "maxpool size=2 stride=1", f"shortcut from=0,-1 {options}")
    assert [layer.parameters for layer in cfg.layers] == [0, 0, 6 if kind == "per_channel" else 3]
    images, weights = random_input(cfg), random_weights(cfg)
    inputs = [reference_maxpool(images[0], 2, (1, 1), 1)]
    inputs = [inputs[0], images[0], inputs[0]]
    expected = np.zeros_like(images[0])
    for channel in range(2):
        own = [float(row[channel % len(row)]) for row in weights.layers[2]["weights"]]
        raised = [math.exp(w - max(own)) for w in own]
        positive = raised if normalization == "softmax" else [max(w, 0) for w in own]
        for source, factor in zip(inputs, positive, strict=True):
            expected[channel] += source[channel] * (factor / (sum(positive) + 1e-4))
    expected = np.where(expected > 0, expected, 0.1 * expected)
    (result,) = run(model(cfg, weights=weights), images)
    np.testing.assert_allclose(result[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 6])
def test_shortcut_takes_every_second_pixel_and_the_first_channels(channels: int) -> None:
    conv = f"convolutional filters={channels} size=1 stride=2 activation=linear"
    cfg = net(8, 6, 4, "dropout", conv, "shortcut from=0 activation=linear")
    images = random_input(cfg)
    weights = random_weights(cfg)
    (before,) = run(model(net(8, 6, 4, "dropout", conv), weights=weights), images)
    shared = min(channels, 4)
    before[:, :shared] += images[:, :shared, ::2, ::2]
    (result,) = run(model(cfg, weights=weights), images)
    np.testing.assert_allclose(result, before, rtol=1e-4, atol=1e-5)


def test_reorg_reads_its_input_in_the_first_releases_order() -> None:
    cfg = net(6, 4, 8, "reorg stride=2")
    images = random_input(cfg)
    expected = reference_reorg(images[0], 2, forward=False).reshape(cfg.layers[0].output)
    np.testing.assert_array_equal(output(cfg, images)[0], expected)


def test_reversed_reorg_is_depth_to_space() -> None:
    cfg = net(3, 2, 8, "reorg stride=2 reverse=1")
    images = random_input(cfg)
    expected = reference_reorg(images[0], 2, forward=True).reshape(cfg.layers[0].output)
    np.testing.assert_array_equal(output(cfg, images)[0], expected)


def test_reorg3d_is_space_to_depth() -> None:
    cfg = net(6, 4, 8, "reorg3d stride=2")
    images = random_input(cfg)
    corners = [images[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)]
    np.testing.assert_array_equal(output(cfg, images), np.concatenate(corners, axis=1))


def test_reversed_reorg3d_writes_in_the_order_of_its_output() -> None:
    cfg = net(3, 2, 16, "reorg3d stride=2 reverse=1")
    images = random_input(cfg)
    seen_as = images[0].reshape(cfg.layers[0].output)
    expected = reference_reorg(seen_as, 2, forward=True).reshape(cfg.layers[0].output)
    np.testing.assert_array_equal(output(cfg, images)[0], expected)


def test_scale_channels_and_sam_multiply() -> None:
    scaled = net(4, 3, 2, "dropout", "avgpool", "scale_channels from=0 activation=relu")
    images = random_input(scaled)
    means = images.mean(axis=(2, 3), keepdims=True)
    expected = np.maximum(images * means, 0)
    np.testing.assert_allclose(output(scaled, images), expected, rtol=1e-4, atol=1e-6)
    sam = net(4, 3, 2, "dropout", "sam from=0 activation=logistic")
    np.testing.assert_allclose(output(sam, images), logistic(images**2), rtol=1e-5)


def softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    result: Array = powers / powers.sum(axis, keepdims=True)
    return result


def test_softmax_over_groups_and_over_channels() -> None:
    groups = net(3, 2, 4, "softmax groups=2 temperature=3")
    images = random_input(groups, 2) * 5
    expected = softmax(images.reshape(2, 2, 12) / 3, 2).reshape(images.shape)
    np.testing.assert_allclose(output(groups, images), expected, rtol=1e-5, atol=1e-7)
    spatial = net(3, 2, 4, "softmax spatial=1")
    np.testing.assert_allclose(output(spatial, images), softmax(images, 1), rtol=1e-5, atol=1e-7)


def test_softmax_of_a_tree_is_one_per_family(tmp_path: Path) -> None:
    (tmp_path / "t.tree").write_text("animal -1\nthing -1\ncat 0\ndog 0\nlion 0\ncar 1\n")
    text = "[net]\nwidth=1\nheight=1\nchannels=6\n[softmax]\ntree=t.tree\ntemperature=2\n"
    cfg = parse_cfg(text, folder=tmp_path)
    images = random_input(cfg) * 5
    families = np.split(images.reshape(6) / 2, [2, 5])
    expected = np.concatenate([softmax(family, 0) for family in families])
    np.testing.assert_allclose(output(cfg, images).ravel(), expected, rtol=1e-5, atol=1e-7)


def test_crop_takes_the_centre_and_widens_the_range() -> None:
    cfg = net(7, 6, 3, "crop crop_height=3 crop_width=4")
    images = random_input(cfg)
    centre = images[:, :, 1:4, 1:5]
    np.testing.assert_allclose(output(cfg, images), centre * 2 - 1, rtol=1e-5, atol=1e-6)
    plain = net(7, 6, 3, "crop crop_height=3 crop_width=4 noadjust=1")
    np.testing.assert_array_equal(output(plain, images), centre)
