"""Splats that Nerfstudio has not trained as runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from splatseg_ns.cli import main
from splatseg_ns.plugin.attach import attach_splats
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture, Lens, read_ply, render_profile, write_ply
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk, dataparser_json, similarity
from tests.plugin.examples import nerfstudio_camera


@pytest.fixture
def elsewhere(scene: SceneOnDisk, tmp_path: Path) -> SceneOnDisk:
    """Splats in another frame than their capture, as an exported run has them."""
    ply = tmp_path / "splats" / "balls.ply"
    ply.parent.mkdir()
    write_ply(ply, scene.splats.transform(similarity()))
    (ply.parent / "dataparser_transforms.json").write_text(dataparser_json(similarity()))
    return replace(scene, ply=ply)


def test_a_ply_becomes_a_run_with_its_pictures_and_objects(
    elsewhere: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["label", *elsewhere.arguments, "--masks", str(elsewhere.masks)]) == 0
    store = SegmentationStore(elsewhere.ply.with_name("balls.segmentation"))
    store.parts.save(replace(store.load(), next_id=9))
    assert main(["attach", *elsewhere.arguments, "--profile", "inria", "--out", "outputs/balls"]) == 0
    run = Run.open("outputs/balls")
    splats = read_ply(elsewhere.ply)
    assert run.profile == render_profile("inria")
    assert torch.equal(run.splats().means, splats.means)
    capture, original = run.capture(), Capture.load(elsewhere.data)
    assert capture.names == original.names
    assert [view.split for view in capture] == [view.split for view in original]
    engine = rasterizer_for("cpu")
    for view in capture.views[:3]:
        drawn = engine.render(splats, view.camera).colors.clamp(0, 1)
        assert float((drawn - view.image() / 255).abs().mean()) < 0.01
    document = store.load()
    assert torch.equal(run.store.load(run.splats()).labels, document.labels)
    assert run.store.parts.load(run.splats()).next_id == 9
    (tmp_path / "outputs" / "balls").rename(tmp_path / "moved")
    again = attached(tmp_path / "moved")
    assert Run.open(again.parent).store.parts.load().next_id == 9
    _, pipeline, _, _ = eval_setup(again, test_mode="inference")
    shown = pipeline.model.get_outputs_for_camera(nerfstudio_camera(capture.views[0].camera))
    assert float((shown["rgb"] - capture.views[0].image() / 255).abs().mean()) < 0.02
    assert bool((shown["segmentation"] > 0).any())


def attached(folder: Path) -> Path:
    """Attach a run that was moved, and give the new config.yml."""
    assert main(["attach", "--load-config", str(folder), "--out", str(folder.with_name("again"))]) == 0
    return folder.with_name("again") / "config.yml"


def test_lenses_of_all_pictures_are_kept(scene: SceneOnDisk, tmp_path: Path):
    capture = Capture.load(scene.data)
    lenses = [Lens(90.0 + number, 91.0, 48.5, 36.0, k1=0.01 * number, p2=0.001) for number in range(len(capture))]
    views = tuple(replace(view, lens=lens) for view, lens in zip(capture, lenses, strict=True))
    attach_splats(scene.splats, replace(capture, views=views), tmp_path / "run")
    for view, lens in zip(Run.open(tmp_path / "run").capture(), lenses, strict=True):
        assert view.lens.k1 == pytest.approx(lens.k1) and view.lens.fx == pytest.approx(lens.fx)
        assert view.lens.p2 == pytest.approx(0.001) and view.lens.cx == 48.5


def test_a_capture_of_training_pictures_alone_is_judged_by_them(scene: SceneOnDisk, tmp_path: Path):
    attach_splats(scene.splats, Capture.load(scene.data).with_split("train"), tmp_path / "run")
    stated = json.loads((tmp_path / "run" / "transforms.json").read_text())
    assert stated["val_filenames"] == stated["test_filenames"] == stated["train_filenames"]
    assert {view.split for view in Run.open(tmp_path / "run").capture()} == {"train"}


def test_mixed_pictures_are_refused(scene: SceneOnDisk, tmp_path: Path):
    capture = Capture.load(scene.data)
    first, *others = capture.views
    fish = replace(capture, views=(replace(first, lens=replace(first.lens, kind="fisheye")), *others))
    with pytest.raises(ValueError, match="one kind of lens"):
        attach_splats(scene.splats, fish, tmp_path / "run")
    masked = replace(capture, views=(replace(first, mask_path=first.image_path), *others))
    with pytest.raises(ValueError, match="a mask"):
        attach_splats(scene.splats, masked, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
