from __future__ import annotations

import numpy as np
import pytest
import torch

from splatseg_ns.segmentation import Neighbourhood, Provenance, SceneObject, Segmentation, operations
from tests.segmentation.examples import example_document, example_splats, state

SPLATS = example_splats()
DOCUMENT = example_document(SPLATS)
BESIDE = Neighbourhood(SPLATS.means, count=3)
HALF = torch.arange(60) % 2 == 0


def test_a_hand_computed_document():
    splats = example_splats(6)
    objects = [SceneObject.new(1, "a"), SceneObject.new(2, "b")]
    document = Segmentation.of(splats, torch.tensor([-1, 0, 1, 1, 2, 2]), objects)
    some = torch.tensor([True, False, True, False, True, False])
    assert operations.add(document, "a", some).labels.tolist() == [1, 0, 1, 1, 1, 2]
    assert operations.add(document, "a", "b").labels.tolist() == [-1, 0, 1, 1, 1, 1]
    assert operations.subtract(document, "a", some).labels.tolist() == [-1, 0, 0, 1, 2, 2]
    assert operations.intersect(document, "a", some).labels.tolist() == [-1, 0, 1, 0, 2, 2]
    assert operations.intersect(document, "a", "b").labels.tolist() == [-1, 0, 0, 0, 2, 2]
    assert operations.merge(document, "b", ["a"]).labels.tolist() == [-1, 0, 2, 2, 2, 2]
    assert operations.delete(document, ["b"]).labels.tolist() == [-1, 0, 1, 1, 0, 0]
    created = operations.create(document, "c", some)
    assert created.labels.tolist() == [3, 0, 3, 1, 3, 2]
    assert created.names == ["a", "b", "c"]
    assert document.labels.tolist() == [-1, 0, 1, 1, 2, 2]


def test_objects_without_gaussians_stay():
    emptied = operations.subtract(DOCUMENT, "cup", torch.ones(60, dtype=torch.bool))
    assert emptied.names == DOCUMENT.names and emptied.counts()[2] == 0
    assert operations.add(DOCUMENT, "bear", "cup").counts()[2] == 0


def test_subtract_and_intersect_share_an_object_out():
    outside, inside = operations.subtract(DOCUMENT, 1, HALF), operations.intersect(DOCUMENT, 1, HALF)
    assert not (outside.rows(1) & inside.rows(1)).any()
    assert torch.equal(outside.rows(1) | inside.rows(1), DOCUMENT.rows(1))


def test_merging_is_the_same_in_any_order_and_at_once():
    one_by_one = operations.merge(operations.merge(DOCUMENT, 1, [2]), 1, [5])
    other_order = operations.merge(operations.merge(DOCUMENT, 1, [5]), 1, [2])
    assert state(one_by_one) == state(other_order) == state(operations.merge(DOCUMENT, 1, [5, 2]))
    assert one_by_one.ids == [1]
    assert torch.equal(one_by_one.rows(1), DOCUMENT.labels > 0)


def test_merging_and_adding_give_an_object_the_same_gaussians():
    merged, added = operations.merge(DOCUMENT, 1, [2]), operations.add(DOCUMENT, 1, 2)
    assert torch.equal(merged.labels, added.labels)
    assert state(operations.delete(added, [2])) == state(merged)


def test_ids_of_deleted_objects_are_not_given_again():
    emptied = operations.delete(DOCUMENT, ["knife", "bear"])
    assert emptied.ids == [2]
    assert operations.create(emptied, "new").ids == [2, 6]


def test_a_created_object_knows_how_it_came_about():
    made = Provenance(({"click": [1, 2]},), "flashsplat")
    assert operations.create(DOCUMENT, "new", HALF, made).object("new").provenance == made


def test_changes_of_appearance():
    changed = operations.recolor(operations.rename(DOCUMENT, "cup", "mug"), 2, (1, 2, 3))
    changed = operations.set_visible(changed, [1, "mug"], False)
    assert [(entry.name, entry.visible) for entry in changed.objects] == [
        ("bear", False),
        ("mug", False),
        ("knife", True),
    ]
    assert changed.object("mug").color == (1, 2, 3)
    assert torch.equal(changed.labels, DOCUMENT.labels)


def shown(document: Segmentation) -> tuple[bool, ...]:
    """The background first, then the bear, the cup and the knife."""
    return document.background_visible, *(entry.visible for entry in document.objects)


def test_0_stands_for_the_background():
    hidden = operations.set_visible(DOCUMENT, [0, "cup"], False)
    assert shown(hidden) == (False, True, False, True)
    assert shown(operations.set_visible(hidden, ["cup"], True)) == (False, True, True, True)
    assert shown(operations.set_visible(hidden, [0], True)) == (True, True, False, True)
    assert torch.equal(hidden.labels, DOCUMENT.labels)
    for operation in (operations.delete, lambda document, refs: operations.merge(document, 1, refs)):
        with pytest.raises(LookupError, match="no object 0"):
            operation(DOCUMENT, [0])


def test_showing_some_alone():
    some = operations.set_visible(DOCUMENT, ["bear"], False)
    assert shown(operations.show_only(some, [1, "knife"])) == (False, True, False, True)
    assert shown(operations.show_only(some, [0])) == (True, False, False, False)
    assert shown(operations.show_only(some, [])) == (False, False, False, False)
    assert shown(operations.show_only(operations.show_only(some, [2]), [0, 1, 2, 5])) == (True,) * 4
    with pytest.raises(LookupError, match="no object 'spoon'"):
        operations.show_only(some, ["spoon"])


@pytest.mark.parametrize("background", [True, False])
def test_inverting_leaves_the_background_as_it_is(background: bool):
    some = operations.set_visible(operations.set_visible(DOCUMENT, ["bear"], False), [0], background)
    inverted = operations.invert_visible(some)
    assert shown(inverted) == (background, True, False, False)
    assert state(operations.invert_visible(inverted)) == state(some)


def test_growing_takes_from_others_only_if_told_so():
    grown = operations.grow(DOCUMENT, 1, BESIDE)
    assert torch.equal(grown.rows(1), DOCUMENT.rows(1) | (BESIDE.grown(DOCUMENT.rows(1)) & (DOCUMENT.labels < 1)))
    assert torch.equal(grown.rows(2), DOCUMENT.rows(2))
    taking = operations.grow(DOCUMENT, 1, BESIDE, from_objects=True)
    assert torch.equal(taking.rows(1), BESIDE.grown(DOCUMENT.rows(1)))


def test_steps_are_repetitions():
    twice = operations.grow(operations.grow(DOCUMENT, 1, BESIDE), 1, BESIDE)
    assert torch.equal(operations.grow(DOCUMENT, 1, BESIDE, steps=2).labels, twice.labels)
    large = operations.intersect(operations.merge(DOCUMENT, 1, [2, 5]), 1, SPLATS.means[:, 0] > -0.5)
    twice = operations.shrink(operations.shrink(large, 1, BESIDE), 1, BESIDE)
    assert torch.equal(operations.shrink(large, 1, BESIDE, steps=2).labels, twice.labels)


def test_the_largest_component_is_one():
    once = operations.largest_component(DOCUMENT, 1, BESIDE)
    assert state(operations.largest_component(once, 1, BESIDE)) == state(once)
    assert not (once.rows(1) & ~DOCUMENT.rows(1)).any()


def test_selections_are_masks_or_objects():
    numpy_mask = HALF.numpy()
    assert state(operations.add(DOCUMENT, 1, numpy_mask)) == state(operations.add(DOCUMENT, 1, HALF))
    for wrong in (HALF.int(), HALF[:5], np.zeros((60, 1), bool)):
        with pytest.raises(ValueError, match=r"a selection is an object or an \[60\] mask of bools"):
            operations.add(DOCUMENT, 1, wrong)


def test_what_cannot_be_done():
    with pytest.raises(LookupError, match="no object 'spoon'"):
        operations.add(DOCUMENT, "bear", "spoon")
    with pytest.raises(LookupError, match="no object 3"):
        operations.delete(DOCUMENT, [1, 3])
    with pytest.raises(ValueError, match="two objects have the name 'cup'"):
        operations.rename(DOCUMENT, "bear", "cup")
    with pytest.raises(ValueError, match="two objects have the name 'cup'"):
        operations.create(DOCUMENT, "cup")
    with pytest.raises(ValueError, match="object 'cup' cannot be merged with itself"):
        operations.merge(DOCUMENT, 2, ["bear", "cup"])
    for operation in (operations.grow, operations.shrink):
        with pytest.raises(ValueError, match="by at least one step, got 0"):
            operation(DOCUMENT, 1, BESIDE, 0)
