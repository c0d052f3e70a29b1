"""Nerfstudio's own console scripts on runs that are segmented.

Those that are called here as processes, and in test_made_runs, show that they start and end as users see it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.plugin.runs import Run
from splatseg_ns.scene import Splats, read_ply
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk
from tests.plugin.examples import document_of, halves, run_command
from tests.plugin.in_process import call_command

pytestmark = pytest.mark.slow

NAMES = ("rgb", "segmentation", "objects", "object_mask", "depth", "accumulation", "rgba")


def evaluated(run: Run, folder: Path) -> dict[str, float]:
    """What ns-eval finds, times apart."""
    result = call_command(
        "ns-eval", "--load-config", run.folder / "config.yml", "--output-path", folder / "eval.json", cwd=folder
    )
    assert result.returncode == 0, result.stdout + result.stderr
    metrics = json.loads((folder / "eval.json").read_text())["results"]
    return {name: value for name, value in metrics.items() if "rays" not in name and "fps" not in name}


def exported(run: Run, folder: Path) -> tuple[Splats, str]:
    """What ns-export writes and says."""
    result = call_command(
        "ns-export", "gaussian-splat", "--load-config", run.folder / "config.yml", "--output-dir", folder, cwd=folder
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return read_ply(folder / "splat.ply"), result.stdout


def test_training_leaves_a_run_with_splats_that_were_densified(pristine_run: Run):
    assert {path.name for path in pristine_run.folder.iterdir()} >= {"config.yml", "dataparser_transforms.json"}
    assert pristine_run.checkpoint.name == "step-000000059.ckpt"
    assert len(pristine_run.splats()) != 2400


def test_what_is_hidden_makes_no_difference_to_ns_eval(run: Run, tmp_path: Path):
    before = evaluated(run, tmp_path)
    assert before["psnr"] > 15.0 and before["ssim"] > 0.2
    splats = run.splats()
    run.store.save(document_of(splats, torch.ones(len(splats), dtype=torch.int64), hidden=(1,)))
    assert evaluated(run, tmp_path) == before


def test_ns_render_draws_what_is_segmented(labelled_run: Run, tmp_path: Path):
    result = run_command(
        "ns-render", "dataset", "--load-config", labelled_run.folder / "config.yml", "--output-path",
        tmp_path / "out", "--image-format", "png", "--rendered-output-names", *NAMES, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    for name in NAMES:
        pictures = sorted((tmp_path / "out" / "test" / name).iterdir())
        assert [path.name for path in pictures] == ["view_03.png", "view_07.png"]
    drawn = {name: np.array(Image.open(tmp_path / "out" / "test" / name / "view_03.png")) for name in NAMES}
    assert drawn["rgba"].shape == (72, 96, 4)
    assert (drawn["objects"] != drawn["rgb"]).any()
    assert drawn["segmentation"].any()


def test_ns_render_films_a_camera_path(labelled_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    camera = labelled_run.capture().views[0].camera
    pose = torch.linalg.inv(camera.viewmat.double())
    pose[:, 1:3] *= -1
    stop = {"camera_to_world": pose.flatten().tolist(), "fov": 45.0, "aspect": 4 / 3}
    path = {"camera_type": "perspective", "render_width": 96, "render_height": 72, "fps": 2, "seconds": 1}
    (tmp_path / "path.json").write_text(json.dumps({**path, "camera_path": [stop, stop]}))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    result = call_command(
        "ns-render", "camera-path", "--load-config", labelled_run.folder / "config.yml", "--camera-path-filename",
        tmp_path / "path.json", "--output-path", tmp_path / "film.mp4", "--rendered-output-names", "segmentation",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    frames = [film.read() for _ in range(3)]
    film.release()
    assert [read for read, _ in frames] == [True, True, False]
    assert frames[0][1].shape == (72, 96, 3) and frames[0][1].std() > 5


def test_an_exported_ply_is_labelled_in_its_own_frame(run: Run, scene: SceneOnDisk, tmp_path: Path):
    exported(run, tmp_path)
    transforms = run.folder / "dataparser_transforms.json"
    masks = ["--masks", str(scene.masks), "--solver", "flashsplat"]
    ply = ["--ply", str(tmp_path / "splat.ply"), "--data", str(scene.data), "--dataparser-transforms", str(transforms)]
    assert main(["label", *ply, *masks]) == 0
    assert main(["label", "--load-config", str(run.folder / "config.yml"), *masks]) == 0
    splats = run.splats()
    kept = splats.logit_opacities >= -5.5373
    found = SegmentationStore(tmp_path / "splat.segmentation").load().labels
    expected = run.store.load(splats).labels[kept]
    assert len(found) == len(expected) and len(found.unique()) >= 3
    assert float((found == expected).double().mean()) > 0.99


def test_ns_export_writes_what_is_visible_and_says_so(labelled_run: Run, tmp_path: Path):
    splats = labelled_run.splats()
    document = labelled_run.store.load(splats)
    some, said = exported(labelled_run, tmp_path)
    # Nerfstudio itself leaves out what is too transparent to be seen.
    kept = splats.subset((halves(splats) == 1) & (splats.logit_opacities >= -5.5373))
    assert torch.equal(some.means, kept.means) and torch.equal(some.sh, kept.sh)
    assert f"{int((halves(splats) == 1).sum())} of {len(splats)} Gaussians; hidden: object 2" in said
    shown = document.with_objects(*(replace(entry, visible=True) for entry in document.objects))
    labelled_run.store.save(shown)
    everything, said = exported(labelled_run, tmp_path)
    assert len(everything) == int((splats.logit_opacities >= -5.5373).sum())
    assert "hidden" not in said


def test_an_export_of_nothing_is_one_clear_line(run: Run, tmp_path: Path):
    splats = run.splats()
    run.store.save(document_of(splats, torch.ones(len(splats), dtype=torch.int64), hidden=(1,)))
    result = call_command(
        "ns-export", "gaussian-splat", "--load-config", run.folder / "config.yml", "--output-dir", tmp_path,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert "splatseg: nothing to export: all Gaussians are hidden (object 1)" in result.stderr
    assert not (tmp_path / "splat.ply").exists()


def test_a_document_of_other_splats_is_one_clear_line(run: Run, tmp_path: Path):
    splats = run.splats().subset(torch.arange(100))
    run.store.save(document_of(splats, halves(splats)))
    result = run_command(
        "ns-eval", "--load-config", run.folder / "config.yml", "--output-path", tmp_path / "eval.json", cwd=tmp_path
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("splatseg: ") and "the splats have changed since they were segmented" in last
    assert "Traceback" not in result.stderr


def test_help_tells_of_our_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    result = call_command("ns-train", "splatseg", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--pipeline.model.render-profile {gsplat-1.4,gsplat-1.5,inria}" in result.stdout
    assert "cut-offs of the rasterizer" in result.stdout
    assert "run-folder" not in result.stdout
