"""``splatseg everything``: with a segmenter that knows the truth, and with the real one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.demo.bundle import FOLDER, MASKS, SPLATS
from splatseg_ns.masks.segmenter import Embedding
from splatseg_ns.scene import read_label_map
from splatseg_ns.segmentation import SegmentationStore, everything
from tests.cli.examples import TEST_VIEWS, SceneOnDisk
from tests.masks.fake_segmenter import PaintedSegmenter, painting

VOTING = [f"view_{number:02d}" for number in range(10) if f"view_{number:02d}" not in TEST_VIEWS]


@pytest.fixture
def segmenter(scene: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PaintedSegmenter:
    """In place of MobileSAM; it knows the label map of each picture."""
    pictures = {}
    for path in scene.masks.glob("*.png"):
        with Image.open(scene.data / "images" / path.name) as picture:
            pictures[picture.convert("RGB").tobytes()] = painting(read_label_map(path))

    class Recognizing(PaintedSegmenter):
        def embed(self, image: torch.Tensor) -> Embedding:
            return super().embed(pictures[image.numpy().tobytes()])

    made = Recognizing()
    monkeypatch.setattr("splatseg_ns.cli.segmenting.segmenter_named", lambda *_: made)
    monkeypatch.setenv("SPLATSEG_CACHE", str(tmp_path / "cache"))
    return made


def run(scene: SceneOnDisk, *more: str) -> int:
    return main(["everything", *scene.arguments, *more])


def store_of(scene: SceneOnDisk) -> SegmentationStore:
    return SegmentationStore(scene.ply.with_name("scene.segmentation"))


def failure(capsys: pytest.CaptureFixture[str], scene: SceneOnDisk, *more: str) -> str:
    assert run(scene, *more) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_all_objects_are_found_and_saved(
    scene: SceneOnDisk, segmenter: PaintedSegmenter, capsys: pytest.CaptureFixture[str]
):
    assert run(scene) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    document = store_of(scene).load(scene.splats)
    assert document.names == ["object_1", "object_2", "object_3"]
    assert len({entry.color for entry in document.objects}) == 3
    # Blue is the largest ball, green the smallest.
    for id, ball in ((1, 3), (2, 1), (3, 2)):
        mine, true = document.labels == id, scene.truth == ball
        seen = document.labels >= 0
        assert float((mine & true & seen).sum() / ((mine | true) & seen).sum()) > 0.85
    assert "dropped: 0 things" in printed and "masks in 8 views" in printed
    stages = ["read", "frame", "masks", "association", "votes", "save"]
    assert re.findall(r"(\w+) \d+\.\d\d s", printed) == stages
    found = document.object(1).provenance
    assert found.solver == "robust" and found.prompts[0]["everything"] == "painted"
    made = {entry.operation: entry.parameters for entry in document.history}
    assert made["everything"]["views"] == VOTING and made["label"]["solver"] == "robust"
    assert segmenter.embedded == len(VOTING)


def test_what_was_found_is_judged_and_exported(
    scene: SceneOnDisk, segmenter: PaintedSegmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(scene) == 0
    capsys.readouterr()
    judge = ["eval", *scene.arguments, "--masks", str(scene.masks), "--panoptic"]
    assert main([*judge, "--json"]) == 0
    panoptic = json.loads(capsys.readouterr().out)["panoptic"]
    assert panoptic["recognition_quality"] == 1.0 and panoptic["quality"] > 0.9
    assert [pair[:2] for pair in panoptic["matched"]] == [[1, 3], [2, 1], [3, 2]]
    assert main(judge) == 0
    assert "3 found, 0 missed, 0 too many; 0 lie on" in capsys.readouterr().out
    assert main(["export", *scene.arguments, "--all", "--out", str(tmp_path / "parts")]) == 0
    assert (tmp_path / "parts" / "object_1.ply").is_file()
    # The votes are kept, so masks are soft and another gamma is possible.
    assert store_of(scene).load().votes() is not None
    assert (
        main(["masks", *scene.arguments, "--out", str(tmp_path / "masks"), "--rule", "depth", "--gamma", "-0.2"]) == 0
    )


def test_some_views_and_their_sheets(
    scene: SceneOnDisk, segmenter: PaintedSegmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sheets = tmp_path / "sheets"
    assert run(scene, "--view-count", "4", "--pictures", str(sheets)) == 0
    assert segmenter.embedded == 4
    names = store_of(scene).load().history[0].parameters["views"]
    assert len(names) == 4 and set(names) < set(VOTING)
    assert sorted(path.stem for path in sheets.glob("*.png")) == names
    with Image.open(sheets / f"{names[0]}.png") as sheet:
        assert sheet.size == (3 * 96, 72)
    assert str(sheets) in capsys.readouterr().out


def test_views_by_name(scene: SceneOnDisk, segmenter: PaintedSegmenter):
    assert run(scene, "--views", "view_03", "view_04", "view_05", "--view-count", "0") == 0
    assert store_of(scene).load().history[0].parameters["views"] == ["view_03", "view_04", "view_05"]


def test_too_few_views(scene: SceneOnDisk, segmenter: PaintedSegmenter, capsys: pytest.CaptureFixture[str]):
    assert "2 views are looked at, but an object needs masks in 3" in failure(capsys, scene, "--view-count", "2")
    assert not store_of(scene).exists()


def test_nothing_is_stable(scene: SceneOnDisk, segmenter: PaintedSegmenter, capsys: pytest.CaptureFixture[str]):
    segmenter.scores = (0.1, 0.2, 0.3)
    assert "none of 0 masks in 8 views is stable" in failure(capsys, scene)
    assert not store_of(scene).exists()


def test_other_bad_options(scene: SceneOnDisk, segmenter: PaintedSegmenter, capsys: pytest.CaptureFixture[str]):
    assert "least_support is a share" in failure(capsys, scene, "--min-support", "2")
    assert "--view-count" in failure(capsys, scene, "--view-count", "-1")
    assert "no view 'view_77'" in failure(capsys, scene, "--views", "view_77")
    assert "gamma" in failure(capsys, scene, "--gamma", "3")


def test_small_objects_are_dropped_with_a_count(
    scene: SceneOnDisk, segmenter: PaintedSegmenter, capsys: pytest.CaptureFixture[str]
):
    assert run(scene) == 0
    counts = store_of(scene).load().counts()
    capsys.readouterr()
    assert run(scene, "--min-gaussians", str(counts[3] + 1)) == 0
    assert "1 with too few Gaussians" in capsys.readouterr().out
    document = store_of(scene).load()
    assert document.names == ["object_1", "object_2"] and not bool((document.labels == 3).any())


@pytest.mark.parametrize("step", ["automatic_masks", "associate"])
def test_an_interruption_leaves_the_document(
    scene: SceneOnDisk, segmenter: PaintedSegmenter, step: str, monkeypatch: pytest.MonkeyPatch
):
    assert run(scene) == 0
    before = {path.name: path.read_bytes() for path in store_of(scene).folder.iterdir()}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(everything, step, interrupted)
    assert run(scene, "--level", "part") == 130
    assert {path.name: path.read_bytes() for path in store_of(scene).folder.iterdir()} == before


@pytest.mark.slow
def test_mobile_sam_on_the_bundled_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SPLATSEG_CACHE", str(tmp_path / "cache"))
    ply = tmp_path / "scene.ply"
    shutil.copyfile(SPLATS, ply)
    arguments = ["--ply", str(ply), "--data", str(FOLDER), "--device", "cpu"]
    views = ["frame_00029", "frame_00030", "frame_00028"]
    more = ["--views", *views, "--min-views", "2", "--masks.most-prompts", "32"]
    assert main(["everything", *arguments, *more]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["eval", *arguments, "--masks", str(MASKS), "--panoptic", "--json"]) == 0
    panoptic = json.loads(capsys.readouterr().out)["panoptic"]
    # Three views next to each other see one side of things; held-out views look from all around.
    assert len(panoptic["matched"]) >= 5 and panoptic["segmentation_quality"] > 0.7
