"""Classes carried over through features: where these are equal to labels, nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from splatseg_ns.demo.scene import balls_on_a_table, ring_of_cameras
from splatseg_ns.lift import (
    Evidence,
    FlashSplat,
    Labels,
    Robust,
    Votes,
    accumulate_votes,
    render_label_map,
    render_share,
)
from splatseg_ns.masks import CachedFeatures
from splatseg_ns.masks.memory_bank import Knn, MemoryBank
from splatseg_ns.raster.cpu import CpuRasterizer
from splatseg_ns.scene import IGNORED, Camera, Splats
from splatseg_ns.segmentation.transfer import (
    Classifier,
    NothingKnownError,
    Transfer,
    Transferred,
    chosen_classes,
    shown_classes,
    transfer,
)
from tests.lift.examples import ToyView
from tests.masks.test_memory_bank import RedFeatures, bank_of, example, patches, random_bank, random_queries
from tests.raster.scenes import generator

WIDTH, HEIGHT = 48, 36
IDS = [0, 1, 2, 3]
EXACT = Transfer(Knn(neighbours=1), upsampling="nearest")
"""Each pixel is of the class of the patch that is like it, and of no other."""


@dataclass(frozen=True)
class PaintedView(ToyView):
    """A view that shows its label map: the id is how red a pixel is. What is ignored is as red as no class."""

    def image(self) -> Tensor:  # [H, W, 3] uint8
        return torch.where(self.labels < 0, 7, self.labels)[..., None].expand(-1, -1, 3).byte()


@cache
def scene() -> tuple[Splats, Tensor, list[PaintedView]]:
    """Balls on a table, what is true of each Gaussian, and views of that."""
    splats, truth = balls_on_a_table()
    views = []
    for camera in ring_of_cameras(6, WIDTH, HEIGHT):
        labels = render_label_map(CpuRasterizer(), splats, camera, Labels(truth, torch.ones(len(truth))), ids(1, 2, 3))
        views.append(PaintedView(camera, labels))
    return splats, truth, views


def ids(*of: int) -> Tensor:
    return torch.tensor(of)


def red_classifier(config: Transfer = EXACT, classes: Iterable[int] = (0, 1, 2, 3), **bank: Any) -> Classifier:
    """It has seen one patch of each class."""
    known = MemoryBank.of(RedFeatures(1), [example(patches([list(classes)], 1), patch=1)])
    return Classifier(RedFeatures(1), replace(known, **bank), config)


def carried(
    classifier: Classifier, views: list[PaintedView] | None = None, within: Tensor | None = None
) -> Transferred:
    splats, _, painted = scene()
    shown: Any = painted if views is None else views
    return transfer(CpuRasterizer(), splats, shown, classifier, within)


def close(found: Votes, expected: Votes) -> bool:
    """The same votes, and the same seen but for the order in which an engine adds."""
    return (
        torch.equal(found.ids, expected.ids)
        and torch.equal(found.offsets, expected.offsets)
        and torch.equal(found.columns, expected.columns)
        and torch.equal(found.mass, expected.mass)
        and torch.allclose(found.seen, expected.seen, rtol=1e-6, atol=1e-6)
    )


def noisy(seed: int, share: float = 0.3) -> list[PaintedView]:
    """Views of which some blocks show another class."""
    views = []
    for number, view in enumerate(scene()[2]):
        random = generator(seed + number)
        shape = HEIGHT // 3, WIDTH // 3
        other = torch.randint(0, 4, shape, generator=random).where(torch.rand(shape, generator=random) < share, -1)
        blocks = other.repeat_interleave(3, 0).repeat_interleave(3, 1)
        views.append(replace(view, labels=view.labels.where(blocks < 0, blocks)))
    return views


# Where features are labels


def test_if_features_are_labels_the_votes_are_those_of_the_true_maps():
    splats, _, views = scene()
    found = carried(red_classifier())
    expected = accumulate_votes(CpuRasterizer(), splats, views, IDS)
    assert close(found.votes, expected)
    assert torch.equal(found.labels.ids, FlashSplat().decide(expected).ids)
    assert found.solver == FlashSplat(gamma=0.0)


def test_if_features_are_labels_all_that_is_seen_clearly_is_right():
    _, truth, _ = scene()
    found = carried(red_classifier())
    clear = (found.labels.margin > 0.5) & (found.votes.seen > 1.0)
    assert float(clear.sum()) > 2000
    assert torch.equal(found.labels.ids[clear], truth[clear])


@pytest.mark.parametrize("voting", ["labels", "robust"])
def test_if_features_are_labels_the_likeliest_classes_are_those_of_the_true_maps(voting: Any):
    splats, _, views = scene()
    found = carried(red_classifier(replace(EXACT, voting=voting)))
    solver = Robust() if voting == "robust" else FlashSplat()
    expected = solver.solve(Evidence.of(CpuRasterizer(), splats, views, IDS))
    assert close(found.votes, expected.votes)
    assert torch.equal(found.labels.ids, expected.labels.ids) and found.solver == expected.solver


def test_classes_that_the_examples_leave_out_are_none():
    splats, _, views = scene()
    found = carried(red_classifier(classes=(0, 2)))
    assert found.votes.ids.tolist() == [0, 2]
    # Red 1 and 3 are like neither: a similarity of 0, as good as any.
    strict = carried(red_classifier(replace(EXACT, knn=Knn(1, least_similarity=0.5)), classes=(0, 2)))
    maps = [replace(view, labels=torch.where(view.labels % 2 == 1, IGNORED, view.labels)) for view in views]
    assert close(strict.votes, accumulate_votes(CpuRasterizer(), splats, maps, [0, 2]))


# What views may say


def test_masked_pixels_say_nothing():
    splats, _, views = scene()
    masked = [
        replace(view, valid=torch.rand(HEIGHT, WIDTH, generator=generator(number)) < 0.5)
        for number, view in enumerate(views)
    ]
    for voting in ("shares", "labels"):
        found = carried(red_classifier(replace(EXACT, voting=voting)), masked)
        assert close(found.votes, accumulate_votes(CpuRasterizer(), splats, masked, IDS))
    assert float(found.votes.seen.sum()) < 0.6 * float(carried(red_classifier()).votes.seen.sum())


def test_each_view_is_reported():
    said: list[tuple[int, int]] = []
    splats, _, painted = scene()
    views: Any = painted[:3]
    transfer(CpuRasterizer(), splats, views, red_classifier(), progress=lambda done, all: said.append((done, all)))
    assert said == [(1, 3), (2, 3), (3, 3)]


def test_what_looks_like_no_example_is_an_error():
    strange = [replace(view, labels=torch.full_like(view.labels, -1)) for view in scene()[2]]
    for voting in ("shares", "labels", "robust"):
        config = replace(EXACT, knn=Knn(1, least_similarity=0.5), voting=voting)
        with pytest.raises(NothingKnownError, match="no pixel of the views looks like the examples"):
            carried(red_classifier(config), strange)
        # One that does is enough.
        labels = strange[0].labels.clone()
        labels[HEIGHT // 2, WIDTH // 2] = 1
        known = carried(red_classifier(config), [replace(strange[0], labels=labels), *strange[1:]])
        assert known.labels.ids.unique().tolist() == [-1, 1]


# Restricted to some Gaussians


def test_within_some_gaussians_all_others_are_of_no_class():
    _, truth, _ = scene()
    within = (truth == 1) | (truth == 3)
    found, whole = carried(red_classifier(), within=within), carried(red_classifier())
    assert set(found.labels.ids[~within].tolist()) == {0}
    assert set(found.labels.ids[within].tolist()) == {-1, 0, 1, 3}
    # In the middle of the balls nothing else plays a part.
    clear = within & (whole.labels.margin > 0.9) & (whole.votes.seen > 1.0)
    assert int(clear.sum()) > 100 and torch.equal(found.labels.ids[clear], whole.labels.ids[clear])


def test_pixels_count_by_how_much_they_show_of_the_chosen():
    splats, truth, views = scene()
    within = truth == 2
    found = carried(red_classifier(), within=within)
    engine, expected = CpuRasterizer(), torch.zeros(len(splats), len(IDS))
    for view in views:
        shares = (view.labels[..., None] == ids(*IDS)) * render_share(engine, splats, view.camera, within)[..., None]
        expected += engine.lift(splats, view.camera, shares)
    assert torch.allclose(found.votes.dense().float(), expected, rtol=1e-5, atol=1e-6)


def test_within_everything_is_everywhere_that_something_is():
    splats, _, _ = scene()
    everything = torch.ones(len(splats), dtype=torch.bool)
    found, whole = carried(red_classifier(), within=everything), carried(red_classifier())
    sure = whole.labels.margin > 0.2
    assert torch.equal(found.labels.ids[sure], whole.labels.ids[sure])
    assert bool((found.votes.seen <= whole.votes.seen * (1 + 1e-6)).all())


# Bias


@pytest.mark.parametrize("voting", ["shares", "labels"])
def test_with_less_gamma_no_class_loses_gaussians(voting: Any):
    soft = Transfer(Knn(), upsampling="bilinear", voting=voting)
    views = noisy(3)
    before, counts = None, []
    for gamma in (0.6, 0.3, 0.0, -0.3, -0.6):
        found = carried(red_classifier(replace(soft, gamma=gamma)), views)
        assert found.solver == FlashSplat(gamma=gamma)
        labels = found.labels.ids
        counts.append(int((labels > 0).sum()))
        if before is not None and voting == "shares":
            assert torch.equal(labels[before > 0], before[before > 0])
        before = labels
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_robust_puts_right_what_views_disagree_about():
    _, truth, _ = scene()
    views = noisy(5, share=0.15)
    errors = {}
    for voting in ("labels", "robust"):
        found = carried(red_classifier(replace(EXACT, voting=voting)), views)
        seen = found.votes.seen > 0.5
        errors[voting] = float((found.labels.ids[seen] != truth[seen]).float().mean())
    assert 0.0 < errors["robust"] < errors["labels"] < 0.1


# One view


def pixels(*rows: tuple[float, float, float]) -> Tensor:  # [1, W, 3]
    return torch.tensor([rows])


def classifier_of(gamma: float = 0.0) -> Classifier:
    bank = bank_of(torch.eye(3), [0, 4, 6], [0, 4, 6])
    return Classifier(RedFeatures(), bank, Transfer(gamma=gamma))


def test_the_likeliest_class_of_a_pixel_by_hand():
    shares = pixels((0.5, 0.3, 0.2), (0.2, 0.3, 0.5), (0.4, 0.35, 0.25), (0.2, 0.2, 0.09), (0.0, 0.0, 0.5), (0, 0, 0))
    # The fourth is known by less than half.
    assert classifier_of().label_map(shares).tolist() == [[0, 6, 0, IGNORED, 6, IGNORED]]
    # 0.4 - 0.1 is below 0.35; 0.5 - 0.1 is above 0.3.
    assert classifier_of(-0.1).label_map(shares).tolist() == [[0, 6, 4, IGNORED, 6, IGNORED]]
    # 0.2 + 0.6 is above 0.5; what has but 6 and is known by half gets half of it: 0 + 0.3 is below 0.5.
    assert classifier_of(0.6).label_map(shares).tolist() == [[0, 0, 0, IGNORED, 6, IGNORED]]


def test_shares_of_a_picture_are_those_of_its_patches():
    bank, labels = red_classifier().bank, patches([[1, 2], [3, 0]], 6)
    asked = Classifier(RedFeatures(6), bank, EXACT)
    image = example(labels, patch=6).image
    assert torch.equal(asked.shares(image), (labels[..., None] == ids(*IDS)).float())
    assert torch.equal(asked.label_map(asked.shares(image)), labels)
    for how in ("guided", "bilinear"):
        shares = Classifier(RedFeatures(6), bank, replace(EXACT, upsampling=how)).shares(image)
        assert torch.allclose(shares.sum(2), torch.ones(12, 12), atol=1e-6)
        assert not torch.equal(shares, asked.shares(image))


def test_what_is_shown_of_classes_by_hand():
    label_map = torch.tensor([[4, 0, IGNORED, 6, 6, 4]])
    objects = torch.tensor([[0.9, 0.9, 0.9, 0.4, 0.5, 0.51]])
    assert shown_classes(label_map, None).tolist() == [[4, 0, 0, 6, 6, 4]]
    assert shown_classes(label_map, objects).tolist() == [[4, 0, 0, 0, 0, 4]]


# What is an answer of its own


def test_background_is_an_answer_but_within_objects():
    bank = MemoryBank.of(RedFeatures(), [example(patches([[0, 1, 2]]))])
    with_it, without = bank.shares.tolist(), bank.without_background().shares.tolist()
    assert with_it != without
    for background, within, expected in (
        (None, False, with_it),
        (None, True, without),
        (True, True, with_it),
        (True, False, with_it),
        (False, True, without),
        (False, False, without),
    ):
        assert chosen_classes(bank, background, within).shares.tolist() == expected, (background, within)
    # With one class there would be nothing left to decide.
    single = MemoryBank.of(RedFeatures(), [example(patches([[0, 1, 1]]))])
    assert chosen_classes(single, None, True) is single and len(chosen_classes(single, False, True)) == 2


@pytest.mark.parametrize("gamma", [-1.01, 1.01, float("nan")])
def test_a_gamma_that_is_none(gamma: float):
    with pytest.raises(ValueError, match="gamma is a number from -1 to 1, got"):
        Transfer(gamma=gamma)


# Features that are kept


def test_cached_features_are_read_ahead_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ahead: list[int] = []
    original = CachedFeatures.prefetch

    @contextmanager
    def noted(self: CachedFeatures, images: Iterable[Tensor]) -> Iterator[None]:
        pictures = list(images)
        ahead.append(len(pictures))
        with original(self, pictures):
            yield

    monkeypatch.setattr(CachedFeatures, "prefetch", noted)
    bare = red_classifier()
    cached = Classifier(CachedFeatures(RedFeatures(1), tmp_path), bare.bank, EXACT)
    found, expected = carried(cached), carried(bare)
    assert ahead == [len(scene()[2])]
    assert torch.equal(found.votes.mass, expected.votes.mass) and torch.equal(found.labels.ids, expected.labels.ids)


def test_unknown_patches_have_no_say_beside_known_ones():
    """A picture of which half is unknown: each pixel has as much of a say as it is known."""
    bank, image = random_bank(20, 1), torch.zeros(20, 28, 3, dtype=torch.uint8)

    class Fixed:
        name = "fixed"

        def __call__(self, image: Tensor) -> Tensor:
            return random_queries(2)

    config = Transfer(Knn(least_similarity=0.7), upsampling="bilinear")
    shares = Classifier(Fixed(), bank, config).shares(image)
    known = (bank.classify(random_queries(2), config.knn).sum(2) > 0.5).float()
    between = torch.nn.functional.interpolate(known[None, None], (20, 28), mode="bilinear")[0, 0]
    assert torch.allclose(shares.sum(2), between, atol=1e-5) and 0.1 < float(known.mean()) < 0.9
    decided = Classifier(Fixed(), bank, config).label_map(shares)
    assert torch.equal(decided == IGNORED, shares.sum(2) < 0.5)


def test_cameras_may_differ_in_size():
    splats, _, views = scene()
    small: Camera = ring_of_cameras(6, 24, 18)[1]
    labels = render_label_map(CpuRasterizer(), splats, small, Labels(scene()[1], torch.ones(len(splats))), ids(1, 2, 3))
    mixed = [views[0], PaintedView(small, labels)]
    assert close(carried(red_classifier(), mixed).votes, accumulate_votes(CpuRasterizer(), splats, mixed, IDS))
