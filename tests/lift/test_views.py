"""Label maps, read once where there is room."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import LabelledViews
from splatseg_ns.scene import Camera
from tests.lift.examples import BlankView, ToyView, toy_views
from tests.raster.scenes import camera

SMALL = camera(4, 3)


@dataclass
class CountingView:
    camera: Camera
    labels: Tensor
    reads: int = 0

    def label_map(self) -> Tensor:
        self.reads += 1
        return self.labels


def test_maps_are_read_once_as_far_as_they_fit():
    views = [CountingView(SMALL, torch.full((3, 4), number)) for number in range(5)]
    labelled = LabelledViews(views, cache_bytes=2 * 12)
    for _ in range(3):
        assert [int(view.labels[0, 0]) for view in labelled.read()] == [0, 1, 2, 3, 4]
    assert [view.reads for view in views] == [1, 1, 3, 3, 3]


def test_views_without_a_map_keep_their_position():
    views = [BlankView(SMALL), ToyView(SMALL, torch.ones(3, 4).long())]
    assert [view.position for view in LabelledViews(views).read()] == [1]
    assert len(LabelledViews(views)) == 2


def test_negative_labels_and_invalid_pixels_say_nothing():
    labels = torch.tensor([[-1, 0, 2, 2], [0, 0, 0, 0], [3, 3, 3, -7]])
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[1, 2] = False
    (view,) = LabelledViews([ToyView(SMALL, labels, valid)]).read()
    assert view.pixel_mask is not None
    assert (~view.pixel_mask).nonzero().tolist() == [[0, 0], [1, 2], [2, 3]]
    assert int(view.labels.min()) == 0


@pytest.mark.parametrize(("highest", "kept_as"), [(255, torch.uint8), (256, torch.int32), (70_000, torch.int32)])
def test_maps_are_kept_narrow(highest: int, kept_as: torch.dtype):
    labels = torch.zeros(3, 4, dtype=torch.int64)
    labels[0, 0] = highest
    (view,) = LabelledViews([ToyView(SMALL, labels)]).read()
    assert view.labels.dtype == kept_as and int(view.labels[0, 0]) == highest


def test_present_ids():
    assert LabelledViews(toy_views(labels=4)).present_ids().tolist() == [0, 1, 2, 3]
    assert LabelledViews([]).present_ids().tolist() == []


def test_a_map_of_another_size_names_its_view():
    with pytest.raises(ValueError, match=r"view toy: the label map is \[4, 3\], its camera \[3, 4\]"):
        list(LabelledViews([ToyView(SMALL, torch.zeros(4, 3).long())]).read())


def test_no_views_is_said():
    with pytest.raises(ValueError, match="no views"):
        _ = LabelledViews([]).reference_camera
