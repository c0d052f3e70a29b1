"""What label maps hold, and the document that is made by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from splatseg_ns.lift import Evidence, FlashSplat, LabelledViews
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.raster.cpu import CpuRasterizer
from splatseg_ns.segmentation.labelling import MaskStatistics, labelled_document
from tests.lift.examples import ToyView, toy_splats, toy_views
from tests.raster.scenes import camera


def test_statistics_by_hand():
    first = torch.tensor([[0, 7, 7], [3, 3, 3]])
    second = torch.tensor([[7, 0, 0], [-1, 0, 0]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    views = LabelledViews([ToyView(camera(3, 2), first, valid), ToyView(camera(3, 2), second)])
    said: list[tuple[int, int]] = []
    statistics = MaskStatistics.of(views, lambda done, total: said.append((done, total)))
    # One 7 of the first view is in its masked pixel, the ignored pixel of the second counts for nothing.
    assert statistics == MaskStatistics(pixels={3: 3, 7: 2}, views={3: 1, 7: 2}, total=5 + 5)
    assert statistics.ids == [0, 3, 7] and said == [(1, 2), (2, 2)]


def test_the_document_says_how_it_was_made(tmp_path: Path):
    splats, views = toy_splats(), toy_views(3)
    for view in views:
        np.save(tmp_path / f"{view.name}.npy", view.labels.numpy())
    (tmp_path / "labels.json").write_text('{"1": "mug", "2": "mug"}')
    folder = LabelFolder.open(tmp_path, [view.name for view in views])
    labelled = LabelledViews(views)
    statistics = MaskStatistics.of(labelled)
    solution = FlashSplat(0.1).solve(Evidence.of(CpuRasterizer(), splats, labelled, statistics.ids))
    made = {"masks": tmp_path, "format": LabelFolderConfig(), "data": None, "views": ["train"]}
    document = labelled_document(splats, folder, statistics, solution, **made)
    assert torch.equal(document.labels, solution.labels.ids)
    assert [entry.id for entry in document.objects] == [1, 2, 3]
    assert [entry.name for entry in document.objects] == ["mug", "mug 2", "object_3"]
    (entry,) = document.history
    assert entry.operation == "label"
    assert entry.parameters["solver"] == "flashsplat" and entry.parameters["settled"]["gamma"] == 0.1
    assert entry.parameters["masks"] == str(tmp_path.resolve()) and entry.parameters["views"] == ["train"]
