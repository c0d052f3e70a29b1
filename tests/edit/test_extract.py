"""Which Gaussians go with an object that leaves the scene, and what its files are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from splatseg_ns.edit import (
    decided_labels,
    export_objects,
    file_stem,
    gamma_of,
    isolate_by_votes,
    name_of_objects,
    with_gamma,
)
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


def labelled_by(solver: str, **settled: object) -> Segmentation:
    _, document = splats_and_document()
    return replace(document, history=()).with_entry("label", solver=solver, settled=settled)


def test_the_gamma_that_counts():
    _, document = splats_and_document()
    assert gamma_of(document) == 0.0
    for gamma in (-0.4, 0.0, 0.25):
        assert gamma_of(with_gamma(document, gamma)) == gamma
    assert gamma_of(labelled_by("robust", gamma=0.3)) == 0.3
    # The gradient voter states it as a weight w = (1 + gamma) / (1 - gamma).
    assert gamma_of(labelled_by("gradient", background_weight=3.0)) == pytest.approx(0.5)
    assert gamma_of(with_gamma(labelled_by("gradient"), -0.2)) == pytest.approx(-0.2)


def test_what_has_no_gamma():
    _, document = splats_and_document()
    assert gamma_of(document.with_votes(None)) is None
    assert gamma_of(replace(document, history=())) is None
    assert gamma_of(replace(document, history=()).with_entry("label", masks="labels")) is None


def test_asking_for_the_gamma_reads_no_votes():
    _, document = splats_and_document()
    assert gamma_of(replace(document, votes_source=lambda: pytest.fail("votes were read"))) == 0.0


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


HARMLESS = {
    "../x": "x",
    "/etc/passwd": "etc_passwd",
    "a/b": "a_b",
    "a\\b": "a_b",
    "..": "object",
    " . ": "object",
    "<b>x</b>": "b_x_b",
    "*?|:": "object",
    "$(rm -rf ~)": "rm_-rf",
    "Krug ü": "Krug_ü",
    "杯子": "杯子",
    "x" * 300: "x" * 100,
    # 33 letters of 3 bytes each are the most that 100 bytes hold.
    "杯" * 100: "杯" * 33,
    "." + "x" * 98 + "./y": "x" * 98,
}


@pytest.mark.parametrize(("name", "stem"), HARMLESS.items())
def test_names_of_all_kinds_are_harmless_names_of_files(name: str, stem: str, tmp_path: Path):
    splats, document = splats_and_document((name, "pot"))
    assert file_stem(document.object(1)) == stem
    folder = tmp_path / "run" / "exports"
    written = export_objects(folder, splats, document, document.objects)
    assert written[0].path == folder / f"{stem}.ply" and written[0].path.is_file()
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["run", "exports"]
    assert {path.name for path in folder.iterdir()} == {f"{stem}.ply", "pot.ply", "remainder.ply", "labels.npz"}


def objects_called(*names: str) -> list[SceneObject]:
    return [SceneObject.new(id, name) for id, name in enumerate(names, 1)]


def test_no_file_is_written_twice(tmp_path: Path):
    splats = random_splats(5, degree=0)
    # The third would be a_3 if that were not the second's name.
    objects = objects_called("a", "A_3", "a.", "remainder", "x" * 120)
    twins = [*objects[:4], objects[4], SceneObject.new(6, "x" * 130)]
    document = Segmentation.of(splats, torch.tensor([1, 2, 3, 4, 5]), twins)
    written = export_objects(tmp_path, splats, document, twins)
    names = [entry.path.name for entry in written if entry.path is not None]
    assert names == ["a.ply", "A_3.ply", "a_3_3.ply", "remainder_4.ply", f"{'x' * 100}.ply"]
    for entry in written[:5]:
        assert entry.object is not None and entry.path is not None
        assert torch.equal(read_ply(entry.path).means, splats.means[entry.object.id - 1 : entry.object.id])


def test_many_objects_together_have_a_short_name():
    assert name_of_objects(objects_called("cup", "pot")) == "cup-pot"
    assert name_of_objects(objects_called("a/b")) == "a_b"
    many = objects_called(*(f"object {number}" for number in range(100)))
    assert name_of_objects(many) == "object_0-and-99-more"
    assert len(name_of_objects(objects_called("杯" * 100, "x" * 300)).encode()) < 120


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
