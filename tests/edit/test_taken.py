"""What leaves the scene with an object."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from splatseg_ns.demo.scene import balls_on_a_table, ring_of_cameras
from splatseg_ns.edit import Take, Taken, taken_with
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import EditingSession, SceneObject, Segmentation
from tests.edit.test_extract import splats_and_document

BALL, OTHER_BALL, NEVER_SEEN = 1, 2, -1
HIDDEN = 40
CAMERAS = ring_of_cameras(12, 96, 72)
ENGINE = rasterizer_for("cpu")
MAGENTA = torch.tensor([1.0, 0.0, 1.0])


def ball_that_hides_something(label: int = 0) -> tuple[Splats, Segmentation, Tensor]:
    """Balls on a table with a magenta blob, labelled so, inside the first one; and which Gaussians are the blob's."""
    splats, truth = balls_on_a_table()
    ball = truth == BALL
    middle = splats.means[ball].mean(dim=0)
    blob = splats.subset(ball.nonzero().flatten()[:HIDDEN])
    constant = ((MAGENTA - 0.5) / 0.28209479).expand(HIDDEN, 1, 3)
    blob = replace(blob, means=middle + 0.3 * (blob.means - middle), sh=constant)
    tensors = {name: torch.cat([part, getattr(blob, name)]) for name, part in splats.tensors().items()}
    labels = torch.cat([truth, torch.full((HIDDEN,), label)])
    objects = [SceneObject.new(id, f"ball {id}") for id in (1, 2, 3)]
    both = replace(splats, **tensors)
    is_blob = torch.arange(len(labels)) >= len(truth)
    return both, Segmentation.of(both, labels, objects), is_blob


def rows_of(taken: Taken) -> dict[str, list[int]]:
    return {field.name: getattr(taken, field.name).nonzero().flatten().tolist() for field in fields(taken)}


def magenta(splats: Splats) -> float:
    """The most of any pixel."""
    pictures = [ENGINE.render(splats, camera).colors for camera in CAMERAS]
    return max(float((picture[..., [0, 2]].amin(dim=-1) - picture[..., 1]).max()) for picture in pictures)


def away_from(object: int, splats: Splats, document: Segmentation, changed: Splats) -> float:
    """The mean difference of pixels that show nothing of the object."""
    differences = []
    for camera in CAMERAS:
        members = (document.labels == object).float()[:, None]
        elsewhere = ENGINE.render(splats, camera, features=members).colors[..., 0] < 0.01
        before, after = (ENGINE.render(each, camera).colors[elsewhere] for each in (splats, changed))
        differences.append((before - after).abs().mean())
    return float(torch.stack(differences).mean())


@pytest.mark.parametrize(("gamma", "leaning"), [(0.0, []), (-0.2, [3]), ("auto", [3]), (-1.0, [3]), (1.0, [])])
def test_what_leans_to_an_object_goes_with_it(gamma: float, leaning: list[int]):
    splats, document = splats_and_document()
    # The shares for the cup are .9, .1 (it is the pot's), .524, .476 (the background's), 0, .417 and none.
    rows = rows_of(taken_with(document, splats, [1], Take(gamma=gamma)))
    assert rows["own"] == [0, 2, 5] and rows["leaning"] == leaning
    assert rows["unknown"] == rows["around"] == []


def test_what_somebody_has_taken_from_an_object_stays():
    splats, document = splats_and_document()
    session = EditingSession(document, splats)
    session.subtract("cup", torch.arange(7) == 2)
    rows = rows_of(taken_with(session.document, splats, [1], Take(gamma=-1.0)))
    assert rows["own"] == [0, 5] and rows["leaning"] == [3]


def test_without_votes_nothing_leans():
    splats, document = splats_and_document()
    taken = taken_with(document.with_votes(None), splats, [1], Take(gamma=-1.0))
    assert rows_of(taken)["own"] == [0, 2, 5] and not bool(taken.leaning.any())


def test_what_only_the_object_hid_goes_with_it():
    splats, document, blob = ball_that_hides_something()
    assert magenta(splats) < 0.3
    assert magenta(splats.subset(document.labels != BALL)) > 0.5
    taken = taken_with(document, splats, [BALL], rasterizer=ENGINE, cameras=CAMERAS)
    assert bool((taken.unknown & blob).sum() >= 0.9 * HIDDEN)
    assert magenta(splats.subset(~taken.rows)) < 0.1
    assert torch.equal(taken.own, document.labels == BALL)
    assert away_from(BALL, splats, document, splats.subset(~taken.rows)) < 0.01


def test_other_objects_stay():
    splats, document, blob = ball_that_hides_something(label=OTHER_BALL)
    taken = taken_with(document, splats, [BALL], Take(grow=3), rasterizer=ENGINE, cameras=CAMERAS)
    assert not bool((taken.rows & (document.labels == OTHER_BALL)).any()) and bool(blob.any())


def test_what_nobody_has_seen_goes_if_it_lies_inside():
    splats, document, blob = ball_that_hides_something(label=NEVER_SEEN)
    labels = document.labels.clone()
    outside = (labels == 0).nonzero().flatten()[:20]
    labels[outside] = NEVER_SEEN
    taken = taken_with(replace(document, labels=labels), splats, [BALL])
    assert torch.equal(taken.inside, blob)
    taken = taken_with(replace(document, labels=labels), splats, [OTHER_BALL])
    assert not bool(taken.inside.any())


@pytest.mark.parametrize("size", [1, 4, 30])
def test_what_is_flat_or_tiny_has_nothing_inside(size: int):
    splats, document, _ = ball_that_hides_something(label=NEVER_SEEN)
    table = (document.labels == 0).nonzero().flatten()[:size]
    labels = document.labels.clone()
    labels[table] = 3
    only_these = torch.where((document.labels == 3) & (labels == 3), 0, labels)
    taken = taken_with(replace(document, labels=only_these), splats, [3])
    assert int(taken.own.sum()) == size and not bool(taken.inside.any())


def test_growing_takes_more_with_every_step():
    splats, document, _ = ball_that_hides_something()
    around = [taken_with(document, splats, [BALL], Take(grow=steps)).around for steps in range(3)]
    assert not bool(around[0].any()) and bool(around[1].any())
    assert bool((around[2] >= around[1]).all()) and int(around[2].sum()) > int(around[1].sum())
    assert set(document.labels[around[2]].tolist()) == {0}


def test_each_gaussian_is_of_one_kind():
    splats, document, _ = ball_that_hides_something()
    taken = taken_with(document, splats, [BALL], Take(grow=1), rasterizer=ENGINE, cameras=CAMERAS)
    kinds = torch.stack([getattr(taken, field.name) for field in fields(taken)])
    assert int(kinds.sum(dim=0).max()) == 1 and torch.equal(taken.rows, kinds.any(dim=0))
    assert taken.in_words() == (
        f"{int(taken.own.sum())} of the objects, {int(taken.unknown.sum())} that only they hid, "
        f"{int(taken.around.sum())} around them"
    )


def test_an_object_that_no_camera_sees_takes_only_itself():
    splats, document, _ = ball_that_hides_something()
    away = replace(CAMERAS[0], viewmat=torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])) @ CAMERAS[0].viewmat)
    taken = taken_with(document, splats, [BALL], Take(gamma=0.0), rasterizer=ENGINE, cameras=[away])
    assert torch.equal(taken.own, document.labels == BALL) and not bool((taken.leaning | taken.unknown).any())


def test_everything_can_be_taken():
    splats, document, _ = ball_that_hides_something()
    everything = replace(document, labels=torch.full_like(document.labels, BALL))
    assert bool(taken_with(everything, splats, [BALL], rasterizer=ENGINE, cameras=CAMERAS[:2]).rows.all())


def test_progress_ends_where_it_says():
    splats, document, _ = ball_that_hides_something()
    reports: list[tuple[int, int]] = []
    taken_with(
        document,
        splats,
        [BALL],
        rasterizer=ENGINE,
        cameras=CAMERAS[:3],
        progress=lambda done, total: reports.append((done, total)),
    )
    done = [report[0] for report in reports]
    assert done == sorted(done) and reports[-1][0] == reports[-1][1] == max(report[1] for report in reports)


@pytest.mark.parametrize(("wrong", "said"), [({"gamma": 2.0}, "from -1 to 1"), ({"grow": -1}, "0 or more")])
def test_what_makes_no_sense_is_refused(wrong: dict[str, float], said: str):
    with pytest.raises(ValueError, match=said):
        Take(**wrong)  # pyright: ignore[reportArgumentType]
