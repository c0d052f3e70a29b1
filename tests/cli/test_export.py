"""``splatseg export``: files that together are the scene."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from splatseg_ns.cli import main
from splatseg_ns.scene import Splats, read_ply, write_ply
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk, dataparser_json, similarity
from tests.cli.test_label import failure


def put_together(folder: Path) -> tuple[Splats, torch.Tensor]:
    """The splats of all files at the rows that labels.npz gives them, and the labels of these rows."""
    with np.load(folder / "labels.npz", allow_pickle=False) as archive:
        labels, ids, files = torch.from_numpy(archive["labels"]), archive["ids"], archive["files"]
    whole = torch.full((len(labels),), -1)
    parts, start = [], 0
    rest = torch.ones(len(labels), dtype=torch.bool)
    for id, file in zip(ids.tolist(), files.tolist(), strict=True):
        if file:
            parts.append(read_ply(folder / file))
            rows = labels == id
            whole[rows] = torch.arange(start, start + len(parts[-1]))
            rest &= ~rows
            start += len(parts[-1])
    parts.append(read_ply(folder / "remainder.ply"))
    whole[rest] = torch.arange(start, start + len(parts[-1]))
    return Splats.concat(parts).subset(whole), labels


def same(left: Splats, right: Splats) -> bool:
    return all(torch.equal(tensor, right.tensors()[name]) for name, tensor in left.tensors().items())


def test_all_files_together_are_the_scene(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    out = labelled.ply.parent / "out"
    assert main(["export", *labelled.arguments, "--all", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "by the masks in" in printed and "red_ball.ply" in printed
    assert {path.name for path in out.iterdir()} == {
        "red_ball.ply",
        "green_ball.ply",
        "blue_ball.ply",
        "remainder.ply",
        "labels.npz",
    }
    whole, labels = put_together(out)
    assert same(whole, labelled.splats)
    document = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    assert bool(((labels == document.labels) | (labels == 0)).all())


def test_without_a_new_vote_an_object_is_what_its_labels_say(labelled: SceneOnDisk):
    out = labelled.ply.parent / "out"
    assert main(["export", *labelled.arguments, "--objects", "red ball", "3", "--out", str(out), "--no-revote"]) == 0
    document = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    assert same(read_ply(out / "red_ball.ply"), labelled.splats.subset(document.rows("red ball")))
    assert not (out / "green_ball.ply").exists()
    assert len(read_ply(out / "remainder.ply")) == len(document) - sum(document.counts()[id] for id in (1, 3))


def test_stored_votes_stand_in_for_masks_that_are_gone(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(labelled.masks)
    out = labelled.ply.parent / "out"
    assert main(["export", *labelled.arguments, "--all", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "by the votes that were kept" in printed and "no such folder" in printed
    assert main(["export", "--ply", str(labelled.ply), "--all", "--out", str(out)]) == 0
    assert same(put_together(out)[0], labelled.splats)


def test_merged_objects_keep_both_parts(labelled: SceneOnDisk):
    assert main(["objects", *labelled.arguments, "--merge", "red ball", "green ball"]) == 0
    out = labelled.ply.parent / "out"
    for data in ([], ["--data", str(labelled.data)]):
        assert main(["export", "--ply", str(labelled.ply), *data, "--objects", "1", "--out", str(out)]) == 0
        _, labels = put_together(out)
        for part in (1, 2):
            assert float((labels[labelled.truth == part] == 1).float().mean()) > 0.6


def test_gamma_makes_objects_smaller_or_larger(labelled: SceneOnDisk):
    counts = []
    for gamma in ("0.6", "0", "-0.6"):
        out = labelled.ply.parent / gamma
        arguments = ["--all", "--no-revote", "--gamma", gamma, "--out", str(out)]
        assert main(["export", *labelled.arguments, *arguments]) == 0
        counts.append(len(read_ply(out / "blue_ball.ply")))
    assert counts[0] < counts[1] < counts[2]


def test_the_world_is_the_frame_of_the_capture(scene: SceneOnDisk):
    write_ply(scene.ply, scene.splats.transform(similarity()))
    (scene.ply.parent / "dataparser_transforms.json").write_text(dataparser_json(similarity()))
    assert main(["label", *scene.arguments, "--masks", str(scene.masks)]) == 0
    document = SegmentationStore(scene.ply.with_name("scene.segmentation")).load()
    out = scene.ply.parent / "out"
    arguments = ["export", *scene.arguments, "--objects", "red ball", "--no-revote", "--out", str(out)]
    assert main([*arguments, "--frame", "world"]) == 0
    original = scene.splats.subset(document.rows("red ball"))
    assert torch.allclose(read_ply(out / "red_ball.ply").means, original.means, atol=1e-5)
    assert main(arguments) == 0
    moved = read_ply(scene.ply).subset(document.rows("red ball"))
    assert same(read_ply(out / "red_ball.ply"), moved)


def test_another_reader_finds_the_same_splats(labelled: SceneOnDisk):
    tool = shutil.which("splat-transform")
    if tool is None:
        pytest.skip("needs npm's @playcanvas/splat-transform on the PATH")
    out = labelled.ply.parent / "out"
    assert main(["export", *labelled.arguments, "--objects", "red ball", "--out", str(out)]) == 0
    copy = out / "copy.ply"
    subprocess.run([tool, str(out / "red_ball.ply"), str(copy)], check=True, capture_output=True, timeout=120)
    ours, theirs = read_ply(out / "red_ball.ply"), read_ply(copy)
    assert torch.allclose(ours.means, theirs.means) and torch.allclose(ours.sh, theirs.sh)


def test_failures(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    arguments = ["export", "--ply", str(labelled.ply), "--out", str(labelled.ply.parent / "out")]
    assert "--all" in failure(capsys, *arguments)
    assert "did you mean 'red ball'?" in failure(capsys, *arguments, "--objects", "red bal")
    assert "--data" in failure(capsys, *arguments, "--all", "--frame", "world")
    write_ply(labelled.ply, labelled.splats.subset(torch.arange(100)))
    assert "have changed" in failure(capsys, *arguments, "--all")
