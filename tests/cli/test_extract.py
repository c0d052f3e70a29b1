"""``splatseg extract`` and ``splatseg remove`` on a .ply."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splatseg_ns.cli import main
from splatseg_ns.scene import read_ply
from splatseg_ns.segmentation import SceneObject, Segmentation, SegmentationStore
from tests.cli.examples import SceneOnDisk
from tests.cli.test_label import failure


def test_extracted_objects_are_those_of_an_export(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    folder = labelled.ply.parent
    assert main(["objects", *labelled.arguments, "--hide", "red ball"]) == 0
    assert main(["export", *labelled.arguments, "--objects", "red ball", "--out", str(folder / "out")]) == 0
    capsys.readouterr()
    assert main(["extract", *labelled.arguments, "--objects", "red ball"]) == 0
    printed = capsys.readouterr().out
    assert "by the masks in" in printed and "scene-red_ball.ply" in printed
    part = read_ply(folder / "scene-red_ball.ply")
    assert torch.equal(part.means, read_ply(folder / "out" / "red_ball.ply").means)
    document = SegmentationStore(folder / "scene-red_ball.segmentation").load(part)
    assert document.names == ["red ball"] and document.object("red ball").visible
    assert set(document.labels.tolist()) == {1}
    assert document.history[-1].operation == "extract"


def test_several_objects_stay_apart_in_one_file(labelled: SceneOnDisk, tmp_path: Path):
    out = tmp_path / "both.ply"
    words = ["--objects", "3", "red ball", "--no-revote", "--out", str(out)]
    assert main(["extract", "--ply", str(labelled.ply), *words]) == 0
    document = SegmentationStore(tmp_path / "both.segmentation").load(read_ply(out))
    before = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    assert document.counts() == {id: before.counts()[id] for id in (1, 3)}


def test_what_is_removed_is_gone_and_the_others_stay(labelled: SceneOnDisk):
    before = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    content = labelled.ply.read_bytes()
    assert main(["remove", "--ply", str(labelled.ply), "--objects", "red ball", "--no-clean"]) == 0
    assert labelled.ply.read_bytes() == content
    rest = read_ply(labelled.ply.with_name("scene-without-red_ball.ply"))
    assert torch.equal(rest.means, labelled.splats.means[before.labels != 1])
    document = SegmentationStore(labelled.ply.with_name("scene-without-red_ball.segmentation")).load(rest)
    assert document.names == ["green ball", "blue ball"]
    assert torch.equal(document.labels, before.labels[before.labels != 1])


def test_what_only_an_object_hid_goes_with_it(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    before = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    capsys.readouterr()
    sizes = {}
    for name, words in {"plain": ["--no-clean"], "auto": [], "all": ["--gamma", "-1"], "more": ["--grow", "2"]}.items():
        out = labelled.ply.with_name(f"{name}.ply")
        assert main(["remove", *labelled.arguments, "--objects", "red ball", "--out", str(out), *words]) == 0
        sizes[name] = len(read_ply(out))
        document = SegmentationStore(out.with_suffix(".segmentation")).load(read_ply(out))
        assert [document.counts()[id] for id in (2, 3)] == [before.counts()[id] for id in (2, 3)]
        assert f"taken: {before.counts()[1]} of the objects" in capsys.readouterr().out
    assert sizes["plain"] == len(before) - before.counts()[1]
    assert sizes["more"] < sizes["auto"] < sizes["plain"] and sizes["all"] < sizes["plain"]


def test_without_a_capture_nobody_can_look_behind(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    assert main(["remove", "--ply", str(labelled.ply), "--objects", "red ball"]) == 0
    printed = capsys.readouterr().out
    assert "takes the training views" in printed and "that only they hid" not in printed


def test_failures_write_nothing(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    words = ["--ply", str(labelled.ply)]
    files = set(labelled.ply.parent.rglob("*"))
    assert "did you mean 'red ball'?" in failure(capsys, "extract", *words, "--objects", "red bal")
    assert "--objects" in failure(capsys, "remove", *words, "--objects")
    assert "is there already" in failure(capsys, "remove", *words, "--objects", "1", "--out", str(labelled.ply))
    assert "written as a .ply" in failure(capsys, "extract", *words, "--objects", "1", "--out", "somewhere")
    assert "no such folder" in failure(capsys, "extract", *words, "--objects", "1", "--out", "/nowhere/some.ply")
    assert "leave it out" in failure(capsys, "extract", *words, "--objects", "1", "--method", "splatfacto")
    assert "from -1 to 1" in failure(capsys, "remove", *words, "--objects", "1", "--gamma", "-2")
    assert "0 or more" in failure(capsys, "remove", *words, "--objects", "1", "--grow", "-1")
    assert set(labelled.ply.parent.rglob("*")) == files


def test_an_object_without_gaussians_is_no_scene(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    store = SegmentationStore(labelled.ply.with_name("scene.segmentation"))
    document = store.load().with_votes(None)
    store.save(replace(document, labels=document.labels.where(document.labels != 2, 0)))
    line = failure(capsys, "extract", "--ply", str(labelled.ply), "--objects", "green ball")
    assert "green ball (id 2) has no Gaussians" in line
    store.save(replace(document, labels=torch.ones_like(document.labels)))
    line = failure(capsys, "remove", "--ply", str(labelled.ply), "--objects", "red ball")
    assert "no Gaussian would be left" in line


@pytest.fixture
def parted(labelled: SceneOnDisk) -> SceneOnDisk:
    """With a layer of parts: the balls, each in two halves, but for the blue one."""
    objects = store_of(labelled).load()
    halves = labelled.splats.means[:, 2] > labelled.splats.means[objects.labels == 1, 2].median()
    kinds = {1: ("red ball", "lower"), 2: ("red ball", "upper"), 3: ("green ball", "lower"), 4: ("green ball", "upper")}
    labels = torch.zeros_like(objects.labels)
    for id, (owner, kind) in kinds.items():
        labels[objects.rows(owner) & (halves if kind == "upper" else ~halves)] = id
    parts = [replace(SceneObject.new(id, " ".join(words)), kind=words[1]) for id, words in kinds.items()]
    store_of(labelled).parts.save(Segmentation.of(labelled.splats, labels, parts))
    return labelled


def store_of(scene: SceneOnDisk, name: str = "scene") -> SegmentationStore:
    return SegmentationStore(scene.ply.with_name(f"{name}.segmentation"))


def test_what_is_left_of_the_parts_comes_along_with_objects(parted: SceneOnDisk):
    before = store_of(parted).parts.load()
    assert main(["extract", "--ply", str(parted.ply), "--objects", "red ball", "--no-revote"]) == 0
    part = read_ply(parted.ply.with_name("scene-red_ball.ply"))
    parts = store_of(parted, "scene-red_ball").parts.load(part)
    assert parts.names == ["red ball lower", "red ball upper"]
    assert torch.equal(parts.labels, before.labels[store_of(parted).load().rows("red ball")])
    assert main(["remove", "--ply", str(parted.ply), "--objects", "red ball", "--no-clean"]) == 0
    assert store_of(parted, "scene-without-red_ball").parts.load().names == ["green ball lower", "green ball upper"]


def test_parts_are_taken_out_as_objects_are_and_the_objects_come_along(parted: SceneOnDisk):
    before = store_of(parted).parts.load()
    words = ["--parts", "--objects", "red ball upper"]
    assert main(["extract", "--ply", str(parted.ply), *words, "--no-revote"]) == 0
    name = "scene-red_ball_upper"
    part = read_ply(parted.ply.with_name(f"{name}.ply"))
    assert len(part) == before.counts()[2]
    assert store_of(parted, name).parts.load(part).names == ["red ball upper"]
    assert store_of(parted, name).load(part).counts() == {1: len(part)}
    assert main(["remove", "--ply", str(parted.ply), *words, "--no-clean"]) == 0
    rest = store_of(parted, "scene-without-red_ball_upper")
    assert "red ball upper" not in rest.parts.load().names
    # The ball is still there, without its upper half.
    assert rest.load().counts()[1] == store_of(parted).load().counts()[1] - before.counts()[2]


def test_what_was_removed_from_parts_is_known_to_the_objects(parted: SceneOnDisk):
    before = store_of(parted).load()
    assert main(["remove", "--ply", str(parted.ply), "--parts", "--objects", "red ball upper", "--no-clean"]) == 0
    # 'splatseg inpaint' asks there what there is to fill in.
    history = store_of(parted, "scene-without-red_ball_upper").load().history
    assert history[:-1] == before.history and history[-1].operation == "remove"
    assert history[-1].parameters["source"] == str(parted.ply)


def test_parts_of_other_splats_stay_behind(parted: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    other = parted.splats.subset(torch.arange(len(parted.splats)) > 0)
    store_of(parted).parts.save(Segmentation.of(other))
    capsys.readouterr()
    assert main(["extract", "--ply", str(parted.ply), "--objects", "red ball", "--no-revote"]) == 0
    assert "the parts do not come along" in capsys.readouterr().out
    assert store_of(parted, "scene-red_ball").exists() and not store_of(parted, "scene-red_ball").parts.exists()


def test_pruning_takes_the_parts_along(parted: SceneOnDisk):
    assert main(["prune", *parted.arguments]) == 0
    (pruned,) = parted.ply.parent.glob("scene-*.ply")
    rest = read_ply(pruned)
    assert len(rest) <= len(parted.splats)
    assert store_of(parted, pruned.stem).parts.load(rest).names == store_of(parted).parts.load().names
