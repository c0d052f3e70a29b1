"""Some Gaussians and the part of the document that is theirs."""

from __future__ import annotations

from pathlib import Path

import torch

from splatseg_ns.edit import extraction, part_of, removal, rows_of_objects
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.operations import set_visible
from tests.edit.test_extract import MASSES, splats_and_document


def test_rows_are_those_of_any_of_the_objects():
    _, document = splats_and_document()
    assert rows_of_objects(document, [2]).tolist() == [label == 2 for label in document.labels]
    assert rows_of_objects(document, [1, 2]).tolist() == [label > 0 for label in document.labels]


def test_a_part_has_the_labels_and_votes_of_its_gaussians():
    splats, document = splats_and_document()
    rows = torch.tensor([True, True, False, True, False, False, True])
    part, kept = part_of(document, splats, rows, [2])
    assert torch.equal(part.means, splats.means[rows])
    kept.check_splats(part)
    # The first is of the other object, which has not come along.
    assert document.labels[rows].tolist() == [1, 2, 0, -1]
    assert kept.labels.tolist() == [0, 2, 0, -1]
    assert kept.names == ["pot"]
    votes = kept.votes()
    assert votes is not None and torch.equal(votes.dense(), torch.tensor(MASSES, dtype=torch.float64)[rows])
    assert kept.history == document.history
    assert kept.next_id == document.next_id == 3


def test_a_part_of_a_document_without_votes_has_none():
    splats, document = splats_and_document()
    _, kept = part_of(document.with_votes(None), splats, rows_of_objects(document, [1]), [1])
    assert kept.votes() is None and isinstance(kept, Segmentation)


def test_a_scene_of_objects_alone_shows_them(tmp_path: Path):
    _, document = splats_and_document()
    hidden = set_visible(document, [1, 2], False)
    made = extraction(hidden, [2], tmp_path / "x" / ".." / "config.yml")
    assert [entry.visible for entry in made.objects] == [False, True]
    # The other object, and the labels, go when the Gaussians do.
    assert torch.equal(made.labels, document.labels) and made.votes() is not None
    *earlier, last = made.history
    assert tuple(earlier) == hidden.history and last.operation == "extract"
    assert dict(last.parameters) == {"source": str(tmp_path / "config.yml"), "objects": [2]}
    assert [entry.visible for entry in hidden.objects] == [False, False]


def test_a_scene_without_objects_shows_the_others_as_they_were(tmp_path: Path):
    _, document = splats_and_document()
    hidden = set_visible(document, [0, 2], False)
    made = removal(hidden, [1], tmp_path / "scene.ply")
    assert made.objects == hidden.objects and not made.background_visible
    assert made.history[-1].operation == "remove"
    assert dict(made.history[-1].parameters) == {"source": str(tmp_path / "scene.ply"), "objects": [1]}
