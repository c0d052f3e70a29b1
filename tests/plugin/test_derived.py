"""Runs of some Gaussians of another run: in this plugin, and in stock Nerfstudio without it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from splatseg_ns.cli import main
from splatseg_ns.edit import part_of, with_added
from splatseg_ns.plugin.derived import derive_run
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import rasterizer_for
from tests.cli.test_label import failure
from tests.plugin.examples import halves, nerfstudio_camera

pytestmark = pytest.mark.slow

STOCK = """
import importlib.metadata, sys
from pathlib import Path
found = importlib.metadata.entry_points
# As where the plugin is not installed: nobody knows of it, and importing it fails.
def entry_points(**kind):
    return found(**kind) if kind.get("group") != "nerfstudio.method_configs" else importlib.metadata.EntryPoints()
importlib.metadata.entry_points = entry_points
sys.modules["splatseg_ns"] = None
import torch, torchmetrics.image.lpip
# Its weights come from the network.
torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity = lambda **options: torch.nn.Identity()
from nerfstudio.scripts.exporter import ExportGaussianSplat
from nerfstudio.utils.eval_utils import eval_setup
config, pipeline, checkpoint, step = eval_setup(Path(sys.argv[1]), test_mode="inference")
assert type(pipeline.model).__module__ == "nerfstudio.models.splatfacto"
state = {name: tensor.detach().clone() for name, tensor in pipeline.model.gauss_params.items()}
torch.save({"step": step, "state": state}, sys.argv[2])
"""


def named(run: Run) -> list[str]:
    return ["--load-config", str(run.folder / "config.yml"), "--device", "cpu"]


def files_of(run: Run) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}


def test_an_object_is_a_run_that_shows_it_alone(labelled_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before, splats = files_of(labelled_run), labelled_run.splats()
    words = ["--objects", "object 2", "--no-revote", "--method", "splatseg"]
    assert main(["extract", *named(labelled_run), *words]) == 0
    assert files_of(labelled_run) == before
    folder = labelled_run.folder.parent / "splatseg" / "run-object_2"
    assert {path.name for path in folder.iterdir()} == {
        "config.yml", "dataparser_transforms.json", "nerfstudio_models", "segmentation",
    }  # fmt: skip
    derived = Run.open(folder)
    part = splats.subset(halves(splats) == 2)
    for name, tensor in derived.splats().tensors().items():
        assert torch.equal(tensor, part.tensors()[name])
    content = torch.load(derived.checkpoint, weights_only=True)
    assert content.keys() == {"step", "pipeline"} and content["step"] == labelled_run.step
    # It was hidden in the scene; here it is all there is.
    assert derived.store.load(derived.splats()).object("object 2").visible
    monkeypatch.chdir(tmp_path)
    _, pipeline, _, _ = eval_setup(folder / "config.yml", test_mode="inference")
    camera = derived.capture().views[0].camera
    drawn = pipeline.model.get_outputs_for_camera(nerfstudio_camera(camera))
    alone = rasterizer_for("cpu").render(part, camera, sh_degree=part.sh_degree)
    torch.testing.assert_close(drawn["rgb"], alone.colors.clamp(0, 1), atol=1e-5, rtol=0)
    # A run that was made of a run is one.
    assert main(["remove", *named(derived), "--objects", "object 2", "--out", str(tmp_path / "none")]) == 1


def test_without_an_object_the_rest_is_what_it_was(labelled_run: Run, tmp_path: Path):
    splats, out = labelled_run.splats(), tmp_path / "rest"
    assert main(["remove", *named(labelled_run), "--objects", "1", "--method", "splatseg", "--out", str(out)]) == 0
    derived = Run.open(out)
    assert torch.equal(derived.splats().means, splats.means[halves(splats) == 2])
    document = derived.store.load(derived.splats())
    assert document.names == ["object 2"] and not document.object("object 2").visible
    assert document.history[-1].parameters["source"] == str(labelled_run.folder / "config.yml")
    assert derived.frame().from_capture.equal(labelled_run.frame().from_capture)


@pytest.mark.parametrize("degree", [0, 1])
def test_new_gaussians_come_last(labelled_run: Run, tmp_path: Path, degree: int):
    splats = labelled_run.splats()
    rows = halves(splats) == 2
    new = splats.subset(~rows)
    new = replace(new, means=new.means + 1.0, sh=new.sh[:, : (degree + 1) ** 2])
    part, document = with_added(*part_of(labelled_run.store.load(splats), splats, rows, [2]), new)
    derived = Run.open(derive_run(labelled_run, tmp_path / "filled", rows, "splatseg", document, new))
    for name, tensor in derived.splats().tensors().items():
        torch.testing.assert_close(tensor, part.tensors()[name], atol=1e-6, rtol=1e-6)
    assert torch.equal(derived.splats().means, part.means)
    kept = derived.store.load(derived.splats())
    assert int((kept.labels == 2).sum()) == int(rows.sum()) and not bool(kept.labels[int(rows.sum()) :].any())
    _, pipeline, _, _ = eval_setup(derived.folder / "config.yml", test_mode="inference")
    assert pipeline.model.num_points == len(part)


def test_stock_nerfstudio_opens_it_without_this_package(labelled_run: Run, tmp_path: Path):
    splats = labelled_run.splats()
    words = ["--objects", "object 1", "--no-revote", "--method", "splatfacto"]
    out = tmp_path / "outputs" / "balls" / "splatfacto" / "one"
    assert main(["extract", *named(labelled_run), *words, "--out", str(out)]) == 0
    assert "splatseg_ns" not in (out / "config.yml").read_text()
    result = subprocess.run(
        [sys.executable, "-c", STOCK, str(out / "config.yml"), str(tmp_path / "seen.pt")],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    seen = torch.load(tmp_path / "seen.pt", weights_only=True)
    assert seen["step"] == labelled_run.step
    assert torch.equal(seen["state"]["means"], splats.means[halves(splats) == 1])
    assert torch.equal(seen["state"]["features_rest"], splats.sh[halves(splats) == 1, 1:])
    # It can be read and cut further here too.
    assert Run.open(out).store.load(Run.open(out).splats()).names == ["object 1"]


def test_nothing_is_written_where_something_is(labelled_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = files_of(labelled_run)
    words = ["extract", *named(labelled_run), "--objects", "1", "--no-revote", "--method"]
    inside = labelled_run.folder / "more"
    assert "stays as it is" in failure(capsys, *words, "splatseg", "--out", str(inside))
    assert "stays as it is" in failure(capsys, *words, "splatseg", "--out", str(labelled_run.folder))
    assert "is there already" in failure(capsys, *words, "splatseg", "--out", str(tmp_path))
    assert "EXPERIMENT/splatfacto/NAME" in failure(capsys, *words, "splatfacto", "--out", str(tmp_path / "one"))
    labelled_run.checkpoint.write_bytes(b"nothing")
    assert "no readable checkpoint" in failure(capsys, *words, "splatseg", "--out", str(tmp_path / "one"))
    labelled_run.checkpoint.write_bytes(before[labelled_run.checkpoint])
    assert files_of(labelled_run) == before
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
