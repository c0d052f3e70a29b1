"""``splatseg eval --parts`` on balls on a table: parts beside what each view alone says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.cli.eval_parts import classes_to_judge, mapped
from splatseg_ns.demo.scene import balls_on_a_table
from splatseg_ns.masks import LabelName
from splatseg_ns.segmentation import SceneObject, Segmentation
from tests.cli.examples import TEST_VIEWS
from tests.cli.test_label import failure
from tests.cli.test_transfer import KINDS, Parted, bare, made, parted, printed, unparted

__all__ = ["bare", "made", "parted", "unparted"]


def judge(scene: Parted, *more: str) -> list[str]:
    return ["eval", "--parts", *scene.arguments, "--masks", str(scene.masks), *more]


def judged(capsys: pytest.CaptureFixture[str], scene: Parted, *more: str) -> dict[str, Any]:
    """What --json prints, which is nothing else."""
    return json.loads(printed(capsys, *judge(scene, "--json", *more)))


def cells(said: str) -> dict[str, list[str]]:
    """The rows of the table by the names of the classes."""
    rows = ([cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.count("│") > 3)
    return {row[1]: [row[0], *row[2:]] for row in rows}


@pytest.fixture
def named(parted: Parted) -> Parted:
    """The truth calls the balls as the examples do."""
    (parted.masks / "labels.json").write_text(json.dumps(KINDS))
    return parted


def exact_parts(scene: Parted) -> Segmentation:
    """Parts made by hand of what is true, in other ids than those of the truth."""
    labels = torch.tensor([0, 7, 8, 9])[scene.truth]
    parts = [
        replace(SceneObject.new(id + 6, f"part {id}"), kind=kind) if kind != "blue" else SceneObject.new(id + 6, kind)
        for id, kind in KINDS.items()
    ]
    return Segmentation.of(scene.splats, labels, parts)


def test_each_kind_has_recall_and_iou_in_2d_and_in_3d(named: Parted, capsys: pytest.CaptureFixture[str]):
    said, scores = printed(capsys, *judge(named)), judged(capsys, named)
    assert "2D recall" in said and "3D IoU" in said and "2D: each view alone; 3D: the parts" in said
    rows = cells(said)
    assert list(rows) == [*KINDS.values(), "mean"]
    assert scores["views"] == len(TEST_VIEWS) and list(scores["classes"]) == list(KINDS.values())
    for kind in KINDS.values():
        alone, parts = scores["alone"]["classes"][kind], scores["classes"][kind]
        numbers = [alone["recall"], alone["iou"], parts["recall"], parts["iou"]]
        assert rows[kind] == [str(parts["views"]), *(f"{100 * number:.2f}" for number in numbers)]
        assert all(0 <= number <= 1 for number in numbers)
    for score in ("recall", "iou"):
        for part in (scores, scores["alone"]):
            values = [entry[score] for entry in part["classes"].values()]
            assert part[f"mean_{score}"] == pytest.approx(sum(values) / 3)
    assert scores["classes"]["blue"]["recall"] > 0.9 and scores["alone"]["classes"]["blue"]["recall"] > 0.9


def test_parts_that_are_true_are_perfect(named: Parted, capsys: pytest.CaptureFixture[str]):
    named.store.parts.save(exact_parts(named))
    scores = judged(capsys, named)
    assert scores["mean_recall"] == scores["mean_iou"] == 1.0 and "not found by examples" in scores["alone"]["missing"]
    said = printed(capsys, *judge(named))
    assert "the parts were not found by examples" in said and "2D recall" not in said
    assert cells(said)["red"] == [str(scores["classes"]["red"]["views"]), "100.00", "100.00"]


def test_kinds_are_judged_together_over_all_objects(named: Parted, capsys: pytest.CaptureFixture[str]):
    """Two parts of a kind are one class: halves of the red ball."""
    parts = exact_parts(named)
    half = (parts.labels == 7) & (torch.arange(len(parts)) % 2 == 0)
    both = parts.with_objects(replace(SceneObject.new(10, "other half"), kind="red"))
    named.store.parts.save(replace(both, labels=torch.where(half, 10, parts.labels)))
    # Drawn half by half, at the border the table is sometimes stronger than either.
    assert judged(capsys, named)["classes"]["red"]["recall"] > 0.9
    named.store.parts.save(replace(parts, labels=torch.where(half, 0, parts.labels)))
    assert judged(capsys, named)["classes"]["red"]["recall"] < 0.8


def test_soft_masks_are_drawn_from_the_votes(bare: Parted, capsys: pytest.CaptureFixture[str]):
    (bare.masks / "labels.json").write_text(json.dumps(KINDS))
    assert main(bare.find("--min-gaussians", "1")) == 0
    hard, soft = judged(capsys, bare), judged(capsys, bare, "--soft")
    assert soft["alone"] == hard["alone"] and soft["classes"] != hard["classes"]


def test_parts_of_chosen_objects_are_judged_there(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    (unparted.masks / "labels.json").write_text(json.dumps(KINDS))
    assert main(unparted.find("--objects", "red ball", "blue ball")) == 0
    scores = judged(capsys, unparted)
    for part in (scores, scores["alone"]):
        for kind in ("red", "blue"):
            assert part["classes"][kind]["iou"] > 0.9
    assert "red ball, blue ball" in printed(capsys, *judge(unparted))
    # Objects that have been renamed cannot be found again.
    assert main(["objects", *unparted.arguments, "--rename", "red ball", "tomato"]) == 0
    assert "no object 'red ball'" in failure(capsys, *judge(unparted))


def test_examples_that_were_moved_are_named_and_given(
    named: Parted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(named.find()) == 0
    before = judged(capsys, named)
    moved = tmp_path / "moved"
    shutil.move(named.examples, moved)
    said = printed(capsys, *judge(named))
    assert "what each view alone says cannot be had: " in said and "no such folder of examples" in said.replace(
        "\n", " "
    )
    assert "2D recall" not in said
    without = judged(capsys, named)
    assert "examples" in without["alone"]["missing"] and without["classes"] == before["classes"]
    assert judged(capsys, named, "--examples", str(moved)) == before


def test_sheets_show_picture_truth_the_view_alone_and_the_parts(
    named: Parted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert f"wrote {tmp_path}" in printed(capsys, *judge(named, "--pictures", str(tmp_path))).replace("\n", "")
    assert {path.stem for path in tmp_path.glob("*.png")} == set(TEST_VIEWS)
    with Image.open(tmp_path / "view_03.png") as sheet:
        assert sheet.size == (4 * 96, 72)
    named.store.parts.save(exact_parts(named))
    printed(capsys, *judge(named, "--pictures", str(tmp_path)))
    with Image.open(tmp_path / "view_03.png") as sheet:
        assert sheet.size == (3 * 96, 72)
        truth, parts = sheet.crop((96, 0, 192, 72)), sheet.crop((192, 0, 288, 72))
        assert truth.tobytes() == parts.tobytes() != sheet.crop((0, 0, 96, 72)).tobytes()


def test_other_views_may_be_judged(named: Parted, capsys: pytest.CaptureFixture[str]):
    assert judged(capsys, named, "--split", "all")["views"] == 10


def test_names_that_do_not_meet_are_an_error(parted: Parted, capsys: pytest.CaptureFixture[str]):
    line = failure(capsys, *judge(parted))
    assert "no kind of part (" in line and "red ball, green ball, blue ball" in line and "labels.json" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objects", "red"], "--parts judges all kinds of parts; leave --objects and --panoptic out"),
        (["--panoptic"], "--parts judges all kinds of parts; leave --objects and --panoptic out"),
    ],
)
def test_options_that_are_about_objects(
    named: Parted, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert message in failure(capsys, *judge(named, *options))


def test_examples_are_about_parts(named: Parted, capsys: pytest.CaptureFixture[str]):
    words = [word for word in judge(named, "--examples", "x") if word != "--parts"]
    assert "--examples is about parts; give --parts with it, or leave it out" in failure(capsys, *words)


def test_truth_of_no_judged_view(named: Parted, capsys: pytest.CaptureFixture[str]):
    for name in TEST_VIEWS:
        (named.masks / f"{name}.png").unlink()
    assert "none of the 2 views of --split test has a label map" in failure(capsys, *judge(named))


def test_objects_are_judged_as_before(parted: Parted, capsys: pytest.CaptureFixture[str]):
    words = [word for word in judge(parted, "--json") if word != "--parts"]
    result = json.loads(printed(capsys, *words))
    assert list(result["objects"]) == ["red ball", "green ball", "blue ball"] and result["mean_iou"] > 0.9


def test_two_ids_of_one_name_are_an_error():
    names = {1: LabelName(1, "upper", (1, 2, 3)), 2: LabelName(2, "upper", (1, 2, 3))}
    with pytest.raises(ValueError, match="two ids of the true maps are called 'upper'; give each class one id"):
        classes_to_judge(exact_layer(), names, None)


def exact_layer() -> Segmentation:
    """A layer with one part, of the kind upper."""
    splats = balls_on_a_table()[0]
    part = replace(SceneObject.new(1, "red ball upper"), kind="upper")
    return Segmentation.of(splats, torch.ones(len(splats)).long(), [part])


def test_other_ids_by_hand():
    labels = torch.tensor([[0, 3, 4, -1, 9]], dtype=torch.int32)
    found = mapped(labels, {3: 4, 4: 3, 7: 1})
    assert found.tolist() == [[0, 4, 3, 0, 0]] and found.dtype == torch.int64
