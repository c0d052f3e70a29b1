"""The affordance benchmark on a folder of its layout that is made here: balls on a table instead of tools."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from benchmarks import umd
from benchmarks.umd import Absent, AffordanceTally, Rule, main, said_together
from benchmarks.umd_layout import AFFORDANCES, affordance_examples, find_scenes, read_true_map
from splatseg_ns.lift import Labels
from splatseg_ns.masks import LabelName
from splatseg_ns.masks.examples import Example, Examples
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera, Splats, read_label_map, write_ply
from tests.cli.examples import SceneOnDisk, dataparser_json, similarity, write_scene

WIDTH, HEIGHT = 160, 120
GRASP, CONTAIN, WRAP_GRASP = 1, 4, 7
RULES: tuple[Rule, ...] = ("argmax", "published")
SHOWN = ("grasp", "contain", "wrap-grasp")
AFFORDANCE_OF_BALL = np.array([0, GRASP, CONTAIN, WRAP_GRASP], np.uint8)
BY_HAND = (0, 3, 6)
"""Frames that a person has annotated; frame 9 has no label file, all others are automatic."""


def frame(number: int) -> str:
    return f"scene_01_{number:08d}"


def write_labels(folder: Path, number: int, labels: np.ndarray, kind: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{frame(number)}_label.mat", {"gt_label": labels, "gt_type": kind})


def labelme_mask(label: str, mask: np.ndarray) -> dict[str, Any]:
    """A shape as labelme's assistant writes it: a picture of the mask within its box."""
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = (int(value) for value in (rows.min(), rows.max(), columns.min(), columns.max()))
    content = io.BytesIO()
    Image.fromarray(mask[top : bottom + 1, left : right + 1]).save(content, "PNG")
    points = [[left, top], [right, bottom]]
    return {
        "label": label,
        "shape_type": "mask",
        "points": points,
        "mask": base64.b64encode(content.getvalue()).decode(),
    }


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneOnDisk:
    return write_scene(tmp_path_factory.mktemp("umd"), WIDTH, HEIGHT)


@pytest.fixture(scope="session")
def pristine_root(scene: SceneOnDisk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The red ball can be grasped, the green one contains, the blue one is for the whole hand."""
    root = tmp_path_factory.mktemp("release")
    folder = root / "part-affordance-clutter" / "clutter" / "scene_01"
    capture = root / "captures" / "scene_01"
    (capture / "images").mkdir(parents=True)
    transforms = (scene.data / "transforms.json").read_text()
    for number in range(10):
        old, new = f"view_{number:02d}.png", f"{frame(number)}_rgb.png"
        shutil.copy(scene.data / "images" / old, capture / "images" / new)
        transforms = transforms.replace(old, new)
        if number != 9:
            labels = AFFORDANCE_OF_BALL[read_label_map(scene.masks / old).numpy()]
            # What is automatic is wrong here, so that it cannot be judged unnoticed.
            by_hand = number in BY_HAND
            write_labels(folder, number, labels if by_hand else labels[::-1], "manual" if by_hand else "automatic")
    savemat(folder / f"{frame(0)}_label_rank.mat", {"gt_label": np.zeros((HEIGHT, WIDTH, 7))})
    (capture / "transforms.json").write_text(transforms)
    (root / "splats").mkdir()
    shutil.copy(scene.ply, root / "splats" / "scene_01.ply")
    examples = root / "examples"
    examples.mkdir()
    for number in (1, 5, 8):
        name = f"view_{number:02d}.png"
        shutil.copy(scene.data / "images" / name, examples)
        balls = read_label_map(scene.masks / name).numpy()
        # Two words, as in the annotations that the method was published with.
        names = {1: "grasp", 2: "contain", 3: "wrap grasp"}
        shapes = [labelme_mask(label, balls == ball) for ball, label in names.items() if (balls == ball).any()]
        (examples / name).with_suffix(".json").write_text(json.dumps({"shapes": shapes, "imagePath": name}))
    return root


def judged(root: Path, *more: str, out: Path | None = None) -> dict[str, Any]:
    out = out or root / "result.json"
    assert main(["--root", str(root), "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="session")
def plain(pristine_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of the folder as it is, with default options."""
    return judged(pristine_root, out=tmp_path_factory.mktemp("plain") / "result.json")


@pytest.fixture
def root(pristine_root: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine_root, tmp_path / "root")


def test_frames_drawn_by_hand_are_judged(root: Path, capsys: pytest.CaptureFixture[str]):
    result = judged(root)
    printed = capsys.readouterr().out
    scores = result["scenes"]["scene_01"]
    assert (scores["views"], scores["judged"], scores["automatic"], scores["without_view"]) == (10, 3, 6, 0)
    for answer in ("2d", "3d"):
        assert [name for name, score in scores[answer]["classes"].items() if score["iou"] is not None] == list(SHOWN)
        assert result[answer] == scores[answer]
    # Balls of one colour each are told apart by any features; their borders are as fine as patches of 8 pixels allow.
    for name in SHOWN:
        assert scores["2d"]["classes"][name]["iou"] > 0.4
        assert scores["3d"]["classes"][name]["iou"] > 0.6
        assert scores["3d"]["classes"][name]["recall"] > 0.7
    assert scores["3d"]["mean_iou"] > scores["2d"]["mean_iou"]
    assert "features efficientnet-lite0" in result["settings"] and result["settings"] in printed
    assert "of 3 examples; none shows cut, scoop, pound, support" in printed
    assert "10 views voted, 3 were judged; left out are 6 automatic frames and 0 without a view" in printed
    assert "Affordances of scene_01" in printed and "Affordances of all scenes" in printed
    (row,) = {line for line in printed.splitlines() if "grasp" in line and "wrap" not in line}
    three = scores["3d"]["classes"]["grasp"]
    assert f"{100 * three['recall']:.1f}" in row and f"{100 * three['iou']:.1f}" in row


def test_the_published_protocol(root: Path, plain: dict[str, Any]):
    assert umd.__doc__ is not None
    (line,) = (line for line in umd.__doc__.splitlines() if "--rule published --absent zero" in line)
    options = line.split()
    # DINOv2 is not packaged.
    options[options.index("dinov2")] = "efficientnet"
    published = judged(root, *options)
    assert "temperature=inf, balance=0.0" in published["settings"]
    assert "nearest, labels, gamma 0.0, rule published, absent zero" in published["settings"]
    assert published["2d"]["mean_recall"] != plain["2d"]["mean_recall"]
    assert published["3d"]["mean_iou"] > 0.4


def test_a_bias_to_the_background_hides_classes(root: Path):
    hidden = judged(root, "--gamma", "1")
    assert hidden["2d"]["mean_recall"] == 0.0 == hidden["3d"]["mean_recall"]


def test_the_published_rule_draws_wider(root: Path, plain: dict[str, Any]):
    wide = judged(root, "--rule", "published")
    assert wide["2d"] == plain["2d"]
    for name in SHOWN:
        # Nothing is missing by either rule; what the wider one adds is wrong.
        small, large = (result["3d"]["classes"][name] for result in (plain, wide))
        assert large["recall"] >= small["recall"] > 0.95 and large["iou"] < small["iou"]


def test_the_row_of_all_scenes_is_over_all_images(root: Path):
    # The second scene is the first one with a single judged frame.
    clutter = root / "part-affordance-clutter" / "clutter"
    for place in (clutter, root / "captures"):
        shutil.copytree(place / "scene_01", place / "scene_02")
    shutil.copy(root / "splats" / "scene_01.ply", root / "splats" / "scene_02.ply")
    for number in BY_HAND[1:]:
        (clutter / "scene_02" / f"{frame(number)}_label.mat").unlink()
    result = judged(root)
    first, second = (result["scenes"][name]["3d"]["classes"]["grasp"] for name in ("scene_01", "scene_02"))
    assert (first["views"], second["views"]) == (3, 1)
    expected = (3 * first["iou"] + second["iou"]) / 4
    assert result["3d"]["classes"]["grasp"]["iou"] == pytest.approx(expected)
    assert list(judged(root, "--scenes", "scene_02")["scenes"]) == ["scene_02"]


def test_frames_without_a_view_are_counted(root: Path):
    folder = root / "part-affordance-clutter" / "clutter" / "scene_01"
    write_labels(folder, 77, np.ones((HEIGHT, WIDTH), np.uint8), "manual")
    scores = judged(root)["scenes"]["scene_01"]
    assert (scores["judged"], scores["without_view"]) == (3, 1)


def test_true_maps_may_have_another_size(root: Path, plain: dict[str, Any]):
    folder = root / "part-affordance-clutter" / "clutter" / "scene_01"
    for number in BY_HAND:
        labels = read_true_map(folder / f"{frame(number)}_label.mat").labels.numpy()
        write_labels(folder, number, labels.repeat(2, axis=0).repeat(2, axis=1), "manual")
    assert judged(root) == plain


def test_splats_in_the_dataparsers_frame(root: Path, scene: SceneOnDisk, plain: dict[str, Any]):
    write_ply(root / "splats" / "scene_01.ply", scene.splats.transform(similarity()))
    (root / "splats" / "scene_01.dataparser_transforms.json").write_text(dataparser_json(similarity()))
    assert judged(root)["3d"]["mean_iou"] == pytest.approx(plain["3d"]["mean_iou"], abs=0.02)


def test_scores_by_hand():
    def covered(pixels: dict[int, list[tuple[int, int]]]) -> torch.Tensor:
        masks = torch.zeros(len(AFFORDANCES), 2, 3, dtype=torch.bool)
        for id, places in pixels.items():
            for row, column in places:
                masks[id - 1, row, column] = True
        return masks

    everywhere = torch.ones(2, 3, dtype=torch.bool)
    unusable = everywhere.clone()
    unusable[0, 1] = False
    expected: dict[Absent, float] = {"leave-out": 1 / 3, "zero": (1 / 3 + 0) / 2}
    for absent, grasp_iou in expected.items():
        tally = AffordanceTally(absent)
        # Both classes claim the first pixel. Grasp: 1 of 2 found, 1 of 3 in all; cut: 1 of 1 found, 1 of 2 in all.
        truth = torch.tensor([[1, 1, 0], [2, 0, 0]])
        tally.add(covered({1: [(0, 0), (0, 2)], 2: [(1, 0), (0, 0)]}), truth, everywhere)
        # No grasp is there, but one is found; of the two pixels of cut one counts, and it is not found.
        truth = torch.tensor([[2, 2, 0], [0, 0, 0]])
        tally.add(covered({1: [(0, 0)], 2: [(0, 1)]}), truth, unusable)
        grasp, cut, *others = tally.scores().classes
        assert (grasp.views, grasp.recall, grasp.iou) == (1, 0.5, pytest.approx(grasp_iou))
        assert (cut.views, cut.recall, cut.iou) == (2, 0.5, 0.25)
        assert all((other.views, other.recall, other.iou) == (0, None, None) for other in others)
        assert tally.scores().recall == 0.5 and tally.scores().iou == pytest.approx((grasp_iou + 0.25) / 2)


def test_a_class_that_is_only_found_has_no_score():
    tally = AffordanceTally("zero")
    nothing = torch.zeros(2, 2, dtype=torch.int64)
    tally.add(torch.ones(len(AFFORDANCES), 2, 2, dtype=torch.bool), nothing, nothing == 0)
    assert tally.scores().iou is None


def test_one_pixel_is_enough_to_be_judged():
    truth = torch.zeros(200, 200, dtype=torch.int64)
    truth[5, 5] = CONTAIN
    tally = AffordanceTally("leave-out")
    tally.add(truth == torch.tensor(list(AFFORDANCES))[:, None, None], truth, truth >= 0)
    assert tally.scores().classes[CONTAIN - 1].views == 1 and tally.scores().iou == 1.0


def test_by_the_published_rule_several_classes_claim_a_pixel():
    # One broad Gaussian behind another: the pixel in the middle is o1 the first one's, (1 - o1) o2 the second one's.
    camera = Camera(torch.eye(4), torch.tensor([[3.0, 0, 1.5], [0, 3.0, 1.5], [0, 0, 1]]), 3, 3)
    labels = Labels(torch.tensor([GRASP, WRAP_GRASP]), torch.ones(2))

    def claims(first: float, second: float) -> dict[Rule, list[str]]:
        opacities = torch.tensor([first, second])
        splats = Splats(
            means=torch.tensor([[0.0, 0, 4], [0, 0, 5]]),
            raw_quats=torch.tensor([[1.0, 0, 0, 0]] * 2),
            log_scales=torch.full((2, 3), math.log(3.0)),
            logit_opacities=torch.logit(opacities),
            sh=torch.zeros(2, 1, 3),
        )
        masks = {rule: said_together(rasterizer_for("cpu"), splats, camera, labels, rule) for rule in RULES}
        names = list(AFFORDANCES.values())
        return {rule: [name for name, mask in zip(names, masks[rule], strict=True) if mask[1, 1]] for rule in RULES}

    # 0.3 * 0.9 = 0.27 is above 64/255 = 0.251, 0.25 * 0.9 = 0.225 is not.
    assert claims(0.7, 0.9) == {"argmax": ["grasp"], "published": ["grasp", "wrap-grasp"]}
    assert claims(0.75, 0.9) == {"argmax": ["grasp"], "published": ["grasp"]}
    # 0.3 and 0.7 * 0.3 = 0.21 leave 0.49 to nothing, which is stronger than either.
    assert claims(0.3, 0.3) == {"argmax": [], "published": ["grasp"]}


@pytest.mark.parametrize("place", ["clutter", "."])
def test_scenes_may_lie_in_other_folders(root: Path, place: str):
    clutter = root / "part-affordance-clutter" / "clutter"
    (root / place).mkdir(exist_ok=True)
    shutil.move(clutter / "scene_01", root / place / "scene_01")
    (found,) = find_scenes(root)
    # Nine label files, by the names of their pictures.
    assert found.name == "scene_01" and len(found.labels) == 9 and f"{frame(0)}_rgb" in found.labels


@pytest.mark.parametrize(
    ("kind", "automatic"), [("manual", False), ("automatic", True), ("Automatic ", True), ("", False)]
)
def test_types_of_true_maps(tmp_path: Path, kind: str, automatic: bool):
    write_labels(tmp_path, 1, np.array([[0, 7]], np.uint8), kind)
    found = read_true_map(tmp_path / f"{frame(1)}_label.mat")
    assert found.automatic == automatic and found.labels.tolist() == [[0, 7]]


def test_a_true_map_without_a_type_counts(tmp_path: Path):
    # MATLAB's own numbers are of double precision.
    savemat(tmp_path / "a_label.mat", {"gt_label": np.array([[0.0, 2.0]])})
    found = read_true_map(tmp_path / "a_label.mat")
    assert not found.automatic and found.labels.tolist() == [[0, 2]]


def examples_of(classes: dict[int, str], labels: list[list[int]]) -> Examples:
    names = {id: LabelName(id, name, (1, 2, 3)) for id, name in classes.items()}
    example = Example("a", torch.zeros(1, 4, 3, dtype=torch.uint8), torch.tensor(labels, dtype=torch.int32))
    return Examples(Path("examples"), names, {"a": lambda: example})


def test_examples_by_name_or_by_id():
    named = examples_of({3: "wrap grasp", 1: "Support", 2: "background"}, [[3, 1, 2, -1]])
    assert next(affordance_examples(named)).labels.tolist() == [[7, 6, 0, -1]]
    assert next(affordance_examples(examples_of({}, [[0, 7, 2, -1]]))).labels.tolist() == [[0, 7, 2, -1]]
    with pytest.raises(ValueError, match=r"'handle' is no affordance; call the classes grasp, cut"):
        next(affordance_examples(examples_of({1: "handle"}, [[1, 1, 1, 1]])))
    with pytest.raises(ValueError, match=r"a shows 8, which is no affordance"):
        next(affordance_examples(examples_of({}, [[8, 0, 0, 0]])))


CLUTTER = ("part-affordance-clutter", "clutter", "scene_01")


def without(*parts: str) -> Callable[[Path], None]:
    """Takes a file or a folder away."""

    def remove(root: Path) -> None:
        path = root.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def without_labels(root: Path) -> None:
    for path in root.joinpath(*CLUTTER).glob("*.mat"):
        path.unlink()


def all_automatic(root: Path) -> None:
    for number in BY_HAND:
        write_labels(root.joinpath(*CLUTTER), number, np.zeros((HEIGHT, WIDTH), np.uint8), "automatic")


def labelled(content: dict[str, Any]) -> Callable[[Path], None]:
    return lambda root: savemat(root.joinpath(*CLUTTER, f"{frame(0)}_label.mat"), content)


def cut_short(*parts: str) -> Callable[[Path], None]:
    def cut(root: Path) -> None:
        path = root.joinpath(*parts)
        path.write_bytes(path.read_bytes()[:300])

    return cut


def renamed_views(root: Path) -> None:
    capture = root / "captures" / "scene_01"
    for path in (capture / "images").iterdir():
        path.rename(path.with_name(path.name.replace("scene_01_", "image")))
    path = capture / "transforms.json"
    path.write_text(path.read_text().replace("scene_01_", "image"))


def strange_examples(root: Path) -> None:
    for path in (root / "examples").glob("*.png"):
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(noise).save(path)


def no_classes(root: Path) -> None:
    for path in (root / "examples").glob("*.json"):
        path.write_text(json.dumps({"shapes": [], "imagePath": f"{path.stem}.png"}))


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (without("part-affordance-clutter"), [], "no clutter scene of UMD; unpack the release so that one of"),
        (lambda root: None, ["--scenes", "scene_09"], "no scene 'scene_09'; there is scene_01"),
        (without_labels, [], "clutter/scene_01: holds no label file, FRAME_label.mat"),
        (all_automatic, [], "clutter/scene_01: all 9 label files are automatic"),
        (labelled({"gt_type": "manual"}), [], f"{frame(0)}_label.mat: holds no gt_label"),
        (labelled({"gt_label": np.full((4, 4), 8)}), [], "is no map [H, W] of the ids 0 to 7"),
        (labelled({"gt_label": np.zeros((4, 4, 7))}), [], "is no map [H, W] of the ids 0 to 7"),
        (
            labelled({"gt_label": np.zeros((9, 90), np.uint8)}),
            [],
            f"the label map is 90x9, the picture {WIDTH}x{HEIGHT}",
        ),
        (cut_short(*CLUTTER, f"{frame(0)}_label.mat"), [], f"{frame(0)}_label.mat: no readable MATLAB file"),
        (without("splats", "scene_01.ply"), [], "splats/scene_01.ply: no splats of scene_01, which the release lacks"),
        (cut_short("splats", "scene_01.ply"), [], "scene_01.ply"),
        (without("captures"), [], "captures/scene_01: no poses of scene_01, which the release lacks"),
        (without("captures", "scene_01", "transforms.json"), [], "neither a transforms.json nor a COLMAP model"),
        (
            renamed_views,
            [],
            "no view is called like an annotated frame, as scene_01_00000000_rgb; the views are called",
        ),
        (without("examples"), [], "examples: no such folder of examples"),
        (lambda root: None, ["--examples", "nowhere"], "nowhere: no such folder of examples"),
        (no_classes, [], "the examples show none of their classes"),
        (
            strange_examples,
            ["--least-similarity", "0.95"],
            "scene_01: no pixel of the views looks like the examples; lower",
        ),
        (lambda root: None, ["--gamma", "2"], "gamma is a number from -1 to 1"),
        (lambda root: None, ["--checkpoint", "some"], "efficientnet brings its weights"),
        (lambda root: None, ["--device", "abacus"], "abacus"),
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
    assert main(["--root", str(root), *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0], lines
