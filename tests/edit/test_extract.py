"""Which Gaussians go with an object that leaves the scene, and what its files are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from splatseg_ns.edit import decided_labels, export_objects, isolate_by_votes, with_gamma
from splatseg_ns.edit.extract import with_bias
from splatseg_ns.lift import FlashSplat, Gradient
from splatseg_ns.scene import Splats, read_ply
from splatseg_ns.segmentation import EditingSession, SceneObject, Segmentation
from tests.lift.examples import votes_of
from tests.scene.examples import random_splats

MASSES = [[0, 9, 1], [0, 1, 9], [5, 5.5, 0], [5.5, 5, 0], [9, 0, 1], [4, 5, 3], [0, 0, 0]]
"""Of the background and two objects: shares .9, .9, .524, .476, .9 (background), .417, and never seen."""


def splats_and_document(names: tuple[str, str] = ("cup", "pot")) -> tuple[Splats, Segmentation]:
    splats = random_splats(len(MASSES), degree=0)
    votes = votes_of(MASSES, [0, 1, 2])
    objects = [SceneObject.new(id, name) for id, name in enumerate(names, 1)]
    document = Segmentation.of(splats, FlashSplat().decide(votes).ids, objects, votes)
    return splats, document.with_entry("label", solver="flashsplat", settled={"gamma": 0.0, "norm": "l1"})


def test_the_decision_can_be_had_again():
    _, document = splats_and_document()
    assert document.labels.tolist() == [1, 2, 1, 0, 0, 1, -1]
    decided = decided_labels(document)
    assert decided is not None and torch.equal(decided, document.labels)
    assert decided_labels(document.with_votes(None)) is None


@pytest.mark.parametrize(("gamma", "wanted"), [(0.2, [1, 2, 0, 0, 0, 0, -1]), (-0.2, [1, 2, 1, 1, 0, 1, -1])])
def test_another_gamma(gamma: float, wanted: list[int]):
    _, document = splats_and_document()
    biased = with_gamma(document, gamma)
    assert biased.labels.tolist() == wanted
    assert torch.equal(torch.as_tensor(decided_labels(biased)), biased.labels)


def test_another_gamma_leaves_edits_alone():
    splats, document = splats_and_document()
    session = EditingSession(document, splats)
    session.add("pot", rows(2, 3))
    assert with_gamma(session.document, 0.2).labels.tolist() == [1, 2, 2, 2, 0, 0, -1]
    session.merge("pot", "cup")
    assert with_gamma(session.document, -0.2).labels.tolist() == [2, 2, 2, 2, 0, 2, -1]
    session.delete("pot")
    assert with_gamma(session.document, -0.2).labels.tolist() == [0, 0, 0, 0, 0, 0, -1]


def test_gamma_needs_votes():
    _, document = splats_and_document()
    with pytest.raises(ValueError, match="keeps no votes"):
        with_gamma(document.with_votes(None), 0.1)
    assert with_bias(Gradient(), 0.5) == Gradient(background_weight=3.0)
    with pytest.raises(ValueError, match="below 1"):
        with_bias(Gradient(), 1.0)


def test_stored_votes_drop_what_belongs_to_other_things():
    splats, document = splats_and_document()
    # The last has 5 of 12 for the cup: most of all, but less than half.
    assert isolate_by_votes(document, [1, 2]).labels.tolist() == [1, 2, 1, 0, 0, 0, -1]
    assert isolate_by_votes(document, [2]).labels.tolist() == document.labels.tolist()
    session = EditingSession(document, splats)
    session.add("cup", rows(4))
    session.merge("pot", "cup")
    assert isolate_by_votes(session.document, [2]).labels.tolist() == [2, 2, 2, 0, 2, 2, -1]


def test_files_are_named_harmlessly(tmp_path: Path):
    splats, document = splats_and_document(("../a cup", "remainder"))
    written = export_objects(tmp_path / "out", splats, document, document.objects)
    assert [entry.path.name for entry in written if entry.path] == ["a_cup.ply", "remainder_2.ply", "remainder.ply"]
    assert torch.equal(read_ply(tmp_path / "out" / "a_cup.ply").means, splats.means[document.labels == 1])
    with np.load(tmp_path / "out" / "labels.npz", allow_pickle=False) as archive:
        assert archive["labels"].tolist() == document.labels.tolist()
        assert archive["names"].tolist() == ["../a cup", "remainder"]
        assert archive["files"].tolist() == ["a_cup.ply", "remainder_2.ply"]


def test_an_empty_object_has_no_file(tmp_path: Path):
    splats, document = splats_and_document()
    export_objects(tmp_path, splats, document, document.objects)
    empty = replace(document, labels=document.labels.where(document.labels != 1, 0))
    written = export_objects(tmp_path, splats, empty, empty.objects)
    assert written[0].path is None and written[0].count == 0
    assert not (tmp_path / "cup.ply").exists()


def rows(*chosen: int) -> Tensor:  # [N] bool
    mask = torch.zeros(len(MASSES), dtype=torch.bool)
    mask[list(chosen)] = True
    return mask
