"""The loss of [yolo] heads: which anchor an object is assigned to, and Darknet's gradients."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st

from darknet.cfg import parse_cfg
from darknet.errors import UnsupportedError
from darknet.training.loss import IOU, Losses, ciou, detection_loss, iou, trainable_heads
from tests.support.networks import TINY

CELLS = (12, 16)
"""Rows and columns of TINY's head; its input is 64 x 48, its anchors 8 x 8 and 16 x 24."""
OBJECT = torch.tensor([[0.0, 1, 0.52, 0.53, 16 / 64, 24 / 48]])
"""Of class 1, in column 8 of row 6, the size of the second anchor."""


def losses(raw: torch.Tensor, truth: torch.Tensor, options: str = "") -> Losses:
    return detection_loss(parse_cfg(TINY + options), [raw], truth)


def nothing() -> torch.Tensor:
    """Raw values of a head that finds nothing."""
    raw = torch.zeros(1, 2, 7, *CELLS)
    raw[:, :, 4:] = -20
    return raw.reshape(1, 14, *CELLS)


def perfect() -> torch.Tensor:
    raw = nothing().reshape(1, 2, 7, *CELLS)
    raw[0, 1, 0, 6, 8] = torch.logit(torch.tensor(0.52 * 16 - 8))
    raw[0, 1, 1, 6, 8] = torch.logit(torch.tensor(0.53 * 12 - 6))
    raw[0, 1, 4, 6, 8], raw[0, 1, 6, 6, 8] = 20, 20
    return raw.reshape(1, 14, *CELLS)


@pytest.mark.parametrize("kind", ["mse", *IOU])
def test_a_perfect_prediction_has_no_loss(kind: str) -> None:
    assert losses(perfect(), OBJECT, f"iou_loss={kind}").total < 1e-3


def test_an_image_without_objects_has_only_an_objectness_loss() -> None:
    empty = torch.zeros(0, 6)
    assert losses(nothing(), empty).total < 1e-3
    found = losses(perfect(), empty)
    assert found.objectness > 10
    assert found.box == 0
    assert found.classes == 0


def test_gradients_of_scores_are_those_of_darknet() -> None:
    raw = torch.randn(1, 14, *CELLS, generator=torch.Generator().manual_seed(0))
    raw.requires_grad_()
    (gradient,) = torch.autograd.grad(losses(raw, OBJECT, "ignore_thresh=1").total, raw)
    values = raw.detach().sigmoid().reshape(2, 7, *CELLS)
    gradient = gradient.reshape(2, 7, *CELLS)
    wanted = torch.zeros(2, *CELLS)
    wanted[1, 6, 8] = 1
    torch.testing.assert_close(gradient[:, 4], values[:, 4] - wanted)
    torch.testing.assert_close(gradient[1, 5:, 6, 8], values[1, 5:, 6, 8] - torch.tensor([0.0, 1]))
    assert gradient[0, 5:].abs().max() == 0


def test_squared_box_errors_have_darknets_gradient() -> None:
    options = "iou_loss=mse\niou_normalizer=1"
    raw = perfect() + 0.1
    raw.requires_grad_()
    (gradient,) = torch.autograd.grad(losses(raw, OBJECT, options).box, raw)
    gradient = gradient.reshape(2, 7, *CELLS)[1, :4, 6, 8]
    x, y = raw.detach().reshape(2, 7, *CELLS)[1, :2, 6, 8].sigmoid()
    scale = 2 - 0.25 * 0.5
    wanted = torch.stack((x - 0.32, y - 0.36, torch.tensor(0.1), torch.tensor(0.1))) * scale
    torch.testing.assert_close(gradient, wanted, atol=1e-4, rtol=0)


def test_a_box_that_overlaps_more_than_ignore_thresh_has_no_objectness_loss() -> None:
    raw = perfect().reshape(2, 7, *CELLS)
    raw[1, :2, 6, 9] = torch.tensor([-20.0, raw[1, 1, 6, 8]])
    raw[1, 4, 6, 9] = 3.0  # a neighbour sees the same object
    raw = raw.reshape(1, 14, *CELLS)
    assert losses(raw, OBJECT, "ignore_thresh=.5").objectness < 1e-3
    assert losses(raw, OBJECT, "ignore_thresh=.99").objectness > 2


def test_every_anchor_that_overlaps_more_than_iou_thresh_gets_the_object() -> None:
    square = torch.tensor([[0.0, 0, 0.5, 0.5, 12 / 64, 12 / 48]])
    alone, several = (losses(nothing(), square, option).classes for option in ("", "iou_thresh=.2"))
    assert several == pytest.approx(2 * float(alone))


def test_new_coords_undo_the_logistic_activation_before_them() -> None:
    raw = perfect()
    activated = losses(raw.sigmoid(), OBJECT, "new_coords=1\niou_loss=ciou")
    assert activated.objectness < 1e-2
    assert activated.box < 1e-3  # (2 * 0.5)^2 is the anchor itself


def test_the_mean_is_over_images() -> None:
    two = torch.cat((OBJECT, OBJECT + torch.tensor([1.0, 0, 0, 0, 0, 0])))
    raw = nothing()
    torch.testing.assert_close(losses(raw.repeat(2, 1, 1, 1), two).total, losses(raw, OBJECT).total)


def test_a_region_head_is_refused() -> None:
    text = TINY.replace("[yolo]\nmask=0,1", "[region]")
    with pytest.raises(UnsupportedError, match="region"):
        detection_loss(parse_cfg(text), [nothing()], OBJECT)


def test_a_classifier_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="must end in"):
        trainable_heads(parse_cfg(TINY[: TINY.index("[yolo]")]))


def test_a_gaussian_head_is_refused_by_name() -> None:
    text = TINY.replace("[yolo]", "[Gaussian_yolo]").replace("filters=14", "filters=22")
    with pytest.raises(UnsupportedError, match=r"\[Gaussian_yolo\] .*cannot be trained here"):
        trainable_heads(parse_cfg(text))


boxes = st.tuples(*[st.floats(0.05, 0.95)] * 2, *[st.floats(0.01, 1)] * 2)


@given(boxes, boxes)
def test_overlaps_are_ordered_and_symmetric(
    first: tuple[float, ...], second: tuple[float, ...]
) -> None:
    a, b = torch.tensor(first), torch.tensor(second)
    values = {name: float(overlap(a, b)) for name, overlap in IOU.items()}
    assert 0 <= values["iou"] <= 1 + 1e-4
    assert values["ciou"] <= values["diou"] + 1e-4
    assert values["diou"] <= values["iou"] + 1e-4
    assert values["giou"] <= values["iou"] + 1e-4
    assert float(iou(b, a)) == pytest.approx(values["iou"], abs=1e-4)
    assert float(ciou(a, a)) == pytest.approx(1, abs=1e-3)
