"""What Nerfstudio shows and exports of a run while its background is hidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from splatseg_ns.plugin.attach import attach_splats
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import one_torch_thread, rasterizer_for
from splatseg_ns.scene import Capture, read_ply
from splatseg_ns.segmentation import Segmentation
from tests.cli.examples import SceneOnDisk
from tests.plugin.examples import document_of, nerfstudio_camera
from tests.plugin.in_process import call_command


@pytest.fixture
def bare_run(scene: SceneOnDisk, tmp_path: Path) -> Run:
    """The balls are objects, the blue one is hidden like the table, and some of the table was never seen."""
    labels = scene.truth.clone()
    labels[:100] = -1
    document = replace(document_of(scene.splats, labels, hidden=(3,)), background_visible=False)
    return Run.open(attach_splats(scene.splats, Capture.load(scene.data), tmp_path / "run", document))


def shown(document: Segmentation) -> torch.Tensor:  # [N] bool
    return (document.labels == 1) | (document.labels == 2)


def test_ns_export_writes_the_visible_objects_alone(bare_run: Run, tmp_path: Path):
    words = ["ns-export", "gaussian-splat", "--load-config", bare_run.folder / "config.yml", "--output-dir"]
    result = call_command(*words, tmp_path / "out", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    splats, document = bare_run.splats(), bare_run.store.load()
    written = read_ply(tmp_path / "out" / "splat.ply")
    assert torch.equal(written.means, splats.means[shown(document)])
    count = int(shown(document).sum())
    assert f"{count} of {len(splats)} Gaussians; hidden: background, object 3." in result.stdout
    bare_run.store.save(document.with_objects(*(replace(entry, visible=False) for entry in document.objects)))
    result = call_command(*words, tmp_path / "nothing", cwd=tmp_path)
    assert result.returncode == 1 and not (tmp_path / "nothing" / "splat.ply").exists()
    hidden = "background, object 1, object 2, object 3"
    assert f"splatseg: nothing to export: all Gaussians are hidden ({hidden}); show an object" in result.stderr


def test_objects_stand_alone_where_the_background_is_hidden(
    bare_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with one_torch_thread():
        _, pipeline, _, _ = eval_setup(bare_run.folder / "config.yml", test_mode="inference")
    camera = bare_run.capture().views[0].camera
    drawn = pipeline.model.get_outputs_for_camera(nerfstudio_camera(camera))
    splats = bare_run.splats()
    engine, alone = rasterizer_for("cpu"), splats.subset(shown(bare_run.store.load()))
    for name, part in (("objects", alone), ("rgb", splats)):
        expected = engine.render(part, camera).colors.clamp(0, 1)
        torch.testing.assert_close(drawn[name], expected, atol=1e-4, rtol=0)
    # The mask of all visible objects has nothing of what is hidden before them.
    assert bool((drawn["object_mask"] > 0.5).any())
