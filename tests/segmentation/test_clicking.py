"""Objects that clicks found become objects of the document."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import FlashSplat, Votes
from splatseg_ns.segmentation import Provenance, SceneObject, Segmentation, SegmentationStore
from splatseg_ns.segmentation.clicking import CLICKS, earlier_prompts, known_before, owner_of_most, with_found
from splatseg_ns.segmentation.partial import PartialObject
from splatseg_ns.segmentation.prompts import ObjectPrompts, ViewPrompts
from splatseg_ns.segmentation.propagate import FoundObject, Propagate
from tests.lift.examples import votes_of
from tests.segmentation.examples import example_splats

COUNT = 8


def found(name: str, shares: list[float], seen: list[float] | None = None, x: float = 1.0) -> FoundObject:
    """An object that has these shares of eight Gaussians, each seen on two pixels unless told otherwise."""
    mass = torch.tensor([2.0] * COUNT if seen is None else seen)
    prompts = ObjectPrompts(name, (ViewPrompts("view_1", ((x, 2.5),), ((7.0, 7.0),), (0.0, 0.0, 9.0, 9.0)),), "part")
    return FoundObject(prompts, PartialObject(torch.tensor(shares) * mass, mass), (), ())


def empty() -> Segmentation:
    return Segmentation.of(example_splats(COUNT))


def clicked(document: Segmentation, *objects: FoundObject) -> Segmentation:
    return with_found(document, objects, "made-up", Propagate(views=5))


MUG = found("mug", [1.0, 0.9, 0.6, 0.5, 0.1, 0.0, 0.0, 0.0], [2.0] * 7 + [0.0])


def test_a_new_object_in_a_new_document():
    document = clicked(empty(), MUG)
    assert document.names == ["mug"] and document.ids == [1]
    # One half is not more than one half; the last was never seen.
    assert document.labels.tolist() == [1, 1, 1, 0, 0, 0, 0, -1]
    made = document.object("mug").provenance
    assert made.solver == CLICKS and made.parameters == asdict(Propagate(views=5))
    entry, decided_by = document.history
    assert decided_by.operation == "label" and decided_by.parameters["solver"] == "flashsplat"
    assert entry.operation == "click"
    assert entry.parameters["objects"] == ["mug"] and entry.parameters["segmenter"] == "made-up"
    assert entry.parameters["views"] == 5


def test_the_same_name_again_replaces_it_and_gives_back_to_the_background():
    before = clicked(empty(), MUG, found("jug", [0.0] * 6 + [1.0, 1.0]))
    recoloured = before.with_objects(SceneObject(1, "mug", (1, 2, 3), False, before.object("mug").provenance))
    after = clicked(recoloured, found("mug", [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], x=3.0))
    assert after.labels.tolist() == [0, 1, 1, 1, 0, 0, 2, 2]
    # It stays the same object, with other clicks.
    mug = after.object("mug")
    assert (mug.id, mug.color, mug.visible) == (1, (1, 2, 3), False)
    assert earlier_prompts(after, "mug") == found("mug", [0.0] * 8, x=3.0).prompts
    assert after.object("jug") == before.object("jug") and after.next_id == 3
    # What was decided before is untouched.
    assert before.labels.tolist() == [1, 1, 1, 0, 0, 0, 2, 2]


def test_what_was_seen_stays_seen():
    document = clicked(clicked(empty(), MUG), found("mug", [1.0] + [0.0] * 7, [2.0] + [0.0] * 7))
    assert document.labels.tolist() == [1, 0, 0, 0, 0, 0, 0, -1]


def test_neighbours_keep_what_is_more_theirs():
    document = clicked(empty(), MUG)
    # Of the mug's 1, 0.9 and 0.6 the jug has 0.9, 0.95 and 0.8.
    after = clicked(document, found("jug", [0.9, 0.95, 0.8, 0.7, 0.0, 0.0, 0.0, 0.0]))
    assert after.labels.tolist() == [1, 2, 2, 2, 0, 0, 0, 0]


def test_two_objects_at_once_meet_as_one_after_the_other():
    jug = found("jug", [0.9, 0.95, 0.4, 0.7, 0.0, 0.0, 0.0, 1.0])
    at_once, in_turn = clicked(empty(), MUG, jug), clicked(clicked(empty(), MUG), jug)
    assert at_once.labels.tolist() == in_turn.labels.tolist() == [1, 2, 1, 2, 0, 0, 0, 2]
    assert at_once.names == ["mug", "jug"] and at_once.history[0].parameters["objects"] == ["mug", "jug"]


def labelled(votes: Votes | None) -> Segmentation:
    """A document by masks: the first four Gaussians are a table, the last was never seen."""
    labels = torch.tensor([1, 1, 1, 1, 0, 0, 0, -1])
    made = Provenance(({"masks": "folder"},), "robust", {})
    return Segmentation.of(example_splats(COUNT), labels, [SceneObject.new(1, "table", made)], votes)


def test_a_document_without_votes_keeps_none():
    document = clicked(labelled(None), found("mug", [0.9, 0.9, 0.0, 0.0, 0.8, 0.0, 0.0, 0.6]))
    # Nobody knows how much of its Gaussians the table has.
    assert document.labels.tolist() == [2, 2, 1, 1, 2, 0, 0, 2]
    assert document.votes() is None
    assert document.object("table") == labelled(None).object("table")


TABLE = [[0.5, 3.5], [2.0, 8.0], [0.0, 1.0], [1.0, 3.0], [5.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.0, 0.0]]


def test_votes_of_masks_and_clicks_side_by_side():
    document = clicked(labelled(votes_of(TABLE, [0, 1])), found("mug", [0.9, 0.75, 0.0, 0.8, 0.25, 0.9, 0.0, 0.6]))
    # The table has 0.875, 0.8, 1 and 0.75 of its Gaussians.
    assert document.labels.tolist() == [2, 1, 1, 2, 0, 2, 0, 2]
    votes = document.votes()
    assert votes is not None
    assert votes.ids.tolist() == [0, 1, 2]
    assert votes.column(1).tolist() == [row[1] for row in TABLE]
    share = votes.shares_of([2])[:, 0]
    assert share.tolist() == pytest.approx([0.9, 0.75, 0.0, 0.8, 0.25, 0.9, 0.0, 0.6], abs=1e-6)
    # What was counted before stays; the last is seen by the clicks alone.
    assert votes.seen.tolist() == [4.0, 10.0, 1.0, 4.0, 5.0, 3.0, 1.0, 2.0]


def decided(document: Segmentation) -> Tensor:
    votes = document.votes()
    assert votes is not None
    return FlashSplat().decide(votes).ids


def test_a_solver_that_decides_by_the_votes_of_clicks_gives_the_same_object():
    document = clicked(empty(), MUG)
    assert torch.equal(decided(document), document.labels)


def test_a_solver_gives_the_same_objects_where_they_do_not_meet():
    document = clicked(empty(), MUG, found("jug", [0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.7, 0.9]))
    assert torch.equal(decided(document), document.labels)


def test_a_solver_gives_the_same_objects_beside_those_of_masks():
    document = clicked(labelled(votes_of(TABLE, [0, 1])), found("mug", [0.0, 0.0, 0.0, 0.0, 0.9, 0.8, 0.0, 0.0]))
    assert document.labels.tolist() == [1, 1, 1, 1, 2, 2, 0, 0]
    assert torch.equal(decided(document), document.labels)


def test_the_store_gives_everything_back(tmp_path: Path):
    document = clicked(clicked(empty(), MUG), found("jug", [0.0] * 4 + [1.0] * 4))
    SegmentationStore(tmp_path).save(document)
    again = SegmentationStore(tmp_path).load(example_splats(COUNT))
    assert again.objects == document.objects and again.history == document.history
    assert torch.equal(again.labels, document.labels)
    assert earlier_prompts(again, "mug") == MUG.prompts
    votes, saved = document.votes(), again.votes()
    assert votes is not None and saved is not None
    assert all(torch.equal(getattr(votes, name), getattr(saved, name)) for name in vars(votes))
    # And it can be gone on with.
    assert clicked(again, found("mug", [0.0] * 8)).labels.tolist() == [0, 0, 0, 0, 2, 2, 2, 2]


def test_earlier_clicks():
    document = clicked(labelled(None), MUG)
    assert earlier_prompts(document, "cup") is None
    assert earlier_prompts(document, "mug") == MUG.prompts
    with pytest.raises(ValueError, match="an object 'table' that was not made by clicks"):
        earlier_prompts(document, "table")


def test_what_earlier_clicks_have_told():
    document = clicked(empty(), MUG, found("jug", [0.0] * 4 + [1.0] * 4))
    known = known_before(document, "mug", torch.device("cpu"))
    assert known is not None
    assert known.share.tolist() == pytest.approx([1.0, 0.9, 0.6, 0.5, 0.1, 0.0, 0.0, 0.0], abs=1e-6)
    assert known.seen.tolist() == [2.0] * COUNT
    assert known_before(document, "cup", torch.device("cpu")) is None


def test_without_votes_earlier_clicks_have_told_the_labels():
    document = clicked(labelled(None), found("mug", [0.9, 0.9, 0.0, 0.0, 0.8, 0.0, 0.0, 0.6]))
    known = known_before(document, "mug", torch.device("cpu"))
    assert known is not None and torch.equal(known.rows, document.rows("mug"))


def test_what_belongs_to_another_object_already():
    half, most = found("half", [0.6, 0.6, 0.0, 0.0, 0.6, 0.6, 0.0, 0.0]), found("most", [0.6] * 5 + [0.0] * 3)
    document = clicked(labelled(votes_of(TABLE, [0, 1])), half, most)
    # The table keeps two of the four and four of the five.
    assert owner_of_most(document, half) is None
    assert owner_of_most(document, most) == "table"
    assert owner_of_most(clicked(empty(), most), most) is None
