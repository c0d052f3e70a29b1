"""``splatseg`` commands on runs: what they read and write, and how they fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.masks import write_label_map
from splatseg_ns.plugin.runs import Run
from splatseg_ns.scene import Capture, read_label_map, read_ply, write_ply
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import TEST_VIEWS, SceneOnDisk, change_json
from tests.cli.test_label import failure
from tests.plugin.examples import run_command, write_stock_run

pytestmark = pytest.mark.slow


def named(run: Run) -> list[str]:
    return ["--load-config", str(run.folder / "config.yml"), "--device", "cpu"]


@pytest.fixture
def made(run: Run, scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]) -> Run:
    """The run after ``splatseg label``."""
    assert main(["label", *named(run), "--masks", str(scene.masks)]) == 0, capsys.readouterr().err
    capsys.readouterr()
    return run


def test_label_makes_the_objects_that_it_makes_of_the_exported_splats(
    made: Run, scene: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    document = SegmentationStore(made.folder / "segmentation").load(made.splats())
    assert document.names == ["red ball", "green ball", "blue ball"]
    assert document.history[-1].parameters["data"] == str(scene.data)
    assert main(["export", *named(made), "--all", "--no-revote", "--out", "out"]) == 0
    assert len(read_ply(tmp_path / "out" / "red_ball.ply")) == document.counts()[1]
    assert main(["objects", *named(made), "--rename", "1", "tomato", "--delete", "2", "3"]) == 0
    assert main(["extract", *named(made), "--objects", "tomato", "--no-revote", "--out", "tomato"]) == 0
    assert SegmentationStore(tmp_path / "tomato" / "segmentation").load().names == ["tomato"]
    # By pictures, cameras and frame that are found otherwise.
    ply = tmp_path / "whole.ply"
    write_ply(ply, made.splats())
    shutil.copyfile(made.folder / "dataparser_transforms.json", tmp_path / "dataparser_transforms.json")
    words = ["--ply", str(ply), "--data", str(scene.data), "--device", "cpu", "--masks", str(scene.masks)]
    assert main(["label", *words]) == 0
    again = SegmentationStore(tmp_path / "whole.segmentation").load()
    assert float((again.labels == document.labels).float().mean()) > 0.999


def test_masks_and_scores_of_held_out_views(
    made: Run, scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "masks"
    assert main(["masks", *named(made), "--out", str(out)]) == 0
    for name in TEST_VIEWS:
        ours, truth = (read_label_map(folder / f"{name}.png") for folder in (out, scene.masks))
        assert float((ours == truth).float().mean()) > 0.9
    capsys.readouterr()
    assert main(["eval", *named(made), "--masks", str(scene.masks), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["mean_iou"] > 0.6
    assert main(["eval", *named(made), "--masks", str(scene.masks), "--pictures", str(tmp_path / "sheets")]) == 0
    assert sorted(path.stem for path in (tmp_path / "sheets").iterdir()) == sorted(TEST_VIEWS)


def test_objects_leave_in_the_frame_of_the_cameras(made: Run, scene: SceneOnDisk, tmp_path: Path):
    document = made.store.load()
    words = ["export", *named(made), "--objects", "red ball", "--no-revote"]
    assert main([*words, "--frame", "world", "--out", str(tmp_path / "world")]) == 0
    assert main([*words, "--out", str(tmp_path / "model")]) == 0
    world, model = (read_ply(tmp_path / name / "red_ball.ply") for name in ("world", "model"))
    rows = document.rows("red ball")
    assert torch.equal(model.means, made.splats().means[rows])
    # Where the ball is that the pictures were made of.
    ball = scene.splats.means[scene.truth == 1].median(dim=0).values
    assert float((world.means.median(dim=0).values - ball).norm()) < 0.15


def test_refined_splats_are_a_ply_that_says_where_it_is(
    run: Run, scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before, fine = run.checkpoint.read_bytes(), tmp_path / "fine.ply"
    words = ["--masks", str(scene.masks), "--refine", str(fine), "--refine-steps", "2"]
    assert main(["label", *named(run), *words]) == 0
    transforms = run.folder / "dataparser_transforms.json"
    assert f"--dataparser-transforms {transforms}" in capsys.readouterr().out
    assert run.checkpoint.read_bytes() == before
    refined = ["--ply", str(fine), "--data", str(scene.data), "--dataparser-transforms", str(transforms)]
    assert main(["masks", *refined, "--out", str(tmp_path / "masks")]) == 0


def test_pictures_that_moved(made: Run, scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    moved, config = tmp_path / "elsewhere", made.folder / "config.yml"
    shutil.copytree(scene.data, moved)
    config.write_text(config.read_text().replace("- capture\n", "- gone\n"))
    assert "--data" in failure(capsys, "masks", *named(made), "--out", str(tmp_path / "out"))
    assert main(["masks", *named(made), "--data", str(moved), "--out", str(tmp_path / "out")]) == 0
    # What needs no pictures does without.
    assert main(["objects", *named(made)]) == 0
    capsys.readouterr()
    assert main(["export", *named(made), "--all", "--out", str(tmp_path / "files")]) == 0
    assert "by the votes that were kept" in capsys.readouterr().out
    assert "--data" in failure(capsys, "export", *named(made), "--all", "--frame", "world", "--out", str(tmp_path))


def test_another_capture_is_refused(made: Run, scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = tmp_path / "other"
    shutil.copytree(scene.data, other)
    frames = json.loads((other / "transforms.json").read_text())["frames"]
    for frame in frames:
        frame["transform_matrix"][0][3] += 3.0
    change_json(other / "transforms.json", {"frames": frames})
    words = [*named(made), "--data", str(other)]
    assert "have changed since the run was trained" in failure(capsys, "masks", *words, "--out", str(tmp_path / "out"))


def test_what_is_wrong_is_one_line(made: Run, scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    masks = ["--masks", str(scene.masks)]
    nothing = ["--load-config", str(tmp_path / "config.yml")]
    assert "no such file" in failure(capsys, "objects", *nothing)
    assert "a run knows it" in failure(capsys, "label", *named(made), *masks, "--profile", "inria")
    assert "a run knows it" in failure(capsys, "label", *named(made), *masks, "--antialiased")
    assert "no such capture" in failure(capsys, "label", *named(made), *masks, "--data", str(tmp_path / "no"))
    wrong = tmp_path / "masks"
    for view in Capture.load(scene.data):
        write_label_map(wrong, view.name, torch.ones(50, 50, dtype=torch.int64))
    assert "50x50" in failure(capsys, "label", *named(made), "--masks", str(wrong))
    with Image.open(scene.data / "images" / "view_00.png") as picture:
        small = np.array(picture)[::2]
    data = tmp_path / "data"
    shutil.copytree(scene.data, data)
    Image.fromarray(small).save(data / "images" / "view_03.png")
    sheets = ["--data", str(data), "--pictures", str(tmp_path / "sheets")]
    assert "view_03" in failure(capsys, "eval", *named(made), *masks, *sheets)
    (data / "images" / "view_03.png").unlink()
    assert "view_03" in failure(capsys, "eval", *named(made), *masks, *sheets)
    made.store.save(SegmentationStore(made.folder / "segmentation").load())
    checkpoint = torch.load(made.checkpoint, weights_only=True)
    checkpoint["pipeline"]["_model.gauss_params.means"] += 1.0
    torch.save(checkpoint, made.checkpoint)
    for command in (["objects"], ["masks", "--out", str(tmp_path / "out")], ["eval", *masks]):
        line = failure(capsys, command[0], *named(made), *command[1:])
        assert "have changed since they were segmented" in line and "segmentation" in line
    made.checkpoint.write_bytes(made.checkpoint.read_bytes()[:5000])
    assert "no readable checkpoint" in failure(capsys, "objects", *named(made))
    shutil.rmtree(made.checkpoint_folder)
    assert "no checkpoint" in failure(capsys, "label", *named(made), *masks)
    (made.folder / "config.yml").write_text("{}")
    assert "not a run of Gaussian splats" in failure(capsys, "objects", *named(made))


def test_a_run_of_splatfacto_that_was_moved_becomes_one_of_ours_with_its_objects(
    run: Run, scene: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from nerfstudio.utils.eval_utils import eval_setup

    stock = write_stock_run(run, tmp_path / "project", scene.data)
    moved = tmp_path / "away" / "stock"
    moved.parent.mkdir()
    stock.folder.rename(moved)
    monkeypatch.chdir(tmp_path)
    assert "--data" in failure(capsys, "attach", "--load-config", "away/stock/config.yml")
    words = ["--load-config", "away/stock/config.yml", "--data", str(scene.data)]
    assert main(["label", *words, "--masks", str(scene.masks)]) == 0
    files = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    assert main(["attach", *words, "--out", "attached"]) == 0
    assert {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()} == files
    assert "is there already" in failure(capsys, "attach", *words, "--out", "attached")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config, pipeline, _, _ = eval_setup(tmp_path / "attached" / "config.yml", test_mode="inference")
    assert config.method_name == "splatseg"
    assert pipeline.model.display is not None and not pipeline.model.display.hidden_names
    assert main(["objects", "--load-config", str(tmp_path / "attached")]) == 0
    assert "red ball" in capsys.readouterr().out


def test_as_a_process_of_its_own(made: Run, tmp_path: Path):
    """Nothing of what Nerfstudio's libraries say gets between."""
    good = run_command("splatseg", "objects", *named(made), cwd=tmp_path)
    assert good.returncode == 0 and good.stdout.startswith("Objects") and good.stderr == ""
    bad = run_command("splatseg", "objects", "--load-config", tmp_path / "no.yml", cwd=tmp_path)
    assert bad.returncode == 1 and bad.stdout == ""
    assert bad.stderr == f"splatseg objects: {tmp_path / 'no.yml'}: no such file; give the config.yml of a run\n"
