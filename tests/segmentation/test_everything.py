"""All objects of a scene from its views: with a segmenter that knows the truth."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.lift import BACKGROUND, FlashSplat, Robust, Solver
from splatseg_ns.masks import CachedSegmenter
from splatseg_ns.masks.everything import AutomaticMasks
from splatseg_ns.masks.segmenter import Embedding
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import View
from splatseg_ns.scene.undistort import Lens
from splatseg_ns.segmentation import everything
from splatseg_ns.segmentation.associate import Associate
from splatseg_ns.segmentation.everything import (
    FindEverything,
    FoundEverything,
    NothingStableError,
    TooFewViewsError,
    find_everything,
)
from tests.masks.fake_segmenter import PaintedSegmenter
from tests.segmentation.clicked import BLUE, GREEN, RED, VIEWS, balls

NAMES = [f"view_{number:02d}" for number in range(VIEWS)]


@dataclass
class Scene:
    """Paintings of balls on a table, and what is asked about them."""

    views: list[View]
    segmenter: PaintedSegmenter
    cached: CachedSegmenter

    def find(
        self,
        config: FindEverything | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        solver: Solver | None = None,
        data: Path | None = None,
    ) -> FoundEverything:
        engine, splats = rasterizer_for("cpu"), balls().splats
        return find_everything(
            engine, splats, self.views, self.cached, solver or Robust(), config, data=data, progress=progress
        )


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> list[View]:
    folder = tmp_path_factory.mktemp("paintings")
    made = []
    for painted in balls().views:
        path = folder / f"{painted.name}.png"
        Image.fromarray(painted.picture.numpy()).save(path)
        K, camera = painted.camera.K, painted.camera
        lens = Lens(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
        made.append(View(painted.name, "train", camera.viewmat, lens, camera.width, camera.height, path))
    return made


@pytest.fixture
def scene(views: list[View], tmp_path: Path) -> Scene:
    segmenter = PaintedSegmenter()
    return Scene(views, segmenter, CachedSegmenter(segmenter, tmp_path / "cache"))


@pytest.fixture(scope="module")
def found(views: list[View], tmp_path_factory: pytest.TempPathFactory) -> FoundEverything:
    """What is found by default; not to be changed."""
    segmenter = PaintedSegmenter()
    return Scene(views, segmenter, CachedSegmenter(segmenter, tmp_path_factory.mktemp("cache"))).find()


def overlap(found: FoundEverything, id: int, ball: int) -> tuple[float, float]:
    """How much of a ball an object has, and how much of the object is of the ball, over what is seen."""
    labels = found.document.labels
    mine, true = labels == id, (balls().truth == ball) & (labels >= BACKGROUND)
    shared = float((mine & true).sum())
    return shared / float(true.sum()), shared / float(mine.sum())


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "splatseg-reader"]


def test_all_objects_are_found_the_largest_first(found: FoundEverything):
    assert found.document.names == ["object_1", "object_2", "object_3"]
    for id, ball in ((1, BLUE), (2, RED), (3, GREEN)):
        assert min(overlap(found, id, ball)) > 0.85
        assert len(found.thing(id).masks) >= Associate.min_views
    # The balls have caps, which are no whole objects.
    assert found.unstable > 0 and found.small == 0


def test_what_led_to_them_is_there(found: FoundEverything):
    assert [view.name for view in found.views] == NAMES
    assert all(map(len, found.masks)) and len(found.masks) == len(found.association.label_maps) == VIEWS
    for view, masks in zip(found.views, found.masks, strict=True):
        assert view.image().shape[:2] == masks.regions.shape == (view.camera.height, view.camera.width)
    votes = found.document.votes()
    assert votes is not None and votes is found.solution.votes
    assert torch.equal(found.solution.solver.decide(votes).ids, found.document.labels)


def test_the_document_says_how_it_came_about(scene: Scene, tmp_path: Path):
    config = FindEverything(associate=Associate(level="part", min_views=2, least_support=0.3, min_gaussians=7))
    document = scene.find(config, solver=FlashSplat(gamma=0.1), data=tmp_path).document
    made = {entry.operation: dict(entry.parameters) for entry in document.history}
    settled = {"gamma": 0.1, "norm": "l1"}
    assert made["label"] == {"data": str(tmp_path), "solver": "flashsplat", "settled": settled}
    assert made["everything"].pop("masks")["into_parts"] is False
    assert made["everything"].pop("found") > 3 * VIEWS
    assert made["everything"] == {
        "segmenter": "painted",
        "views": NAMES,
        "level": "part",
        "min_views": 2,
        "min_support": 0.3,
        "min_gaussians": 7,
    }
    provenance = document.objects[0].provenance
    assert provenance.solver == "flashsplat" and provenance.parameters == settled
    assert provenance.prompts[0]["everything"] == "painted" and provenance.prompts[0]["level"] == "part"


def test_parts_are_asked_for_where_parts_are_wanted(scene: Scene):
    wholes = scene.find(FindEverything(masks=AutomaticMasks(most_prompts=40)))
    parts = scene.find(FindEverything(masks=AutomaticMasks(most_prompts=40), associate=Associate(level="part")))
    # Each ball has a cap.
    assert len(parts.document.objects) > len(wholes.document.objects) == 3


def test_few_views_are_as_different_as_can_be(scene: Scene):
    config = FindEverything(view_count=4)
    names = [view.name for view in scene.find(config).views]
    assert names in (NAMES[::2], NAMES[1::2])
    assert scene.segmenter.embedded == 4


def test_objects_with_few_gaussians_are_dropped(scene: Scene, found: FoundEverything):
    smallest = found.document.counts()[3]
    config = FindEverything(associate=Associate(min_gaussians=smallest + 1))
    fewer = scene.find(config)
    assert fewer.document.names == ["object_1", "object_2"] and fewer.small == 1
    assert not bool((fewer.document.labels == 3).any())


def test_large_pictures_are_worked_on_in_a_smaller_size(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(everything, "LONGEST_SIDE", 64)
    found = scene.find()
    assert found.views[0].image().shape == (48, 64, 3) and found.masks[0].regions.shape == (48, 64)
    assert found.association.label_maps[0].shape == (48, 64)
    # The third ball is ten pixels wide there.
    for id, ball in ((1, BLUE), (2, RED)):
        recall, precision = overlap(found, id, ball)
        assert recall > 0.95 and precision > 0.7


def test_pixels_that_are_masked_out_do_not_vote(scene: Scene, found: FoundEverything, tmp_path: Path):
    mask = tmp_path / "left.png"
    picture = torch.zeros(72, 96, dtype=torch.uint8)
    picture[:, :48] = 255
    Image.fromarray(picture.numpy()).save(mask)
    scene.views = [replace(view, mask_path=mask) for view in scene.views]
    half = scene.find().solution.votes.seen.sum() / found.solution.votes.seen.sum()
    assert 0.3 < float(half) < 0.7


def test_progress_is_told_by_stage(scene: Scene):
    told: list[tuple[str, int, int]] = []
    scene.find(FindEverything(view_count=5), lambda *step: told.append(step))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["masks", "association", "votes"]
    for stage in stages:
        done = [done for name, done, _ in told if name == stage]
        # Solvers may go through the views more than once.
        assert done[:6] == [0, 1, 2, 3, 4, 5] and set(done) == set(range(6))
    assert {total for _, _, total in told} == {5}


class Cancelled(Exception):
    """What a caller raises that wants no more."""


@pytest.mark.parametrize("when", [("masks", 0), ("association", 0), ("association", 3), ("votes", 1)])
def test_progress_can_stop_the_work(scene: Scene, when: tuple[str, int]):
    def stop(stage: str, done: int, _: int) -> None:
        if (stage, done) == when:
            raise Cancelled

    with pytest.raises(Cancelled):
        scene.find(progress=stop)
    assert readers() == []


def test_nothing_goes_on_when_it_is_stopped_while_pictures_are_read(scene: Scene):
    go_on = threading.Event()

    class Slow(PaintedSegmenter):
        def embed(self, image: Tensor) -> Embedding:
            assert self.embedded < 3 or go_on.wait(60)
            return super().embed(image)

    scene.cached.segmenter = Slow()

    def stop(_: str, done: int, __: int) -> None:
        if done == 1:
            assert readers()
            # They are waited for, so they must come to an end after this.
            threading.Timer(0.2, go_on.set).start()
            raise Cancelled

    with pytest.raises(Cancelled):
        scene.find(progress=stop)
    assert readers() == []
    # And it can be begun again.
    assert scene.find().document.names == ["object_1", "object_2", "object_3"]


def test_too_few_views(scene: Scene):
    with pytest.raises(TooFewViewsError, match="2 views are looked at, but an object needs masks in 3"):
        scene.find(FindEverything(view_count=2))
    assert scene.segmenter.embedded == 0


def test_nothing_is_stable(scene: Scene):
    scene.segmenter.scores = (0.1, 0.2, 0.3)
    with pytest.raises(NothingStableError, match=r"none of 0 masks in 8 views is stable: 0 things"):
        scene.find()


def test_a_number_of_views_that_makes_no_sense():
    for count in (0, -1):
        with pytest.raises(ValueError, match="at least 1, or None for all"):
            FindEverything(view_count=count)
