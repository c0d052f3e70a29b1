from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import EditingSession, HistoryEntry, SceneObject, Segmentation, SegmentationStore
from tests.segmentation.examples import example_document, example_splats, example_votes, state

FAR = 59


def splats_with_a_far_one() -> Splats:
    splats = example_splats()
    means = splats.means.clone()
    means[FAR] = 50.0
    return replace(splats, means=means)


SPLATS = splats_with_a_far_one()
DOCUMENT = example_document(SPLATS)
HALF = torch.arange(60) % 2 == 0

Operation = Callable[[EditingSession], int]

OPERATIONS: dict[str, Operation] = {
    "create": lambda session: session.create("spoon", HALF),
    "add": lambda session: session.add("bear", HALF),
    "subtract": lambda session: session.subtract("bear", HALF),
    "intersect": lambda session: session.intersect("bear", "cup"),
    "rename": lambda session: session.rename("bear", "teddy"),
    "recolor": lambda session: session.recolor("bear", (1, 2, 3)),
    "hide": lambda session: session.hide("bear", "cup"),
    "show only": lambda session: session.show_only("bear"),
    "invert visible": lambda session: session.invert_visible(),
    "delete": lambda session: session.delete("bear", 5),
    "merge": lambda session: session.merge("bear", "cup", "knife"),
    "grow": lambda session: session.grow("bear"),
    "shrink": lambda session: session.shrink("bear"),
    "largest component": lambda session: session.largest_component("bear"),
}


def scattered() -> Segmentation:
    """The bear in one place, but for the far Gaussian."""
    order = SPLATS.means[:, 0].argsort()
    labels = torch.zeros(60, dtype=torch.int64)
    labels[order[:20]], labels[order[40:45]], labels[order[45]], labels[FAR] = 1, 2, -1, 1
    return replace(DOCUMENT, labels=labels)


def session_of(document: Segmentation = DOCUMENT) -> EditingSession:
    return EditingSession(document, SPLATS)


def assert_partition(document: Segmentation) -> None:
    assert len(document) == len(SPLATS)
    assert set(document.labels.tolist()) <= {-1, 0, *document.ids}
    assert sum(document.counts().values()) + int((document.labels < 1).sum()) == len(SPLATS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_undo_and_redo_are_exact(name: str):
    session = session_of(scattered())
    before = state(session.document)
    count = OPERATIONS[name](session)
    after = state(session.document)
    assert after != before
    assert count == int((session.document.labels != scattered().labels).sum())
    assert (session.undo_name, session.redo_name) == (name, None)
    assert session.undo() == name
    assert state(session.document) == before
    assert (session.undo_name, session.redo_name) == (None, name)
    assert session.redo() == name
    assert state(session.document) == after
    assert_partition(session.document)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_history_names_the_operation(name: str):
    session = session_of(scattered())
    count = OPERATIONS[name](session)
    *earlier, last = session.document.history
    assert earlier == list(DOCUMENT.history)
    assert last.operation == name
    assert last.parameters["gaussians"] == count
    assert last.time.endswith("+00:00")


def test_the_history_says_what_was_selected():
    session = session_of()
    session.add("bear", "cup")
    session.subtract(1, HALF)
    session.delete(2)
    assert [dict(entry.parameters) for entry in session.document.history[-3:]] == [
        {"object": "bear", "selection": "cup", "gaussians": int(DOCUMENT.rows("cup").sum())},
        {"object": "bear", "selection": 30, "gaussians": int((HALF & (DOCUMENT.rows(1) | DOCUMENT.rows(2))).sum())},
        {"objects": ["cup"], "gaussians": 0},
    ]


@pytest.mark.parametrize("seed", range(5))
def test_random_sequences_undo_and_redo_all_the_way(seed: int):
    random = np.random.default_rng(seed)
    session = session_of()
    states = [state(session.document)]
    for step in range(40):
        refs = [*session.document.ids, *session.document.names]
        target, other = (random.choice(len(refs)) for _ in range(2)) if refs else (0, 0)
        mask = torch.from_numpy(random.random(60) < 0.3)
        choices: list[Operation] = [lambda session, mask=mask, step=step: session.create(f"new {step}", mask)]
        if refs:
            first, second = refs[target], refs[other]
            choices += [
                lambda session, a=first, m=mask: session.add(a, m),
                lambda session, a=first, m=mask: session.subtract(a, m),
                lambda session, a=first, m=mask: session.intersect(a, m),
                lambda session, a=first, b=second: session.add(a, b),
                lambda session, a=first, step=step: session.rename(a, f"name {step}"),
                lambda session, a=first, step=step: session.recolor(a, (step, 0, 0)),
                lambda session, a=first, b=second: session.hide(a, b),
                lambda session, a=first: session.show(a, 0),
                lambda session, a=first: session.show_only(a),
                lambda session: session.hide(0),
                lambda session: session.invert_visible(),
                lambda session, a=first: session.delete(a),
                lambda session, a=first: session.grow(a),
                lambda session, a=first: session.shrink(a),
                lambda session, a=first: session.largest_component(a),
            ]
            if session.document.object(first) is not session.document.object(second):
                choices.append(lambda session, a=first, b=second: session.merge(a, b))
        choices[random.choice(len(choices))](session)
        assert_partition(session.document)
        if state(session.document) != states[-1]:
            states.append(state(session.document))
    for expected in states[-2::-1]:
        session.undo()
        assert state(session.document) == expected
    for expected in states[1:]:
        session.redo()
        assert state(session.document) == expected
    with pytest.raises(LookupError, match="nothing to redo"):
        session.redo()


def test_a_new_operation_ends_what_could_be_redone():
    session = session_of()
    session.hide("bear")
    session.hide("cup")
    session.undo()
    session.rename("bear", "teddy")
    assert session.redo_name is None
    session.undo()
    assert [entry.visible for entry in session.document.objects] == [False, True, True]


def test_what_changes_nothing_leaves_no_trace():
    session = session_of()
    session.hide("bear")
    session.undo()
    assert session.show("bear", "cup") == 0
    assert session.add("bear", "bear") == 0
    assert session.subtract("bear", "cup") == 0
    assert session.rename("bear", "bear") == 0
    assert (session.undo_name, session.redo_name) == (None, "hide")
    assert session.document.history == DOCUMENT.history


def test_what_fails_leaves_no_trace():
    session = session_of()
    with pytest.raises(ValueError, match="two objects have the name 'cup'"):
        session.rename("bear", "cup")
    with pytest.raises(LookupError, match="no object 'spoon'"):
        session.delete("bear", "spoon")
    with pytest.raises(LookupError, match="nothing to undo"):
        session.undo()
    assert state(session.document) == state(DOCUMENT)


def test_a_result_from_elsewhere_is_an_operation_too():
    session = session_of()
    votes = example_votes(60)
    solved = Segmentation.of(SPLATS, torch.full((60,), 3), [SceneObject.new(3, "all")], votes)
    assert session.commit("label", solved, solver="robust") == 60
    assert session.document.names == ["all"]
    assert session.document.votes() is votes
    assert [entry.operation for entry in session.document.history] == ["label", "label"]
    session.undo()
    assert state(session.document) == state(DOCUMENT)
    with pytest.raises(ValueError, match="label: the changed document belongs to other splats"):
        session.commit("label", Segmentation.of(example_splats(59)))


def test_the_background_is_hidden_by_0_and_called_by_its_name():
    session = session_of()
    assert session.hide(0, "bear") == 0
    assert not session.document.background_visible
    assert session.document.history[-1].parameters["objects"] == ["background", "bear"]
    session.show_only(0)
    assert session.document.hidden_names() == ("bear", "cup", "knife")
    session.show(0)
    # It was shown already.
    assert session.undo_name == "show only"
    assert [session.undo(), session.undo()] == ["show only", "hide"]
    assert state(session.document) == state(DOCUMENT)


def made_elsewhere(number: int = 3) -> Segmentation:
    """A document of the same splats with a history of its own."""
    objects = [SceneObject.new(number, f"object {number}")]
    votes = example_votes(60, float(number))
    document = Segmentation.of(SPLATS, torch.full((60,), number), objects, votes)
    return replace(document, history=(HistoryEntry("click", {"objects": ["all"]}, "2026-01-02T03:04:05+00:00"),))


def test_a_document_that_was_made_elsewhere_keeps_its_history():
    session = session_of()
    session.rename("bear", "teddy")
    before = state(session.document)
    assert session.adopt("click", made_elsewhere()) == int((DOCUMENT.labels != 3).sum())
    assert state(session.document) == state(made_elsewhere())
    assert session.undo_name == "click"
    assert session.undo() == "click"
    assert state(session.document) == before
    assert session.redo() == "click"
    assert state(session.document) == state(made_elsewhere())
    with pytest.raises(ValueError, match="label: the changed document belongs to other splats"):
        session.adopt("label", Segmentation.of(example_splats(59)))
    assert state(session.document) == state(made_elsewhere())


def test_adopting_ends_what_could_be_redone():
    session = session_of()
    session.hide("bear")
    session.undo()
    session.adopt("load", made_elsewhere())
    assert session.redo_name is None


def saved_by(session: EditingSession, store: SegmentationStore) -> None:
    """Save the document, and take over where its votes are now."""
    session.saved(store.save(session.document))


@pytest.mark.parametrize("seed", range(2))
def test_any_undone_document_can_be_saved_with_its_votes(seed: int, tmp_path: Path):
    """Each save replaces the votes on disk by those of another document, or leaves them."""
    random, store = np.random.default_rng(seed), SegmentationStore(tmp_path / "kept")
    session = session_of(DOCUMENT.with_votes(example_votes(60)))
    saved_by(session, store)
    states = [state(session.document)]
    for step in range(10):
        document, name = session.document, f"step {step}"
        operations: list[Operation] = [
            lambda session, name=name: session.create(name, HALF),
            lambda session, document=document: session.hide(*document.ids, 0),
            lambda session: session.show_only(0),
            lambda session, step=step: session.adopt("label", made_elsewhere(step + 3)),
            lambda session, document=document: session.adopt("clear", document.with_votes(None)),
        ]
        operations[random.choice(len(operations))](session)
        saved_by(session, store)
        if state(session.document) != states[-1]:
            states.append(state(session.document))
        assert state(store.load(SPLATS)) == states[-1]
    for expected in states[-2::-1]:
        while state(session.document) != expected:
            session.undo()
        saved_by(session, store)
        assert state(store.load(SPLATS)) == expected
    for expected in states[1:]:
        while state(session.document) != expected:
            session.redo()
        saved_by(session, store)
        assert state(store.load(SPLATS)) == expected


def test_votes_that_another_program_has_replaced_are_done_without(tmp_path: Path):
    store = SegmentationStore(tmp_path / "kept")
    store.save(DOCUMENT.with_votes(example_votes(60)))
    session = session_of(store.load(SPLATS))
    SegmentationStore(store.folder).save(made_elsewhere())
    session.adopt("load", store.load(SPLATS))
    assert state(session.document) == state(made_elsewhere())
    session.undo()
    # Nobody had read them before they were replaced.
    assert state(session.document) == state(DOCUMENT.with_votes(None))
    saved_by(session, store)
    assert state(store.load(SPLATS)) == state(session.document)


def test_the_oldest_operations_cannot_be_undone():
    session = EditingSession(DOCUMENT, SPLATS, undo_limit=2)
    for name in ("a", "b", "c"):
        session.rename(2, name)
    assert [session.undo(), session.undo()] == ["rename", "rename"]
    assert session.document.object(2).name == "a"
    assert session.undo_name is None


def test_only_the_splats_that_were_segmented_are_edited():
    with pytest.raises(ValueError, match="the splats have changed since they were segmented"):
        EditingSession(DOCUMENT, example_splats(61))
