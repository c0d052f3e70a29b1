"""The NVOS benchmark on a folder of its layout that is made here: balls on a table instead of LLFF scenes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.nvos import PUBLISHED, Score, main, means
from benchmarks.nvos_layout import find_tasks, read_drawn, sample_clicks
from splatseg_ns.scene import read_label_map, write_ply
from tests.cli.examples import SceneOnDisk, dataparser_json, similarity

REFERENCE, TARGET = "view_05", "view_03"
RED, GREEN = 1, 2


def write_grey(path: Path, drawn: np.ndarray, halved: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.where(drawn, 255, 0).astype(np.uint8))
    size = (picture.width // 2, picture.height // 2) if halved else picture.size
    picture.resize(size, Image.Resampling.NEAREST).save(path)


def write_task(root: Path, scene: SceneOnDisk, name: str, id: int) -> None:
    """The annotations of a ball, as the release has them; scribbles are smaller than their picture."""
    truth = {view: read_label_map(scene.masks / f"{view}.png").numpy() for view in (REFERENCE, TARGET)}
    write_grey(root / "masks" / name / f"{TARGET}_mask.png", truth[TARGET] == id)
    shutil.copy(scene.data / "images" / f"{TARGET}.png", root / "masks" / name / f"{TARGET}.png")
    (root / "reference_image" / name).mkdir(parents=True)
    shutil.copy(scene.data / "images" / f"{REFERENCE}.png", root / "reference_image" / name)
    for kind, drawn in (("pos", truth[REFERENCE] == id), ("neg", truth[REFERENCE] == 0)):
        write_grey(root / "scribbles" / name / f"{kind}_0_{name}.png", drawn, halved=True)


@pytest.fixture
def root(pristine: SceneOnDisk, tmp_path: Path) -> Path:
    """The task 'ball', the red one, with masks of all balls in all views; that of the target view is wrong."""
    write_task(tmp_path, pristine, "ball", RED)
    shutil.copytree(pristine.data, tmp_path / "scenes" / "ball")
    (tmp_path / "splats").mkdir()
    shutil.copy(pristine.ply, tmp_path / "splats" / "ball.ply")
    masks = tmp_path / "view_masks" / "ball"
    shutil.copytree(pristine.masks, masks)
    write_grey(masks / f"{TARGET}.png", np.ones((72, 96), bool))
    return tmp_path


def judged(root: Path, *more: str) -> dict[str, Any]:
    out = root / "result.json"
    assert main(["--root", str(root), "--out", str(out), *more]) == 0
    return json.loads(out.read_text())


def test_a_task_is_judged_in_its_target_view(root: Path, capsys: pytest.CaptureFixture[str]):
    result = judged(root, "--gammas", "0", "-0.4")
    printed = capsys.readouterr().out
    assert [(score["task"], score["gamma"], score["views"]) for score in result["scores"]] == [
        ("ball", 0.0, 9),
        ("ball", -0.4, 9),
    ]
    plain, generous = result["scores"]
    # At alpha > 0.1 the mask is wider than the ball by a part of a pixel all round, which is much of so small a ball.
    assert plain["iou"] > 0.75 and plain["accuracy"] > 0.98
    assert generous["gaussians"] >= plain["gaussians"] > 500
    assert result["means"][0] == {
        "gamma": 0.0,
        "miou": plain["iou"],
        "miou_deviation": None,
        "macc": plain["accuracy"],
        "macc_deviation": None,
    }
    cell = f"{100 * plain['iou']:.1f} / {100 * plain['accuracy']:.1f}"
    assert f"| ball | 9 | {cell} |" in printed and f"| 0 | {cell} |" in printed
    assert "0 of the 8 published tasks" in printed and PUBLISHED in printed
    assert json.loads(printed.partition("```json")[2].rstrip("`\n")) == result


def test_tau_and_norm_are_heeded(root: Path):
    faint, solid = (judged(root, "--gammas", "0", "--tau", tau)["scores"][0] for tau in ("0.1", "0.5"))
    assert solid["iou"] > faint["iou"]
    # The L2 norm asks more of a doubtful Gaussian at the same gamma above 0: (2r - 1) / |(r, 1 - r)| > gamma.
    l1, l2 = (judged(root, "--gammas", "0.4", "--norm", norm)["scores"][0]["gaussians"] for norm in ("l1", "l2"))
    assert l2 > l1


def test_the_scribble_tells_which_object_is_meant(root: Path, pristine: SceneOnDisk):
    shutil.rmtree(root / "scribbles")
    green = root / "green"
    write_task(green, pristine, "ball", GREEN)
    shutil.copytree(green / "scribbles", root / "scribbles")
    assert judged(root, "--gammas", "0")["scores"][0]["iou"] < 0.1


def test_masks_of_one_object_need_no_scribbled_view(root: Path):
    before = judged(root, "--gammas", "0")["scores"][0]
    masks = root / "view_masks" / "ball"
    for path in masks.glob("*.png"):
        write_grey(path, read_label_map(path).numpy() == RED)
    (masks / f"{REFERENCE}.png").unlink()
    (masks / "labels.json").unlink()
    after = judged(root, "--gammas", "0")["scores"][0]
    assert after["views"] == 8 and after["iou"] == pytest.approx(before["iou"], abs=0.03)


def test_the_truth_may_have_another_size(root: Path):
    before = judged(root, "--gammas", "0")["scores"][0]
    path = root / "masks" / "ball" / f"{TARGET}_mask.png"
    with Image.open(path) as picture:
        larger = picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST)
    larger.save(path)
    assert judged(root, "--gammas", "0")["scores"][0] == before


def test_splats_in_the_dataparsers_frame(root: Path, pristine: SceneOnDisk):
    before = judged(root, "--gammas", "0")["scores"][0]
    write_ply(root / "splats" / "ball.ply", pristine.splats.transform(similarity()))
    (root / "splats" / "ball.dataparser_transforms.json").write_text(dataparser_json(similarity()))
    assert judged(root, "--gammas", "0")["scores"][0]["iou"] == pytest.approx(before["iou"], abs=0.02)


def test_several_folders_of_masks_have_a_mean_and_a_deviation(root: Path, capsys: pytest.CaptureFixture[str]):
    # Views 0 to 4 of the second folder show red and green exchanged.
    other = root / "other"
    shutil.copytree(root / "view_masks", other)
    for number in range(5):
        path = other / "ball" / f"view_{number:02d}.png"
        ids = read_label_map(path).numpy().astype(np.uint8)
        Image.fromarray(np.where(ids == RED, GREEN, np.where(ids == GREEN, RED, ids))).save(path)
    folders = [str(root / "view_masks"), str(other)]
    result = judged(root, "--gammas", "0", "--view-masks", *folders)
    first, second = (score["iou"] for score in result["scores"])
    assert first != second and [score["masks"] for score in result["scores"]] == folders
    assert result["means"][0]["miou"] == pytest.approx((first + second) / 2)
    # Of two numbers the deviation is their distance over the root of 2.
    assert result["means"][0]["miou_deviation"] == pytest.approx(abs(first - second) / 2**0.5)
    assert "deviation over folders" in capsys.readouterr().out


def test_means_are_over_tasks():
    scores = [Score(task, "m", 0.0, 1, 1, iou, 1.0) for task, iou in (("fern", 0.5), ("trex", 1.0))]
    assert means(scores)[0]["miou"] == 0.75


def test_tasks_in_the_published_order(root: Path, pristine: SceneOnDisk):
    release = root / "unpacked" / "labels" / "llff"
    for name in ("another", "trex", "horns_left", "fern"):
        write_task(release, pristine, name, RED)
    tasks = find_tasks(root / "unpacked")
    assert [task.name for task in tasks] == ["fern", "horns_left", "trex", "another"]
    assert tasks[1].scene_names == ("horns_left", "horns", "horns_left_undistort", "horns_undistort")
    assert (tasks[0].reference, tasks[0].target) == (REFERENCE, TARGET)
    assert [task.name for task in find_tasks(root / "unpacked", ["trex", "fern"])] == ["fern", "trex"]


def test_clicks_lie_on_their_scribbles(root: Path, capsys: pytest.CaptureFixture[str]):
    (task,) = find_tasks(root)
    clicks = sample_clicks(task, 6, seed=3)
    assert (clicks.view, clicks.width, clicks.height) == (REFERENCE, 48, 36)
    for pixels, path in ((clicks.positive, task.positive), (clicks.negative, task.negative)):
        drawn = read_drawn(path)
        assert len({(x, y) for x, y in pixels}) == 6 and all(bool(drawn[y, x]) for x, y in pixels)
    assert sample_clicks(task, 6, seed=3) == clicks != sample_clicks(task, 6, seed=4)

    out = root / "clicks.json"
    assert main(["--root", str(root), "--clicks", str(out), "--count", "6", "--seed", "3"]) == 0
    assert "6 + 6 clicks of 1 tasks, seed 3" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["seed"] == 3 and written["tasks"]["ball"]["positive"] == clicks.positive


def test_what_is_drawn_is_brighter_than_half(tmp_path: Path):
    for pixels, expected in (([0, 1], [False, True]), ([0, 255], [False, True]), ([100, 200], [False, True])):
        Image.fromarray(np.array([pixels], np.uint8)).save(tmp_path / "a.png")
        assert read_drawn(tmp_path / "a.png").tolist() == [expected]


def without(*parts: str) -> Callable[[Path], None]:
    """Takes a file or a folder away."""

    def remove(root: Path) -> None:
        path = root.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def blackened(*parts: str) -> Callable[[Path], None]:
    return lambda root: write_grey(root.joinpath(*parts), np.zeros((36, 48), bool))


def renamed_target(root: Path) -> None:
    folder = root / "masks" / "ball"
    (folder / f"{TARGET}_mask.png").rename(folder / "IMG_4027_mask.png")


def second_mask(root: Path) -> None:
    folder = root / "masks" / "ball"
    shutil.copy(folder / f"{TARGET}_mask.png", folder / "view_04_mask.png")


def scribbled_target(root: Path) -> None:
    (root / "reference_image" / "ball" / f"{REFERENCE}.png").rename(root / "reference_image" / "ball" / f"{TARGET}.png")


def cut_short(root: Path) -> None:
    ply = root / "splats" / "ball.ply"
    ply.write_bytes(ply.read_bytes()[:500])


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (without("masks"), [], "no annotations of NVOS; unpack them"),
        (without("masks", "ball", f"{TARGET}_mask.png"), [], "one true mask, TARGET_mask.png, there are 0"),
        (second_mask, [], "there are 2: view_03_mask.png, view_04_mask.png"),
        (blackened("masks", "ball", f"{TARGET}_mask.png"), [], "nothing is drawn in the picture"),
        (renamed_target, [], "no view is called IMG_4027, the target of ball"),
        (without("reference_image"), [], "one picture of the scribbled view, there are 0"),
        (scribbled_target, [], "the mask is of the scribbled view itself"),
        (without("scribbles", "ball", "pos_0_ball.png"), [], "one scribble on the object, pos_*.png, there are 0"),
        (blackened("scribbles", "ball", "pos_0_ball.png"), [], "pos_0_ball.png: nothing is drawn"),
        (without("scenes"), [], "scenes: holds no capture of ball; looked for ball, ball_undistort"),
        (without("splats"), [], "splats: holds no splats of ball; looked for ball.ply"),
        (cut_short, [], "ball.ply"),
        (without("view_masks"), [], "sample clicks with --clicks FILE"),
        (without("view_masks", "ball", f"{REFERENCE}.png"), [], "no map of the scribbled view view_05"),
        (blackened("view_masks", "ball", f"{REFERENCE}.png"), [], "has no object under"),
        (lambda root: None, ["--tasks", "fern"], "no task 'fern'; there is ball"),
        (lambda root: None, ["--gammas", "2"], "gamma is a number from -1 to 1"),
        (lambda root: None, ["--tau", "1"], "--tau is a number from 0 to below 1"),
        (lambda root: None, ["--clicks", "clicks.json", "--count", "99999"], "99999 clicks cannot be drawn"),
    ],
)
def test_failures(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    arguments: list[str],
    message: str,
):
    spoil(root)
    capsys.readouterr()
    assert main(["--root", str(root), *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0], lines
