"""Objects that are to stand alone: by their masks where these can be had, by their votes where not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splatseg_ns.edit import isolate_by_masks, isolate_by_votes
from splatseg_ns.edit.alone import isolate, masks_of
from splatseg_ns.lift import Evidence, FlashSplat, LabelledViews
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture, Splats, View
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.clicking import CLICKS
from splatseg_ns.segmentation.labelling import MaskStatistics, labelled_document
from splatseg_ns.segmentation.scene_object import Provenance
from tests.cli.examples import TEST_VIEWS, SceneOnDisk

ENGINE = rasterizer_for("cpu")


@pytest.fixture(scope="module")
def document(pristine: SceneOnDisk) -> Segmentation:
    """The balls as their masks in the training views make them."""
    capture = Capture.load(pristine.data)
    folder = LabelFolder.open(pristine.masks, capture.names)
    views = LabelledViews(folder.attach(capture).with_split("train").views)
    statistics = MaskStatistics.of(views)
    solution = FlashSplat().solve(Evidence.of(ENGINE, pristine.splats, views, statistics.ids))
    return labelled_document(
        pristine.splats,
        folder,
        statistics,
        solution,
        masks=pristine.masks,
        format=LabelFolderConfig(),
        data=pristine.data,
        views=["train"],
    )


@pytest.fixture(scope="module")
def splats(pristine: SceneOnDisk) -> Splats:
    return pristine.splats


@pytest.fixture(scope="module")
def masks(pristine: SceneOnDisk, document: Segmentation) -> tuple[Path, tuple[View, ...]]:
    folder, capture = masks_of(document, Capture.load(pristine.data))
    return folder, capture.views


def made_by_clicks(document: Segmentation, id: int) -> Segmentation:
    return document.with_objects(replace(document.object(id), provenance=Provenance(({"name": "x"},), CLICKS)))


def test_the_masks_that_a_document_was_made_from_are_found_again(
    pristine: SceneOnDisk, masks: tuple[Path, tuple[View, ...]]
):
    folder, views = masks
    assert folder == pristine.masks
    # Those that voted, with their label maps.
    assert [view.name for view in views] == [f"view_{n:02d}" for n in range(10) if f"view_{n:02d}" not in TEST_VIEWS]
    labels = views[0].label_map()
    assert labels is not None and set(labels.unique().tolist()) == {0, 1, 2, 3}


def test_masks_that_are_gone_or_were_never_named(document: Segmentation, pristine: SceneOnDisk, tmp_path: Path):
    capture = Capture.load(pristine.data)
    with pytest.raises(ValueError, match="does not say from which masks it was made"):
        masks_of(replace(document, history=()), capture)
    by_clicks = replace(document, history=()).with_entry("label", solver="flashsplat", settled={})
    with pytest.raises(ValueError, match="does not say from which masks it was made"):
        masks_of(by_clicks, capture)
    shutil.copytree(pristine.masks, tmp_path / "masks")
    label = document.history[0]
    moved = replace(document, history=(replace(label, parameters={**label.parameters, "masks": f"{tmp_path}/masks"}),))
    assert masks_of(moved, capture)[0] == tmp_path / "masks"
    shutil.rmtree(tmp_path / "masks")
    with pytest.raises(FileNotFoundError, match="no such folder of label maps"):
        masks_of(moved, capture)


def test_objects_of_masks_vote_again_by_them(
    document: Segmentation, splats: Splats, masks: tuple[Path, tuple[View, ...]]
):
    told: list[tuple[int, int]] = []
    alone, decided_by = isolate(
        ENGINE, splats, document, [1, 3], lambda: masks, lambda done, total: told.append((done, total))
    )
    assert torch.equal(alone.labels, isolate_by_masks(ENGINE, splats, masks[1], document, [1, 3]).labels)
    assert decided_by == [f"by the masks in {masks[0]}"]
    assert told == [(1, 2), (2, 2)]
    # What an object loses falls to the background; the others keep all.
    changed = alone.labels != document.labels
    assert set(document.labels[changed].tolist()) <= {1, 3} and set(alone.labels[changed].tolist()) <= {0}


def test_objects_of_clicks_vote_again_by_what_the_clicks_found(
    document: Segmentation, splats: Splats, masks: tuple[Path, tuple[View, ...]]
):
    mixed = made_by_clicks(document, 3)
    alone, decided_by = isolate(ENGINE, splats, mixed, [1, 3], lambda: masks)
    wanted = isolate_by_masks(ENGINE, splats, masks[1], isolate_by_votes(mixed, [3]), [1])
    assert torch.equal(alone.labels, wanted.labels)
    assert decided_by == ["by the votes that were kept of 1 objects made by clicks", f"by the masks in {masks[0]}"]
    alone, decided_by = isolate(ENGINE, splats, mixed, [3], lambda: masks)
    assert torch.equal(alone.labels, isolate_by_votes(mixed, [3]).labels)
    assert decided_by == ["by the votes that were kept of 1 objects made by clicks"]


@pytest.mark.parametrize("error", [ValueError("no masks are known"), LookupError("no view"), FileNotFoundError("gone")])
def test_without_masks_the_votes_decide(error: Exception, document: Segmentation, splats: Splats):
    def gone() -> tuple[Path, Iterable[View]]:
        raise error

    alone, decided_by = isolate(ENGINE, splats, document, [1, 2, 3], gone)
    assert torch.equal(alone.labels, isolate_by_votes(document, [1, 2, 3]).labels)
    assert decided_by == [f"by the votes that were kept, not by masks ({error})"]
    with pytest.raises(ValueError, match="keeps no votes"):
        isolate(ENGINE, splats, document.with_votes(None), [1], gone)


def test_what_stops_the_work_comes_out(document: Segmentation, splats: Splats, masks: tuple[Path, tuple[View, ...]]):
    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        isolate(ENGINE, splats, document, [1], lambda: masks, stop)


def test_nothing_is_asked_about_objects_without_gaussians(
    document: Segmentation, splats: Splats, masks: tuple[Path, tuple[View, ...]]
):
    empty = replace(document, labels=document.labels.masked_fill(document.labels == 2, 0)).with_votes(None)
    alone, decided_by = isolate(ENGINE, splats, empty, [2], lambda: masks)
    assert torch.equal(alone.labels, empty.labels) and decided_by == []
