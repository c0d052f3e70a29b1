"""What is reached on a whole scene: exact masks of the training views, judged on held-out views."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.conditions import CONDITIONS
from splatseg_ns.lift import (
    Evidence,
    FlashSplat,
    LabelledViews,
    Labels,
    Robust,
    Shares,
    Votes,
    accumulate_folds,
    accumulate_votes,
    iou_of_objects,
    isolated_labels,
    render_label_map,
    render_object_mask,
)
from splatseg_ns.raster import Rasterizer, rasterizer_for
from splatseg_ns.scene import Capture, Splats, View, read_ply

IDS = torch.arange(10)

LEAST_PIXELS = 100
"""An object is judged in the views that show this much of it."""


@pytest.fixture(scope="module")
def splats(shared_data: Path) -> Splats:
    return read_ply(shared_data / "tabletop_splats.ply")


@pytest.fixture(scope="module")
def capture(shared_data: Path) -> Capture:
    return Capture.load(shared_data / "tabletop")


@pytest.fixture(scope="module")
def training(capture: Capture) -> LabelledViews:
    return LabelledViews(capture.with_split("train").views)


def truth_of(view: View) -> Tensor:  # [H, W]
    labels = view.label_map()
    assert labels is not None
    return labels


def mean_over_views(scores: list[Tensor]) -> Tensor:  # V x [L] -> [K], without the background
    return torch.stack(scores)[:, 1:].nanmean(dim=0)


def iou_by_object(engine: Rasterizer, splats: Splats, capture: Capture, shares: Shares) -> Tensor:  # [K]
    """The IoU of each object's masks with the truth, averaged over the held-out views that show it."""
    scores = []
    for view in capture.with_split("val", "test"):
        truth = truth_of(view)
        scores.append(iou_of_objects(render_label_map(engine, splats, view.camera, shares, IDS), truth, IDS))
        scores[-1][torch.bincount(truth.flatten(), minlength=len(IDS)) < LEAST_PIXELS] = torch.nan
    return mean_over_views(scores)


def silhouette_iou(engine: Rasterizer, splats: Splats, capture: Capture, labels: Labels, tau: float) -> Tensor:  # [K]
    """The same of each object drawn alone; pixels where other objects are in front do not count."""
    scores = []
    for view in capture.with_split("val", "test"):
        truth = truth_of(view)
        scores.append(torch.full((len(IDS),), torch.nan))
        for label in IDS[1:].tolist():
            if int((truth == label).sum()) >= LEAST_PIXELS:
                drawn = render_object_mask(engine, splats, view.camera, labels.rows(label), tau).long() * label
                free = (truth == label) | (truth == 0)
                scores[-1][label] = float(iou_of_objects(drawn, truth, IDS[label : label + 1], free))
    return mean_over_views(scores)


@pytest.fixture(scope="module")
def votes(splats: Splats, training: LabelledViews) -> Votes:
    return accumulate_votes(rasterizer_for("cpu"), splats, training, IDS)


def test_held_out_views_of_the_tabletop(cpu: Rasterizer, splats: Splats, capture: Capture, votes: Votes):
    labels = FlashSplat().decide(votes)
    by_object = iou_by_object(cpu, splats, capture, labels)
    assert float(by_object.mean()) >= 0.952
    assert float(by_object.min()) >= 0.91
    assert float(iou_by_object(cpu, splats, capture, votes).mean()) >= 0.956


def test_objects_of_the_tabletop_stand_alone(
    cpu: Rasterizer, splats: Splats, capture: Capture, training: LabelledViews, votes: Votes
):
    labels = isolated_labels(cpu, splats, training, FlashSplat().decide(votes))
    assert float(silhouette_iou(cpu, splats, capture, labels, 0.5).mean()) >= 0.954
    assert float(silhouette_iou(cpu, splats, capture, labels, 0.1).mean()) >= 0.888


def test_clean_masks_need_no_bias(cpu: Rasterizer, splats: Splats, training: LabelledViews):
    folds = accumulate_folds(cpu, splats, training, IDS, folds=4)
    assert FlashSplat("auto").settled(folds).gamma == 0.0


@pytest.mark.slow
def test_dirty_masks_are_put_right(cpu: Rasterizer, splats: Splats, capture: Capture, training: LabelledViews):
    clean = list(training.read())
    (condition,) = (entry for entry in CONDITIONS if entry.name == "8 views, 1 wrong, e/d")
    found: dict[str, list[float]] = {"argmax": [], "robust": []}
    for seed in range(2):
        evidence = Evidence.of(cpu, splats, condition.make(clean, IDS[1:], seed), IDS)
        for name, solver in (("argmax", FlashSplat()), ("robust", Robust())):
            labels = solver.solve(evidence).labels
            found[name].append(float(iou_by_object(cpu, splats, capture, labels).mean()))
    assert sum(found["robust"]) >= 2 * 0.86
    assert sum(found["robust"]) >= sum(found["argmax"]) + 2 * 0.04


def test_clean_masks_stay_as_they_are(cpu: Rasterizer, splats: Splats, training: LabelledViews, votes: Votes):
    solution = Robust().solve(Evidence.of(cpu, splats, training, IDS))
    assert solution.corrections is None or solution.corrections.moved == solution.corrections.renamed == 0
    same = solution.labels.ids == FlashSplat().decide(votes).ids
    assert float(same.double().mean()) > 0.999
