"""Classes on objects, made parts: by hand with a few Gaussians, and the laws that hold for any."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import FlashSplat, Votes
from splatseg_ns.masks import LabelName
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import EditingSession, Provenance, SceneObject, Segmentation, SegmentationStore
from splatseg_ns.segmentation.parts import kinds_of, owners_of, parts_of_classes
from splatseg_ns.segmentation.transfer import Transferred
from tests.lift.examples import votes_of
from tests.raster.scenes import generator
from tests.segmentation.examples import example_splats, state

CLASSES = {4: LabelName(4, "handle", (1, 2, 3)), 6: LabelName(6, "blade", (4, 5, 6))}
MADE = Provenance(({"examples": "pictures"},), "flashsplat", {"gamma": 0.0})


def transferred(votes: Votes, gamma: float = 0.0) -> Transferred:
    solver = FlashSplat(gamma)
    return Transferred(solver.decide(votes), votes, solver)


def classed(*ids: int) -> Transferred:
    """What was decided, with votes that say so clearly; -1 has none."""
    columns = [0, *CLASSES]
    return transferred(votes_of([[float(id == column) for column in columns] for id in ids], columns))


def objects_with(splats: Splats, *labels: int) -> Segmentation:
    names = {1: "knife", 2: "spoon", 3: "cup"}
    return Segmentation.of(splats, torch.tensor(labels), [SceneObject.new(id, names[id]) for id in names])


def random_case(seed: int, gamma: float = 0.0, count: int = 300) -> tuple[Splats, Segmentation, Transferred]:
    """Objects, and votes of classes that know nothing of them; some Gaussians are in none, some unseen."""
    random, splats = generator(seed), example_splats(count)
    labels = torch.randint(-1, 4, (count,), generator=random)
    matrix = torch.rand(count, 3, generator=random) * (torch.rand(count, 3, generator=random) < 0.7)
    votes = votes_of(matrix.tolist(), [0, *CLASSES])
    return splats, objects_with(splats, *labels.tolist()), transferred(votes, gamma)


def made(splats: Splats, objects: Segmentation | None, found: Transferred, least: int = 1) -> Segmentation:
    return parts_of_classes(splats, objects, found, CLASSES, MADE, least)


def test_each_class_on_each_object_is_a_part():
    """Knife: handle, blade, blade. Spoon: handle, none. No object, or never seen by one: handle, blade, unseen."""
    splats = example_splats(8)
    objects = objects_with(splats, 1, 1, 1, 2, 2, 0, -1, 0)
    parts = made(splats, objects, classed(4, 6, 6, 4, 0, 4, 6, -1))
    # In the order of the objects, those in none first, then of the classes.
    assert [(part.id, part.name, part.kind) for part in parts.objects] == [
        (1, "handle", "handle"),
        (2, "blade", "blade"),
        (3, "knife handle", "handle"),
        (4, "knife blade", "blade"),
        (5, "spoon handle", "handle"),
    ]
    assert parts.labels.tolist() == [3, 4, 4, 5, 0, 1, 2, -1]
    assert [part.color for part in parts.objects] == [(1, 2, 3), (4, 5, 6), (1, 2, 3), (4, 5, 6), (1, 2, 3)]
    assert all(part.provenance == MADE and part.visible for part in parts.objects)
    parts.check_splats(splats)


def test_without_objects_each_class_is_a_part():
    splats = example_splats(5)
    parts = made(splats, None, classed(6, 4, 0, -1, 6))
    assert [(part.id, part.name, part.kind) for part in parts.objects] == [
        (1, "handle", "handle"),
        (2, "blade", "blade"),
    ]
    assert parts.labels.tolist() == [2, 1, 0, -1, 2]


def test_parts_with_too_few_gaussians_are_left_out():
    splats = example_splats(6)
    objects = objects_with(splats, 1, 1, 1, 2, 2, 3)
    found = classed(4, 4, 4, 4, 4, 6)
    counts = {least: made(splats, objects, found, least).counts() for least in (1, 2, 3, 4)}
    assert counts == {1: {1: 3, 2: 2, 3: 1}, 2: {1: 3, 2: 2}, 3: {1: 3}, 4: {}}
    parts = made(splats, objects, found, 3)
    assert parts.names == ["knife handle"] and parts.labels.tolist() == [1, 1, 1, 0, 0, 0]
    votes = parts.votes()
    assert votes is not None and votes.ids[votes.ids > 0].tolist() == [1]
    # What voted for those that were left out counts as background.
    assert votes.background().tolist() == [0, 0, 0, 1, 1, 1]


def test_names_are_unique():
    splats = example_splats(3)
    objects = Segmentation.of(
        splats, torch.tensor([1, 2, 0]), [SceneObject.new(1, "knife"), SceneObject.new(2, "knife handle")]
    )
    classes = {4: LabelName(4, "handle", (1, 2, 3)), 6: LabelName(6, "knife handle", (4, 5, 6))}
    same = {4: LabelName(4, "handle", (1, 2, 3)), 6: LabelName(6, "handle", (4, 5, 6))}
    parts = parts_of_classes(splats, objects, classed(4, 6, 6), classes, MADE)
    # Of what is in no object, of the knife, and of the object that is called knife handle.
    assert parts.names == ["knife handle", "knife handle 2", "knife handle knife handle"]
    both = parts_of_classes(splats, None, classed(4, 6, 6), same, MADE)
    assert both.names == ["handle", "handle 2"]
    assert kinds_of(both) == {"handle": [1, 2]}


def test_votes_come_along_for_the_part_of_their_object():
    """Three Gaussians of the knife, one of nothing; masses for none, handle and blade."""
    splats = example_splats(4)
    votes = votes_of([[1, 3, 2], [1, 2, 4], [9, 1, 0], [0, 5, 1]], [0, *CLASSES], seen=[6, 7, 12, 6])
    parts = made(splats, objects_with(splats, 1, 1, 1, 0), transferred(votes))
    assert parts.names == ["handle", "knife handle", "knife blade"]
    found = parts.votes()
    assert found is not None and found.ids.tolist() == [0, 1, 2, 3]
    # The last one's vote for a blade is for nothing that there is, and says nothing: no blade is in no object.
    assert found.dense().tolist() == [[1, 0, 3, 2], [1, 0, 2, 4], [9, 0, 1, 0], [0, 5, 0, 0]]
    assert found.seen.tolist() == [6, 7, 12, 5]


@pytest.mark.parametrize("gamma", [0.0, -0.2, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_the_votes_decide_what_was_decided(seed: int, gamma: float):
    splats, objects, found = random_case(seed, gamma)
    for owners in (objects, None):
        parts = made(splats, owners, found)
        votes = parts.votes()
        assert votes is not None and len(parts.objects) == (8 if owners is not None else 2)
        assert torch.equal(FlashSplat(gamma).decide(votes).ids, parts.labels)


def test_the_votes_decide_what_was_decided_although_parts_were_left_out():
    """Of the knife the blade wins with 4 to 3 to 3; that there is no handle of it should not make it background."""
    splats = example_splats(3)
    votes = votes_of([[3, 3, 4], [3, 3, 4], [0, 9, 1]], [0, *CLASSES])
    parts = made(splats, objects_with(splats, 1, 1, 2), transferred(votes), least=2)
    found = parts.votes()
    assert found is not None and parts.names == ["knife blade"] and parts.labels.tolist() == [1, 1, 0]
    assert torch.equal(FlashSplat().decide(found).ids, parts.labels)


@pytest.mark.parametrize("seed", range(3))
def test_each_gaussian_has_its_class_and_its_object(seed: int):
    splats, objects, found = random_case(seed)
    parts = made(splats, objects, found)
    ids = found.labels.ids
    assert torch.equal(parts.labels.clamp_max(0), ids.clamp_max(0))
    for part in parts.objects:
        rows = parts.rows(part.id)
        (kind,) = {CLASSES[id].name for id in ids[rows].tolist()}
        (owner,) = set(objects.labels[rows].clamp_min(0).tolist())
        assert kind == part.kind
        assert part.name == (f"{objects.object(owner).name} {kind}" if owner else kind)
    assert sum(parts.counts().values()) == int((ids > 0).sum())


def test_objects_stay_as_they_are():
    splats, objects, found = random_case(4)
    before = state(objects), found.labels.ids.clone()
    made(splats, objects, found)
    assert state(objects) == before[0] and torch.equal(found.labels.ids, before[1])


# To which object a part belongs


def test_owners_are_those_of_most_gaussians():
    splats = example_splats(6)
    objects = objects_with(splats, 1, 1, 2, 0, 0, 0)
    labels = torch.tensor([1, 1, 1, 2, 2, 0])
    parts = Segmentation.of(splats, labels, [SceneObject.new(id, f"part {id}") for id in (1, 2, 3)])
    knife = objects.object("knife")
    # A part without Gaussians is nobody's, as is one of what is in no object.
    assert owners_of(parts, objects) == {1: knife, 2: None, 3: None}


def test_owners_are_found_anew_after_the_objects_were_edited():
    splats = example_splats(6)
    objects = objects_with(splats, 1, 1, 1, 2, 2, 0)
    parts = made(splats, objects, classed(4, 6, 6, 4, 4, 4))
    owners = {
        part.name: owner and owner.name for part in parts.objects if (owner := owners_of(parts, objects)[part.id])
    }
    assert owners == {"knife handle": "knife", "knife blade": "knife", "spoon handle": "spoon"}
    session = EditingSession(objects, splats)
    session.rename("knife", "dagger")
    session.delete("spoon")
    found = [owner and owner.name for owner in owners_of(parts, session.document).values()]
    assert found == [None, "dagger", "dagger", None]
    # Labelled again, with the same Gaussians under other ids.
    again = objects_with(splats, 3, 3, 3, 1, 1, 2)
    assert [owner and owner.name for owner in owners_of(parts, again).values()] == ["spoon", "cup", "cup", "knife"]
    # Never seen is in no object.
    assert set(owners_of(parts, Segmentation.of(splats)).values()) == {None}


def test_kinds_are_those_of_parts_or_else_their_names():
    splats = example_splats(6)
    parts = made(splats, objects_with(splats, 1, 1, 2, 2, 0, 0), classed(4, 6, 4, 4, 6, 0))
    assert kinds_of(parts) == {"blade": [1, 3], "handle": [2, 4]}
    session = EditingSession(parts, splats)
    session.rename(2, "grip")
    # Its kind is what it is on any object, whatever it is called.
    assert kinds_of(session.document) == {"blade": [1, 3], "handle": [2, 4]}
    # A part made by hand has none.
    session.create("rim", torch.arange(6) == 5)
    assert kinds_of(session.document) == {"blade": [1, 3], "handle": [2, 4], "rim": [5]}
    assert kinds_of(Segmentation.of(splats)) == {}


def test_merged_parts_are_of_the_kind_of_the_one_that_they_become(tmp_path: Path):
    splats = example_splats(6)
    parts = made(splats, objects_with(splats, 1, 1, 2, 2, 0, 0), classed(4, 6, 4, 4, 6, 0))
    session = EditingSession(parts, splats)
    session.merge("knife handle", "spoon handle")
    assert kinds_of(session.document) == {"blade": [1, 3], "handle": [2]}
    store = SegmentationStore(tmp_path).parts
    store.save(session.document)
    assert state(store.load(splats)) == state(session.document)


def labels_after(parts: Segmentation, gamma: float) -> Tensor:
    votes = parts.votes()
    assert votes is not None
    return FlashSplat(gamma).decide(votes).ids


def test_a_lower_gamma_takes_nothing_from_parts():
    splats, objects, found = random_case(5)
    parts = made(splats, objects, found)
    labels = [labels_after(parts, gamma) for gamma in (0.8, 0.4, 0.0, -0.4, -0.8)]
    for stricter, looser in pairwise(labels):
        kept = stricter > 0
        assert torch.equal(looser[kept], stricter[kept])
    assert int((labels[0] > 0).sum()) < int((labels[2] > 0).sum()) < int((labels[-1] > 0).sum())
