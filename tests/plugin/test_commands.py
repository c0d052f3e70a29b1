"""Nerfstudio's own console scripts on runs that are segmented."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.plugin.runs import Run
from splatseg_ns.scene import Splats, read_ply
from tests.plugin.examples import document_of, halves, run_command

pytestmark = pytest.mark.slow

NAMES = ("rgb", "segmentation", "objects", "object_mask", "depth", "accumulation", "rgba")


def evaluated(run: Run, folder: Path) -> dict[str, float]:
    """What ns-eval finds, times apart."""
    result = run_command(
        "ns-eval", "--load-config", run.folder / "config.yml", "--output-path", folder / "eval.json", cwd=folder
    )
    assert result.returncode == 0, result.stdout + result.stderr
    metrics = json.loads((folder / "eval.json").read_text())["results"]
    return {name: value for name, value in metrics.items() if "rays" not in name and "fps" not in name}


def exported(run: Run, folder: Path) -> tuple[Splats, str]:
    """What ns-export writes and says."""
    result = run_command(
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
    result = run_command(
        "ns-export", "gaussian-splat", "--load-config", run.folder / "config.yml", "--output-dir", tmp_path,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert "splatseg: nothing to export: all Gaussians are hidden (object 1)" in result.stderr
    assert "Traceback" not in result.stderr
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


def test_help_tells_of_our_options(tmp_path: Path):
    result = run_command("ns-train", "splatseg", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--pipeline.model.render-profile {gsplat-1.4,gsplat-1.5,inria}" in result.stdout
    assert "cut-offs of the rasterizer" in result.stdout
    assert "run-folder" not in result.stdout
