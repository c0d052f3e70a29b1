"""What pictures of a segmentation show of each Gaussian."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from splatseg_ns.plugin.display import Accent, Display, Look
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


def test_the_background_can_be_hidden_with_what_was_never_seen():
    document = replace(document_of(cloud(4, 1), LABELS, hidden=(2,)), background_visible=False)
    display = Display.of(document, CPU)
    assert display.visible is not None
    assert display.visible.tolist() == [False, False, True, False]
    assert display.hidden_names == ("background", "object 2")
    assert display.features[:, 3].tolist() == [0, 0, 1, 0]


def test_a_part_of_the_gaussians_keeps_what_is_shown_of_each():
    weights = torch.tensor([0.0, 0.25, 0.5, 1.0])
    look = Look(ghost=0.5, accent=Accent((255, 0, 0), weights))
    display = Display.of(document_of(cloud(4, 1), LABELS, hidden=(2,)), CPU, look=look)
    part = display.subset(torch.tensor([False, True, False, True]))
    assert len(part) == 2 and part.visible is not None and part.look.accent is not None
    assert part.visible.tolist() == [True, False] and part.look.ghost == 0.5
    assert part.look.accent.weights is not None and part.look.accent.weights.tolist() == [0.25, 1.0]
    assert torch.equal(part.features, display.features[[1, 3]])


def test_looks_that_cannot_be_are_refused():
    for ghost in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            Look(ghost=ghost)
    with pytest.raises(ValueError, match="4 Gaussians cannot have 3 weights"):
        Display.of(document_of(cloud(4, 1), LABELS), CPU, look=Look(accent=Accent((0, 0, 0), torch.ones(3))))
