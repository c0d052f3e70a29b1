"""``splatseg click``: what it saves, prints and shows, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.cli import main, segmenting
from splatseg_ns.masks import Candidates, Embedding, Prompts
from splatseg_ns.scene import Camera, read_label_map
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from splatseg_ns.segmentation.clicking import earlier_prompts
from splatseg_ns.segmentation.prompts import FreeCamera, ObjectPrompts, ViewPrompts, prompts_from_json
from tests.cli.examples import TEST_VIEWS, SceneOnDisk
from tests.cli.test_label import failure
from tests.segmentation.clicked import BLUE, GREEN, RED, ColourSegmenter
from tests.segmentation.test_pointing import HERE, THERE
from tests.segmentation.test_pointing import middle as middle_of

TRAINING_VIEWS = 8


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ColourSegmenter:
    """In place of the real one; what it has read is kept below the test's folder."""
    made = ColourSegmenter()
    monkeypatch.setattr(segmenting, "segmenter_named", lambda *_: made)
    monkeypatch.setenv("SPLATSEG_CACHE", str(tmp_path / "cache"))
    return made


def middle(scene: SceneOnDisk, object: int, view: str = "view_00") -> list[str]:
    rows, columns = (read_label_map(scene.masks / f"{view}.png") == object).nonzero().double().unbind(dim=1)
    nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return [str(float(columns[nearest]) + 0.5), str(float(rows[nearest]) + 0.5)]


def at(scene: SceneOnDisk, object: int, view: str = "view_00") -> list[str]:
    return ["--view", view, "--point", *middle(scene, object, view)]


def store_of(scene: SceneOnDisk) -> SegmentationStore:
    return SegmentationStore(scene.ply.with_name("scene.segmentation"))


def click(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Segmentation, str]:
    """The document and what was printed."""
    assert main(["click", *scene.arguments, *words]) == 0, capsys.readouterr().err
    return store_of(scene).load(scene.splats), capsys.readouterr().out


def iou(scene: SceneOnDisk, document: Segmentation, name: str, object: int) -> float:
    """Over the Gaussians that are seen on more than a rim."""
    votes = document.votes()
    assert votes is not None
    mine, true, seen = document.rows(name), scene.truth == object, votes.seen > 0.5
    return float((mine & true & seen).sum() / ((mine | true) & seen).sum())


@pytest.mark.usefixtures("segmenter")
def test_a_click_makes_an_object(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    document, printed = click(scene, capsys, *at(scene, BLUE), "--name", "blue ball")
    assert document.names == ["blue ball"]
    assert iou(scene, document, "blue ball", BLUE) > 0.93
    assert document.history[0].parameters["segmenter"] == "colours"
    for word in ("blue ball", "Gaussians", "rejected", "seconds:", "saved"):
        assert word in printed
    assert str(document.counts()[1]) in printed


@pytest.mark.usefixtures("segmenter")
def test_names_by_default(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    for object in (BLUE, RED):
        click(scene, capsys, *at(scene, object))
    document = store_of(scene).load()
    assert document.names == ["object_1", "object_2"]
    assert iou(scene, document, "object_1", BLUE) > 0.93 and iou(scene, document, "object_2", RED) > 0.93


@pytest.mark.usefixtures("segmenter")
def test_a_box_alone(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    rows, columns = (read_label_map(scene.masks / "view_00.png") == BLUE).nonzero().unbind(dim=1)
    box = [str(int(side)) for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    document, _ = click(scene, capsys, "--view", "view_00", "--box", *box, "--name", "blue")
    assert iou(scene, document, "blue", BLUE) > 0.93
    prompts = earlier_prompts(document, "blue")
    assert prompts is not None and prompts.views[0].box == tuple(map(float, box))


def prompts_file(folder: Path, *objects: dict) -> list[str]:
    path = folder / "prompts.json"
    path.write_text(json.dumps({"objects": list(objects)}))
    return ["--prompts", str(path)]


def entry(scene: SceneOnDisk, name: str, object: int, view: str = "view_00") -> dict:
    point = [float(number) for number in middle(scene, object, view)]
    return {"name": name, "views": [{"view": view, "points": [point]}]}


@pytest.mark.usefixtures("segmenter")
def test_a_file_makes_several_objects(scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    objects = [entry(scene, "one", RED, "view_05"), entry(scene, "two", BLUE), entry(scene, "three", GREEN, "view_06")]
    document, printed = click(scene, capsys, *prompts_file(tmp_path, *objects))
    assert document.names == ["one", "two", "three"]
    for name, object in (("one", RED), ("two", BLUE), ("three", GREEN)):
        assert iou(scene, document, name, object) > 0.9
        assert name in printed
    assert document.history[0].parameters["objects"] == ["one", "two", "three"]
    # The same file again says nothing new.
    again, _ = click(scene, capsys, *prompts_file(tmp_path, *objects))
    assert [entry.provenance for entry in again.objects] == [entry.provenance for entry in document.objects]


@pytest.mark.usefixtures("segmenter")
def test_further_clicks_are_added_to_those_before(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    click(scene, capsys, *at(scene, BLUE), "--name", "ball", "--level", "object")
    off = ["--view", "view_00", "--not", *middle(scene, RED)]
    document, _ = click(scene, capsys, *off, "--name", "ball")
    prompts = earlier_prompts(document, "ball")
    assert prompts is not None and len(prompts.views) == 1 and prompts.level == "object"
    assert len(prompts.views[0].points) == 1 and len(prompts.views[0].negative) == 1
    assert document.names == ["ball"] and iou(scene, document, "ball", BLUE) > 0.93
    elsewhere, _ = click(scene, capsys, *at(scene, BLUE, "view_02"), "--name", "ball")
    prompts = earlier_prompts(elsewhere, "ball")
    assert prompts is not None and [view.view for view in prompts.views] == ["view_00", "view_02"]
    fresh, _ = click(scene, capsys, *at(scene, RED), "--name", "ball", "--fresh")
    prompts = earlier_prompts(fresh, "ball")
    assert prompts is not None and prompts.level == "auto"
    assert [(view.view, len(view.points), view.negative) for view in prompts.views] == [("view_00", 1, ())]
    assert fresh.ids == document.ids and iou(scene, fresh, "ball", RED) > 0.93


@pytest.mark.usefixtures("segmenter")
def test_a_file_adds_clicks_to_those_before(scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    click(scene, capsys, *at(scene, BLUE), "--name", "ball")
    document, _ = click(scene, capsys, *prompts_file(tmp_path, entry(scene, "ball", BLUE, "view_02")))
    prompts = earlier_prompts(document, "ball")
    assert prompts is not None and [view.view for view in prompts.views] == ["view_00", "view_02"]


@pytest.mark.usefixtures("segmenter")
def test_an_object_that_has_another_name_now_is_clicked_further(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    click(scene, capsys, *at(scene, BLUE), "--name", "ball")
    assert main(["objects", *scene.arguments[:2], "--rename", "ball", "globe"]) == 0
    document, _ = click(scene, capsys, "--view", "view_00", "--not", *middle(scene, RED), "--name", "globe")
    assert document.names == ["globe"] and iou(scene, document, "globe", BLUE) > 0.93
    prompts = earlier_prompts(document, "globe")
    assert prompts is not None and prompts.name == "globe" and len(prompts.views[0].negative) == 1


def from_free_camera(name: str, object: int, camera: Camera = HERE, view: str = "from above") -> dict:
    """What the viewer keeps of a click, in a prompts file."""
    clicks = ViewPrompts(view, (middle_of(camera, object),), camera=FreeCamera.of(camera))
    return ObjectPrompts(name, (clicks,)).as_json()


@pytest.mark.usefixtures("segmenter")
def test_clicks_from_free_cameras_come_from_a_file(
    scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sheets = tmp_path / "sheets"
    objects = [from_free_camera("ball", BLUE), from_free_camera("tomato", RED, THERE, "from the left")]
    words = [*prompts_file(tmp_path, *objects), "--pictures", str(sheets)]
    document, printed = click(scene, capsys, *words)
    assert document.names == ["ball", "tomato"] and "ball" in printed
    assert iou(scene, document, "ball", BLUE) > 0.93 and iou(scene, document, "tomato", RED) > 0.8
    assert {path.name for path in sheets.iterdir()} == {"1_ball.png", "2_tomato.png"}
    prompts = earlier_prompts(document, "ball")
    assert prompts == prompts_from_json(objects[0])
    # In pictures of the capture it is clicked further.
    document, _ = click(scene, capsys, *at(scene, BLUE, "view_02"), "--name", "ball")
    prompts = earlier_prompts(document, "ball")
    assert prompts is not None and [view.view for view in prompts.views] == ["from above", "view_02"]


def outside() -> dict:
    made = from_free_camera("ball", BLUE)
    return {**made, "views": [{**made["views"][0], "points": [[121, 3]]}]}


BAD_CAMERAS: dict[str, tuple[Callable[[], list[dict]], str]] = {
    "two cameras, one name": (
        lambda: [from_free_camera("ball", BLUE), from_free_camera("tomato", RED, THERE)],
        "view from above: another camera's view is called so",
    ),
    "the name of a picture": (
        lambda: [from_free_camera("ball", BLUE, view="view_01")],
        "view view_01: another camera's view is called so",
    ),
    "no size": (
        lambda: [{"name": "ball", "views": [{"view": "a", "points": [[1, 1]], "camera": {"viewmat": [], "K": []}}]}],
        "'width' is missing",
    ),
    "outside": (lambda: [outside()], "view from above: 121 3 is outside its picture of 120x90 pixels"),
}


@pytest.mark.usefixtures("segmenter")
@pytest.mark.parametrize(("objects", "reason"), BAD_CAMERAS.values(), ids=BAD_CAMERAS.keys())
def test_free_cameras_that_are_none(
    objects: Callable[[], list[dict]],
    reason: str,
    scene: SceneOnDisk,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    assert reason in failure(capsys, "click", *scene.arguments, *prompts_file(tmp_path, *objects()))
    assert not store_of(scene).folder.exists()


def test_pictures_are_read_once_and_for_all(
    scene: SceneOnDisk, segmenter: ColourSegmenter, capsys: pytest.CaptureFixture[str]
):
    click(scene, capsys, *at(scene, BLUE))
    assert len(segmenter.embedded) == TRAINING_VIEWS
    click(scene, capsys, *at(scene, RED))
    assert len(segmenter.embedded) == TRAINING_VIEWS


def test_held_out_views_are_not_carried_to_but_can_be_clicked_in(
    scene: SceneOnDisk, segmenter: ColourSegmenter, capsys: pytest.CaptureFixture[str]
):
    document, printed = click(scene, capsys, *at(scene, BLUE, TEST_VIEWS[0]), "--name", "ball")
    assert iou(scene, document, "ball", BLUE) > 0.93
    assert len(segmenter.embedded) == TRAINING_VIEWS + 1
    row = next(line for line in printed.splitlines() if "ball" in line)
    assert str(TRAINING_VIEWS + 1) in row.split("│")[4]
    click(scene, capsys, *at(scene, RED), "--views", "all")
    assert len(segmenter.embedded) == TRAINING_VIEWS + 2


@pytest.mark.usefixtures("segmenter")
def test_views_and_options_by_name(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    words = [*at(scene, BLUE), "--views", "view_01", "view_02", "--carry.least-agreement", "0.4", "--name", "ball"]
    document, _ = click(scene, capsys, *words)
    assert document.history[0].parameters["least_agreement"] == 0.4
    assert document.object("ball").provenance.parameters["least_agreement"] == 0.4


def right_half(objects: Tensor, _: Tensor) -> list[Tensor]:
    return [(torch.arange(objects.shape[1]) > objects.shape[1] / 2).expand(objects.shape)] * 3


class Lying(ColourSegmenter):
    """Finds the right half of one picture."""

    def __init__(self, picture: Path | None) -> None:
        super().__init__(answers_of_views={1: right_half})
        self._picture = None if picture is None else torch.from_numpy(np.array(Image.open(picture)))

    def embed(self, image: Tensor) -> Embedding:
        made = super().embed(image)
        made.features[0][..., 2] = int(self._picture is not None and torch.equal(image, self._picture))
        return made


@pytest.mark.usefixtures("segmenter")
@pytest.mark.parametrize("liar", [None, "view_02"])
def test_the_sheet_shows_what_counts_and_what_does_not(
    liar: str | None,
    scene: SceneOnDisk,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    made = Lying(None if liar is None else scene.data / "images" / f"{liar}.png")
    monkeypatch.setattr(segmenting, "segmenter_named", lambda *_: made)
    sheets = tmp_path / "sheets"
    document, printed = click(scene, capsys, *at(scene, BLUE), "--name", "blue/ball", "--pictures", str(sheets))
    assert f"wrote {sheets}" in printed.replace("\n", "")
    (path,) = sheets.iterdir()
    assert path.name == "1_blue_ball.png"
    sheet = np.array(Image.open(path))
    # Four tiles of 384 pixels side by side, one for each view; each mask has a rim in its colour.
    assert sheet.shape[1] == 4 * 384 and sheet.shape[0] == 2 * (384 * 72 // 96 + 18)
    tiles = [tile for row in np.split(sheet, 2) for tile in np.split(row, 4, axis=1)]
    counting = [int((tile == document.object(1).color).all(axis=-1).sum()) > 50 for tile in tiles]
    rejected = [int((tile == (150, 150, 150)).all(axis=-1).sum()) > 50 for tile in tiles]
    assert sum(counting) == TRAINING_VIEWS - (liar is not None)
    assert sum(rejected) == (liar is not None)
    assert not any(one and other for one, other in zip(counting, rejected, strict=True))
    # The click is marked in the picture in which it was made.
    clicked = [bool((tile == (40, 200, 60)).all(axis=-1).any()) for tile in tiles]
    assert clicked == [True] + [False] * (TRAINING_VIEWS - 1)


def test_a_sheet_without_masks(
    scene: SceneOnDisk, segmenter: ColourSegmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A mask that is too small to be carried anywhere."""
    x, y = (int(float(number)) for number in middle(scene, BLUE))

    def speck(_: Tensor, whole: Tensor) -> list[Tensor]:
        small = torch.zeros_like(whole)
        small[y - 2 : y + 3, x - 2 : x + 3] = True
        return [small & whole] * 3

    segmenter.answer = speck
    words = [*at(scene, BLUE), "--carry.no-consensus", "--pictures", str(tmp_path / "sheets")]
    document, _ = click(scene, capsys, *words)
    assert document.counts()[1] > 0


Words = Callable[[SceneOnDisk], list[str]]

BAD_WORDS: dict[str, tuple[Words, str]] = {
    "no such view": (
        lambda s: ["--view", "veiw_01", "--point", "3", "4"],
        "no view 'veiw_01'; the nearest names are view_01",
    ),
    "no view": (lambda _: ["--point", "3", "4"], "which view is clicked in?"),
    "no click": (lambda _: ["--view", "view_00"], "there is no click"),
    "only off it": (lambda s: ["--view", "view_00", "--not", *middle(s, RED)], "only clicks off it"),
    "on and off": (
        lambda s: [*at(s, RED), "--not", *middle(s, RED)],
        "is said to be on the object and off it",
    ),
    "sky": (lambda _: ["--view", "view_00", "--point", "2.5", "1.5"], "view view_00: there is nothing at 2.5 1.5"),
    "table": (lambda _: ["--view", "view_00", "--point", "48.5", "66.5"], "the segmenter finds no mask"),
    "outside": (lambda _: ["--view", "view_00", "--point", "97", "3"], "97 3 is outside its picture of 96x72 pixels"),
    "box upside down": (lambda _: ["--view", "view_00", "--box", "9", "9", "3", "3"], "left top right bottom"),
    "box of nothing": (lambda _: ["--view", "view_00", "--box", "1", "1", "9", "9"], "finds nothing in the box"),
    "no name": (lambda s: [*at(s, RED), "--name", " "], "name"),
    "views": (lambda s: [*at(s, RED), "--views", "view_77"], "no view 'view_77'"),
    "no file": (lambda _: ["--prompts", "/nowhere/prompts.json"], "/nowhere/prompts.json"),
}


@pytest.mark.usefixtures("segmenter")
@pytest.mark.parametrize(("words", "reason"), BAD_WORDS.values(), ids=BAD_WORDS.keys())
def test_failures_in_one_line_and_nothing_written(
    words: Words, reason: str, scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]
):
    before = sorted(scene.ply.parent.iterdir())
    assert reason in failure(capsys, "click", *scene.arguments, *words(scene))
    assert sorted(scene.ply.parent.iterdir()) == before


@pytest.mark.usefixtures("segmenter")
def test_bad_files_in_one_line_and_nothing_written(
    scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good = entry(scene, "good", RED)
    for objects, reason in [
        ([], "there is no object"),
        ([good, good], "two objects are called 'good'"),
        ([good, entry(scene, " ", BLUE)], "name"),
        (
            [good, {**entry(scene, "bad", BLUE), "views": [{"view": "view_99", "points": [[1, 1]]}]}],
            "no view 'view_99'",
        ),
        ([good, {**entry(scene, "bad", BLUE), "views": [{"view": "view_00", "points": [[2, 1]]}]}], "there is nothing"),
        ([good, {"name": "bad", "views": [{"view": "view_00", "negative": [[2, 1]]}]}], "'bad': there are only clicks"),
    ]:
        words = prompts_file(tmp_path, *objects)
        assert reason in failure(capsys, "click", *scene.arguments, *words)
        assert not store_of(scene).folder.exists()
    both = [*prompts_file(tmp_path, good), *at(scene, RED)]
    assert "leave --view, --point and the like out" in failure(capsys, "click", *scene.arguments, *both)


@pytest.mark.usefixtures("segmenter")
@pytest.mark.parametrize("more", [[], ["--fresh"]])
def test_an_object_of_masks_is_not_replaced(more: list[str], labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    before = files_of(labelled)
    words = [*labelled.arguments, *at(labelled, RED), "--name", "red ball", *more]
    assert "'red ball' that was not made by clicks" in failure(capsys, "click", *words)
    assert files_of(labelled) == before


@pytest.mark.usefixtures("segmenter")
def test_clicks_beside_objects_of_masks(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    before = store_of(labelled).load()
    assert main(["objects", *labelled.arguments[:2], "--delete", "blue ball"]) == 0
    document, _ = click(labelled, capsys, *at(labelled, BLUE), "--name", "ball")
    assert document.names == ["red ball", "green ball", "ball"]
    assert float((document.rows("ball") == before.rows("blue ball")).float().mean()) > 0.98
    assert float((document.rows("red ball") == before.rows("red ball")).float().mean()) > 0.99


def files_of(scene: SceneOnDisk) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store_of(scene).folder.iterdir()}


@pytest.mark.parametrize("calls", [1, 6])
def test_an_interruption_keeps_the_document(
    calls: int,
    labelled: SceneOnDisk,
    segmenter: ColourSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    before = files_of(labelled)
    left = [calls]

    def interrupted(whole: Callable):
        def call(*arguments: object) -> object:
            left[0] -= 1
            if left[0] <= 0:
                raise KeyboardInterrupt
            return whole(*arguments)

        return call

    monkeypatch.setattr(segmenter, "predict", interrupted(segmenter.predict))
    assert main(["click", *labelled.arguments, *at(labelled, BLUE), "--name", "ball"]) == 130
    assert capsys.readouterr().err.strip().endswith("interrupted")
    assert files_of(labelled) == before


class Silent(ColourSegmenter):
    """Finds nothing anywhere."""

    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        found = super().predict(embedding, prompts)
        return Candidates(torch.full_like(found.logits, -8.0), found.scores, found.width, found.height)


def test_a_segmenter_that_finds_nothing(
    scene: SceneOnDisk,
    segmenter: ColourSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(segmenting, "segmenter_named", lambda *_: Silent())
    assert "the segmenter finds no" in failure(capsys, "click", *scene.arguments, *at(scene, BLUE))
    assert not store_of(scene).folder.exists()


@pytest.mark.usefixtures("segmenter")
def test_names_are_printed_as_they_are(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    document, printed = click(scene, capsys, *at(scene, BLUE), "--name", "mug [left] [/b]")
    assert document.names == ["mug [left] [/b]"]
    assert "mug [left] [/b]" in printed
