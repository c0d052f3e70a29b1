"""``splatseg masks``: masks that are right, and that ``splatseg label`` takes back."""

from __future__ import annotations

import json
import math

import pytest
import torch

from splatseg_ns.cli import main
from splatseg_ns.masks import LabelFolder
from splatseg_ns.scene import Capture, read_label_map
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from tests.cli.examples import TEST_VIEWS, SceneOnDisk
from tests.cli.test_label import failure


def test_visible_masks_of_held_out_views(labelled: SceneOnDisk):
    out = labelled.ply.parent / "out"
    assert main(["masks", *labelled.arguments, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"view_03.png", "view_07.png", "labels.json"}
    for view in TEST_VIEWS:
        ours, truth = (read_label_map(folder / f"{view}.png") for folder in (out, labelled.masks))
        assert float((ours == truth).float().mean()) > 0.97


@pytest.mark.parametrize("kind", ["visible", "amodal"])
def test_masks_come_back_as_the_same_objects(labelled: SceneOnDisk, kind: str):
    out, again = labelled.ply.parent / "out", labelled.ply.parent / "again"
    assert main(["masks", *labelled.arguments, "--views", "train", "--kind", kind, "--out", str(out)]) == 0
    assert main(["label", *labelled.arguments, "--masks", str(out), "--segmentation", str(again)]) == 0
    first = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    second = SegmentationStore(again).load()
    assert second.names == first.names
    assert [entry.color for entry in second.objects] == [entry.color for entry in first.objects]
    assert float((first.labels == second.labels).float().mean()) > 0.9


def test_amodal_masks_show_what_is_hidden(labelled: SceneOnDisk):
    out = labelled.ply.parent / "out"
    assert main(["masks", *labelled.arguments, "--views", "all", "--kind", "amodal", "--out", str(out)]) == 0
    names = Capture.load(labelled.data).names
    folder = LabelFolder.open(out, names)
    assert folder.name(1).name == "red ball"
    hidden = 0
    for view in names:
        for id in (1, 2, 3):
            whole = read_label_map(out / str(id) / f"{view}.png") > 0
            seen = read_label_map(labelled.masks / f"{view}.png") == id
            assert int((seen & ~whole).sum()) <= 0.15 * int(seen.sum()) + 5
            hidden += int((whole & ~seen).sum())
    assert hidden > 50


def test_a_camera_path_of_the_viewer(labelled: SceneOnDisk):
    view = Capture.load(labelled.data).view("view_03")
    pose = torch.linalg.inv(view.viewmat.double())
    pose[:3, 1:3] *= -1
    fov = math.degrees(2 * math.atan(0.5 * view.camera.height / float(view.camera.K[1, 1])))
    path = labelled.ply.parent / "path.json"
    entry = {"camera_to_world": pose.flatten().tolist(), "fov": fov, "aspect": 4 / 3}
    path.write_text(json.dumps({"render_width": 96, "render_height": 72, "camera_path": [entry, entry]}))
    out = labelled.ply.parent / "out"
    assert main(["masks", "--ply", str(labelled.ply), "--views", str(path), "--out", str(out)]) == 0
    assert main(["masks", *labelled.arguments, "--views", "view_03", "--out", str(out)]) == 0
    drawn = read_label_map(out / "00001.png")
    assert float((drawn == read_label_map(out / "view_03.png")).float().mean()) > 0.999


def test_edited_objects_are_drawn_as_they_are(labelled: SceneOnDisk):
    out = labelled.ply.parent / "out"
    assert main(["objects", *labelled.arguments, "--merge", "red ball", "green ball"]) == 0
    assert main(["masks", *labelled.arguments, "--out", str(out)]) == 0
    ours, truth = (read_label_map(folder / "view_03.png") for folder in (out, labelled.masks))
    assert float((ours == torch.where(truth == 2, 1, truth)).float().mean()) > 0.97


def test_visible_masks_by_depth(labelled: SceneOnDisk):
    out, overlapping = labelled.ply.parent / "out", labelled.ply.parent / "overlapping"
    depth = ["masks", *labelled.arguments, "--views", "all", "--rule", "depth"]
    assert main([*depth, "--out", str(out)]) == 0
    assert main([*depth, "--gamma", "-0.9", "--out", str(overlapping)]) == 0
    covered = {out: 0, overlapping: 0}
    for view in Capture.load(labelled.data).names:
        truth = read_label_map(labelled.masks / f"{view}.png")
        for folder in (out, overlapping):
            ours = read_label_map(folder / f"{view}.png")
            assert float((ours == truth).float().mean()) > 0.93
            covered[folder] += int((ours > 0).sum())
    assert covered[overlapping] > covered[out]


def test_amodal_masks_of_other_sets(labelled: SceneOnDisk):
    covered = []
    for gamma in ("0.9", "-0.9"):
        out = labelled.ply.parent / f"out{gamma}"
        arguments = ["--kind", "amodal", "--gamma", gamma, "--out", str(out)]
        assert main(["masks", *labelled.arguments, *arguments]) == 0
        covered.append(int(read_label_map(out / "1" / "view_03.png").sum()))
    assert covered[0] < covered[1]


def test_gamma_needs_votes_that_know_the_objects(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    arguments = ["masks", *labelled.arguments, "--rule", "depth", "--out", str(labelled.ply.parent / "out")]
    assert main(["objects", *labelled.arguments, "--delete", "red ball"]) == 0
    assert "objects were edited" in failure(capsys, *arguments, "--gamma", "-0.4")
    assert main(arguments) == 0
    store = SegmentationStore(labelled.ply.with_name("scene.segmentation"))
    document = store.load()
    store.save(Segmentation.of(labelled.splats, document.labels, document.objects))
    assert "keeps no votes" in failure(capsys, *arguments, "--gamma", "-0.4")


def test_failures(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    arguments = ["masks", "--ply", str(labelled.ply), "--out", str(labelled.ply.parent / "out")]
    path = labelled.ply.parent / "path.json"
    path.write_text('{"camera_path": []}')
    assert "lacks 'render_width'" in failure(capsys, *arguments, "--views", str(path))
    assert "/nowhere.json" in failure(capsys, *arguments, "--views", "/nowhere.json")
    assert "--data" in failure(capsys, *arguments)
    assert "--tau" in failure(capsys, *arguments, "--tau", "2")
    assert "--rule depth or --kind amodal" in failure(capsys, *arguments, "--gamma", "-0.4")
    assert "--rule is about visible masks" in failure(capsys, *arguments, "--rule", "depth", "--kind", "amodal")
    assert "gamma is a number" in failure(
        capsys, *arguments, "--data", str(labelled.data), "--rule", "depth", "--gamma", "3"
    )
