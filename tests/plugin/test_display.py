"""What pictures of a segmentation show of each Gaussian."""

from __future__ import annotations

import torch

from splatseg_ns.plugin.display import Display
from tests.plugin.examples import document_of
from tests.raster.scenes import cloud

CPU = torch.device("cpu")
LABELS = torch.tensor([-1, 0, 1, 2])


def test_objects_have_their_colours_and_the_rest_is_black():
    document = document_of(cloud(4, 1), LABELS)
    display = Display.of(document, CPU)
    assert not bool(display.features[:2].any())
    for row, entry in zip((2, 3), document.objects, strict=True):
        assert (display.features[row, :3] * 255).round().tolist() == list(entry.color)


def test_the_mask_shows_visible_objects_or_else_the_selection():
    document = document_of(cloud(4, 1), LABELS, hidden=(2,))
    assert Display.of(document, CPU).features[:, 3].tolist() == [0, 0, 1, 0]
    selection = torch.tensor([True, False, False, True])
    assert Display.of(document, CPU, selection).features[:, 3].tolist() == [1, 0, 0, 1]


def test_only_gaussians_of_hidden_objects_are_hidden():
    display = Display.of(document_of(cloud(4, 1), LABELS, hidden=(2,)), CPU)
    assert display.visible is not None
    assert display.visible.tolist() == [True, True, True, False]
    assert display.hidden_names == ("object 2",)
    assert Display.of(document_of(cloud(4, 1), LABELS), CPU).visible is None
