"""``splatseg label``: what it saves and prints, and how it fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splatseg_ns.cli import main
from splatseg_ns.masks import write_label_map
from splatseg_ns.scene import read_label_map, read_ply, write_ply
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk, change_json


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that fails."""
    assert main(arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def label_failure(capsys: pytest.CaptureFixture[str], scene: SceneOnDisk, *more: str) -> str:
    return failure(capsys, "label", *scene.arguments, "--masks", str(scene.masks), *more)


def test_labels_are_right_and_saved(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    assert main(["label", *scene.arguments, "--masks", str(scene.masks)]) == 0
    printed = capsys.readouterr().out
    document = SegmentationStore(scene.ply.with_name("scene.segmentation")).load(scene.splats)
    assert document.names == ["red ball", "green ball", "blue ball"]
    assert document.object("red ball").color == (10, 20, 30)
    seen = document.labels >= 0
    assert float((document.labels == scene.truth)[seen].float().mean()) > 0.95
    assert document.history[-1].parameters["settled"]["gamma"] == 0.0
    assert document.object(1).provenance.solver == "robust"
    assert all(word in printed for word in ("red ball", "Gaussians", "seconds:", "votes", "capture's own frame"))


def test_held_out_views_do_not_vote(scene: SceneOnDisk):
    assert main(["label", *scene.arguments, "--masks", str(scene.masks)]) == 0
    store = SegmentationStore(scene.ply.with_name("scene.segmentation"))
    before = store.load().labels
    for view in ("view_03", "view_07"):
        write_label_map(scene.masks, view, torch.full((72, 96), 2))
    assert main(["label", *scene.arguments, "--masks", str(scene.masks)]) == 0
    assert torch.equal(store.load().labels, before)
    assert main(["label", *scene.arguments, "--masks", str(scene.masks), "--views", "view_03"]) == 0
    assert set(store.load().labels.tolist()) == {-1, 2}


@pytest.mark.parametrize(
    "options", [["--solver", "flashsplat", "--gamma", "-0.4"], ["--gamma", "auto"], ["--solver", "gradient"]]
)
def test_solvers_by_name(scene: SceneOnDisk, options: list[str]):
    elsewhere = scene.ply.parent / "elsewhere"
    arguments = [*scene.arguments, "--masks", str(scene.masks), "--segmentation", str(elsewhere), *options]
    assert main(["label", *arguments]) == 0
    labels = SegmentationStore(elsewhere).load().labels
    assert float((labels == scene.truth)[labels >= 0].float().mean()) > 0.9


def test_an_object_without_gaussians_is_kept(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    label_map = read_label_map(scene.masks / "view_00.png")
    label_map[0, 0] = 9
    write_label_map(scene.masks, "view_00", label_map)
    assert main(["label", *scene.arguments, "--masks", str(scene.masks)]) == 0
    assert "object_9 (id 9): no Gaussian belongs to it" in capsys.readouterr().out
    document = SegmentationStore(scene.ply.with_name("scene.segmentation")).load()
    assert document.counts()[9] == 0


def test_a_missing_folder(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(scene.masks)
    assert "no such folder of label maps" in label_failure(capsys, scene)


def test_no_matching_names(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    for path in scene.masks.glob("*.png"):
        path.rename(path.with_name(path.name.replace("view_", "veiw_")))
    line = label_failure(capsys, scene)
    assert "view_00" in line and "nearest name is veiw_00" in line


def test_a_broken_number_in_the_ply(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    means = scene.splats.means.clone()
    means[5, 1] = torch.nan
    write_ply(scene.ply, replace(scene.splats, means=means))
    assert "means of 1 Gaussians, the first at 5, are not finite" in label_failure(capsys, scene)


def test_no_label_in_any_map(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    for path in scene.masks.glob("*.png"):
        write_label_map(scene.masks, path.stem, torch.zeros(72, 96, dtype=torch.int64))
    assert "holds an object, only background" in label_failure(capsys, scene)


def test_maps_of_held_out_views_alone(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    for path in scene.masks.glob("*.png"):
        if path.stem not in ("view_03", "view_07"):
            path.unlink()
    assert "choose with --views" in label_failure(capsys, scene)


def test_an_unreadable_picture(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    (scene.data / "images" / "view_00.png").write_bytes(b"no picture")
    assert "view_00.png" in label_failure(capsys, scene)


@pytest.mark.parametrize("missing", ["--ply", "--data"])
def test_a_missing_path(scene: SceneOnDisk, missing: str, capsys: pytest.CaptureFixture[str]):
    assert "/nowhere" in label_failure(capsys, scene, missing, "/nowhere")


def test_other_bad_options(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    assert "no view 'view_77'" in label_failure(capsys, scene, "--views", "view_77")
    assert "gamma" in label_failure(capsys, scene, "--gamma", "3")
    assert "no --gamma auto" in label_failure(capsys, scene, "--solver", "gradient", "--gamma", "auto")
    assert "unknown device" in label_failure(capsys, scene, "--device", "abacus")


def test_splats_in_another_frame_stop_before_anything_is_saved(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    turned = torch.eye(4)
    turned[0, 0] = turned[1, 1] = -1.0
    turned[:3, 3] = torch.tensor([0.0, 3.0, 5.0])
    write_ply(scene.ply, scene.splats.transform(turned))
    assert "--dataparser-transforms" in label_failure(capsys, scene)
    assert not scene.ply.with_name("scene.segmentation").exists()


def test_several_processes_give_what_one_gives(labelled: SceneOnDisk):
    alone = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    elsewhere = labelled.ply.parent / "ranks"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "splatseg_ns.cli", "label", *labelled.arguments, "--masks", str(labelled.masks)]
    command += ["--segmentation", str(elsewhere)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("red ball") == 1
    assert torch.equal(SegmentationStore(elsewhere).load().labels, alone.labels)


def test_as_a_process_of_its_own(scene: SceneOnDisk, tmp_path: Path):
    command = [sys.executable, "-m", "splatseg_ns.cli", "label", *scene.arguments, "--masks", str(tmp_path / "no")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 1
    assert result.stderr.startswith("splatseg label: ") and result.stderr.count("\n") == 1


def test_splits_without_training_views(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    change_json(scene.data / "transforms.json", {"train_filenames": []})
    assert "no view is for train" in label_failure(capsys, scene)


def test_refined_splats_are_a_copy_with_a_document_of_their_own(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    before, out = scene.ply.read_bytes(), scene.ply.parent / "fine.ply"
    options = ["--refine", str(out), "--refine-steps", "3", "--refine-weight", "0.7"]
    assert main(["label", *scene.arguments, "--masks", str(scene.masks), *options]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert scene.ply.read_bytes() == before
    SegmentationStore(scene.ply.with_name("scene.segmentation")).load(scene.splats)
    refined = read_ply(out)
    assert not torch.equal(refined.means, scene.splats.means)
    document = SegmentationStore(out.with_name("fine.segmentation")).load(refined)
    assert document.names == ["red ball", "green ball", "blue ball"]
    assert float((document.labels == scene.truth)[document.labels >= 0].float().mean()) > 0.95
    entry = document.history[-1]
    assert entry.operation == "refine" and entry.parameters["steps"] == 3 and entry.parameters["label_weight"] == 0.7
    held_out = [entry.parameters["psnr"][when]["held_out"] for when in ("before", "after")]
    assert f"{held_out[0]:.2f} -> {held_out[1]:.2f} dB in the views held out" in printed
    assert "fine.segmentation" in printed


def test_refusals_of_refine_come_before_anything_is_saved(
    scene: SceneOnDisk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = scene.ply.parent / "fine.ply"
    indirect = scene.ply.parent / "capture" / ".." / "scene.ply"
    assert "would replace the splats of --ply" in label_failure(capsys, scene, "--refine", str(indirect))
    assert "written as a .ply" in label_failure(capsys, scene, "--refine", str(out.with_suffix(".splat")))
    assert "no such folder" in label_failure(capsys, scene, "--refine", str(out.parent / "nowhere" / "fine.ply"))
    assert "steps is 0 or more" in label_failure(capsys, scene, "--refine", str(out), "--refine-steps", "-1")
    same = ["--segmentation", str(out.with_name("fine.segmentation"))]
    assert "would be the same folder" in label_failure(capsys, scene, "--refine", str(out), *same)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one process" in label_failure(capsys, scene, "--refine", str(out))
    assert not scene.ply.with_name("scene.segmentation").exists() and not out.exists()
