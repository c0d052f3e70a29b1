"""``splatseg prune`` on a .ply and on a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.cli.prune import SHARES
from splatseg_ns.lift import Pictures, contribution, mean_psnr
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture, read_ply
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk, change_json
from tests.cli.test_label import failure

VIEWS = [f"images/view_{number:02d}.png" for number in range(10)]


def pruned(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What the command prints."""
    assert main(["prune", *scene.arguments, *more]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def beside(scene: SceneOnDisk) -> Path:
    return scene.ply.with_name("scene-pruned.ply")


def without_split(scene: SceneOnDisk) -> None:
    change_json(scene.data / "transforms.json", {"train_filenames": VIEWS, "test_filenames": []})


def test_by_default_training_views_lose_nothing(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    content = labelled.ply.read_bytes()
    printed = pruned(labelled, capsys)
    assert labelled.ply.read_bytes() == content
    engine, capture = rasterizer_for("cpu"), Capture.load(labelled.data)
    cameras = [view.camera for view in capture.with_split("train")]
    left = read_ply(beside(labelled))
    shown = contribution(engine, labelled.splats, cameras) > 0
    assert 0 < len(left) < len(labelled.splats) and torch.equal(left.means, labelled.splats.means[shown])
    for camera in cameras:
        difference = engine.render(labelled.splats, camera).colors - engine.render(left, camera).colors
        assert float(difference.abs().max()) < 1 / 510
    before = SegmentationStore(labelled.ply.with_name("scene.segmentation")).load()
    document = SegmentationStore(labelled.ply.with_name("scene-pruned.segmentation")).load(left)
    assert document.names == before.names and torch.equal(document.labels, before.labels[shown])
    votes, votes_before = document.votes(), before.votes()
    assert votes is not None and votes_before is not None and torch.equal(votes.seen, votes_before.seen[shown])
    assert document.history[-1].operation == "prune"
    assert "changes by more than 0.0000" in printed and f"{len(left)} of 12000 Gaussians" in printed
    for word in ("MB", "PSNR training", "PSNR held out", "SSIM", "frames per second", "before", "after"):
        assert word in printed


def test_a_share_is_kept_and_found_again(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    out = {name: scene.ply.with_name(f"{name}.ply") for name in ("first", "second", "published")}
    printed = {
        name: pruned(
            scene, capsys, "--keep", "0.6", "--out", str(path), *(["--rule", "gradient"] * (name == "published"))
        )
        for name, path in out.items()
    }
    assert out["first"].read_bytes() == out["second"].read_bytes()
    lost = {}
    for name, text in printed.items():
        assert len(read_ply(out[name])) == 7200
        assert not out[name].with_name(f"{name}.segmentation").exists()
        lost[name] = float(re.findall(r"[-+]\d+\.\d{3}\b", text)[1])
    assert lost["first"] == lost["second"] < 0
    assert abs(lost["first"]) < abs(lost["published"]) / 1.3


@pytest.mark.parametrize("rule", ["error", "gradient"])
def test_held_out_views_lose_no_more_than_they_may(scene: SceneOnDisk, rule: str, capsys: pytest.CaptureFixture[str]):
    printed = pruned(scene, capsys, "--max-drop", "1.5dB", "--rule", rule)
    capture = Capture.load(scene.data)
    pictures = Pictures(capture.with_split("test").views)
    engine, left = rasterizer_for("cpu"), read_ply(beside(scene))
    before, after = mean_psnr(engine, scene.splats, pictures), mean_psnr(engine, left, pictures)
    assert before is not None and after is not None
    # As much has gone as that allows.
    assert 1.0 < before - after <= 1.5
    assert len(left) < len(scene.splats) and f"{after - before:+.3f}" in printed


def test_a_sweep_plots_both_rules(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    files = set(scene.ply.parent.rglob("*"))
    plot = scene.ply.with_name("sweep.png")
    printed = pruned(scene, capsys, "--sweep", str(plot))
    assert set(scene.ply.parent.rglob("*")) == {*files, plot}
    with Image.open(plot) as picture:
        assert min(picture.size) > 300 and len(picture.convert("RGB").getcolors(1 << 20) or []) > 10
    rows = re.findall(r"│ *(\d+) │ (\d+)% *" + r"│ *([\d.]+) " * 4, printed)
    assert [float(row[1]) / 100 for row in rows] == [1.0, *SHARES]
    assert [int(row[0]) for row in rows] == [round(12000 * share) for share in (1.0, *SHARES)]
    figures = torch.tensor([[float(cell) for cell in row[2:]] for row in rows])
    assert torch.equal(figures[0, :2], figures[0, 2:])
    # Of half the Gaussians on the better rule is better, in both kinds of views.
    assert bool((figures[5:, 2:] > figures[5:, :2]).all())


def test_a_capture_that_holds_nothing_out(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    without_split(scene)
    printed = pruned(scene, capsys)
    assert "no view is held out, so only training views are measured" in printed
    assert printed.count(" - ") >= 6
    lost = pruned(scene, capsys, "--max-drop", "2", "--out", str(scene.ply.with_name("more.ply")))
    assert "every 8th training view, 2 of 10, is now" in lost and " - " not in lost.split("after", 1)[1]
    change_json(scene.data / "transforms.json", {"train_filenames": VIEWS[:1]})
    assert "of a single view none can be" in failure(
        capsys, "prune", *scene.arguments, "--keep", "0.5", "--out", "a.ply"
    )


BAD_OPTIONS = {
    "nothing": (["--keep", "0"], "--keep is the share that is left"),
    "more than all": (["--keep", "1.5"], "at most 1"),
    "no number": (["--keep", "nan"], "at most 1"),
    "less than one": (["--keep", "0.00001"], "leaves none of 12000 Gaussians"),
    "negative": (["--max-drop=-0.1"], "--max-drop is a number of dB, 0 or more"),
    "no dB": (["--max-drop", "a bit"], "'a bit'"),
    "infinite": (["--max-drop", "inf"], "'inf'"),
    "both": (["--keep", "0.5", "--max-drop", "1"], "give one of them"),
    "a plot and a share": (["--sweep", "a.png", "--keep", "0.5"], "--keep has no meaning"),
    "a plot that is none": (["--sweep", "a.pdf"], "give --sweep such a name"),
    "nowhere": (["--sweep", "/nowhere/a.png"], "no such folder"),
    "in its own place": (["--out", "{ply}"], "is there already"),
    "a method": (["--method", "splatseg"], "leave it out"),
    "no segmentation": (["--segmentation", "/nowhere"], "no segmentation is there"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_write_nothing(scene: SceneOnDisk, name: str, capsys: pytest.CaptureFixture[str]):
    files = set(scene.ply.parent.rglob("*"))
    words, expected = BAD_OPTIONS[name]
    words = [word.format(ply=scene.ply) for word in words]
    assert expected in failure(capsys, "prune", *scene.arguments, *words)
    assert set(scene.ply.parent.rglob("*")) == files


def test_an_unknown_rule_is_misuse(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(["prune", *scene.arguments, "--rule", "area"])
    assert stopped.value.code == 2 and "error" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["view_04.png", "view_03.png"])
def test_views_without_a_picture(scene: SceneOnDisk, gone: str, capsys: pytest.CaptureFixture[str]):
    (scene.data / "images" / gone).unlink()
    assert gone in failure(capsys, "prune", *scene.arguments)
    assert not beside(scene).exists()


def test_a_run_becomes_a_run(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    from splatseg_ns.plugin.attach import attach_splats
    from splatseg_ns.plugin.runs import Run

    experiment = scene.ply.parent / "outputs" / "splatseg"
    words = ["prune", "--load-config", str(attach_splats(scene.splats, Capture.load(scene.data), experiment / "now"))]
    words += ["--device", "cpu"]
    assert main([*words, "--keep", "0.8", "--method", "splatseg"]) == 0, capsys.readouterr().err
    left = Run.open(experiment / "now-pruned").splats()
    assert len(left) == 9600 and "9600 of 12000 Gaussians" in capsys.readouterr().out
    assert main([*words, "--keep", "0.8", "--out", str(experiment / "again"), "--method", "splatseg"]) == 0
    for name, tensor in Run.open(experiment / "again").splats().tensors().items():
        assert torch.equal(tensor, left.tensors()[name])
    # Whatever a checkpoint holds, a run is believed to know where its cameras are.
    checkpoint = Run.open(experiment / "now").checkpoint
    content = torch.load(checkpoint, weights_only=True)
    content["pipeline"]["_model.gauss_params.means"] += 100.0
    torch.save(content, checkpoint)
    capsys.readouterr()
    assert "no training view shows any Gaussian" in failure(capsys, *words, "--out", str(experiment / "none"))
    assert {path.name for path in experiment.iterdir()} == {"now", "now-pruned", "again"}


def test_an_interrupted_command_leaves_nothing(
    labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    files = set(labelled.ply.parent.rglob("*"))

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("splatseg_ns.cli.prune.largest_difference", stop)
    assert main(["prune", *labelled.arguments]) == 130
    assert capsys.readouterr().err == "splatseg prune: interrupted\n"
    assert set(labelled.ply.parent.rglob("*")) == files
