"""``splatseg transfer`` on balls on a table, with the packaged features, and commands on the parts that it finds."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.edit import decided_labels, with_gamma
from splatseg_ns.masks.embedding_cache import CACHE_VARIABLE
from splatseg_ns.scene import read_ply, write_ply
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from splatseg_ns.segmentation.parts import kinds_of, owners_of
from splatseg_ns.segmentation.transfer_recipe import TransferRecipe, recipe_of
from tests.cli.examples import TEST_VIEWS, SceneOnDisk
from tests.cli.test_label import failure
from tests.masks.test_labelme import shape, write_labelme
from tests.segmentation.examples import state

KINDS = {1: "red", 2: "green", 3: "blue"}
VIEWS = ("view_00", "view_04")
TRAINED = 8
"""Views that are not held out."""


@dataclass(frozen=True)
class Parted(SceneOnDisk):
    """A labelled scene with parts, found by some of its own pictures."""

    examples: Path

    @property
    def store(self) -> SegmentationStore:
        return SegmentationStore(self.ply.with_name("scene.segmentation"))

    @property
    def objects(self) -> Segmentation:
        return self.store.load(self.splats)

    @property
    def parts(self) -> Segmentation:
        return self.store.parts.load(self.splats)

    def find(self, *more: str) -> list[str]:
        """The command line of a transfer."""
        return ["transfer", *self.arguments, "--examples", str(self.examples), *more]

    def files_of_objects(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.store.folder.iterdir() if path.is_file()}


def write_examples(scene: SceneOnDisk, folder: Path, views: tuple[str, ...] = VIEWS) -> Path:
    """Pictures of the scene with their label maps, in which the balls are kinds of things."""
    (folder / "labels").mkdir(parents=True)
    (folder / "images").mkdir()
    for name in views:
        shutil.copy(scene.data / "images" / f"{name}.png", folder / "images")
        shutil.copy(scene.masks / f"{name}.png", folder / "labels")
    (folder / "labels" / "labels.json").write_text(json.dumps(KINDS))
    return folder


@pytest.fixture(scope="module")
def made(pristine: SceneOnDisk, tmp_path_factory: pytest.TempPathFactory) -> Parted:
    """Not to be changed. What is said of pictures is kept for all tests of this file."""
    folder = tmp_path_factory.mktemp("parted")
    shutil.copytree(pristine.ply.parent, folder / "scene")
    inner = {"ply": folder / "scene" / "scene.ply", "data": folder / "scene" / "capture"}
    scene = Parted(
        **inner,
        masks=folder / "scene" / "masks",
        splats=pristine.splats,
        truth=pristine.truth,
        examples=write_examples(pristine, folder / "scene" / "examples"),
    )
    assert main(["label", *scene.arguments, "--masks", str(scene.masks)]) == 0
    assert main(scene.find()) == 0
    return scene


@pytest.fixture
def parted(made: Parted, tmp_path: Path) -> Parted:
    """A copy to play with; its recipe names the examples of the original."""
    folder = tmp_path / "scene"
    shutil.copytree(made.ply.parent, folder)
    return replace(
        made,
        ply=folder / "scene.ply",
        data=folder / "capture",
        masks=folder / "masks",
        examples=folder / "examples",
    )


@pytest.fixture
def unparted(parted: Parted) -> Parted:
    """Labelled, without parts."""
    shutil.rmtree(parted.store.parts.folder)
    return parted


@pytest.fixture
def bare(unparted: Parted) -> Parted:
    """Nothing is segmented."""
    shutil.rmtree(unparted.store.folder)
    return unparted


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that succeeds."""
    capsys.readouterr()
    code = main(words)
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


# What it makes


def test_parts_are_a_layer_beside_the_objects(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    before = unparted.files_of_objects()
    said = printed(capsys, *unparted.find())
    assert unparted.files_of_objects() == before
    parts, objects = unparted.parts, unparted.objects
    parts.check_splats(unparted.splats)
    assert kinds_of(parts).keys() == set(KINDS.values())
    assert all(name in said for name in parts.names) and str(unparted.store.parts.folder) in said
    assert "patches of 2 pictures: none of them" in said and "red 14" in said
    owners = owners_of(parts, objects)
    for part in parts.objects:
        owner = owners[part.id]
        assert part.name == (part.kind if owner is None else f"{owner.name} {part.kind}")
        assert parts.counts()[part.id] >= 20
        assert part.provenance.solver == "flashsplat"
        (source,) = part.provenance.prompts
        assert source == {"examples": str(unparted.examples.resolve()), "features": "efficientnet"}
    assert torch.equal(parts.labels[objects.labels < 0] > 0, torch.zeros(int((objects.labels < 0).sum())) > 0)


def test_the_large_balls_are_what_their_pictures_say(made: Parted):
    for name, kind in (("red ball", "red"), ("blue ball", "blue")):
        ball, kinds = made.objects.rows(name), made.parts.rows(f"{name} {kind}")
        assert float((ball & kinds).sum() / ball.sum()) > 0.8, name
        assert not bool((kinds & ~ball).any())


def test_the_history_says_how_to_do_it_again(made: Parted):
    parts = made.parts
    assert [entry.operation for entry in parts.history] == ["transfer", "label"]
    assert parts.history[0].parameters["views"] == ["train"]
    assert parts.history[1].parameters["solver"] == "flashsplat"
    assert recipe_of(parts) == TransferRecipe(made.examples.resolve())


def test_the_same_again_is_the_same(parted: Parted, capsys: pytest.CaptureFixture[str]):
    before = parted.parts
    assert "replaced" in printed(capsys, *parted.find())
    again = parted.parts
    assert torch.equal(again.labels, before.labels) and again.names == before.names


def test_without_objects_there_are_kinds_alone(bare: Parted, capsys: pytest.CaptureFixture[str]):
    said = printed(capsys, *bare.find("--min-gaussians", "1"))
    assert "saved" in said and not bare.store.exists()
    assert bare.parts.names == ["red", "green", "blue"]
    listed = printed(capsys, "objects", "--parts", *bare.arguments)
    assert all(name in listed for name in bare.parts.names) and "Gaussians belong to no" in listed


def test_within_chosen_objects_every_gaussian_is_of_a_kind(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    printed(capsys, *unparted.find("--objects", "red ball", "3"))
    parts, objects = unparted.parts, unparted.objects
    within = objects.rows("red ball") | objects.rows("blue ball")
    assert not bool((parts.labels[~within] > 0).any())
    assert {owner and owner.name for owner in owners_of(parts, objects).values()} == {"red ball", "blue ball"}
    for name, kind in (("red ball", "red"), ("blue ball", "blue")):
        ball = objects.rows(name)
        assert float((parts.labels[ball] == parts.object(f"{name} {kind}").id).float().mean()) > 0.9
    # The background is no answer there: what is seen and of no part is of one that was left out.
    seen = within & (parts.labels >= 0)
    assert float((parts.labels[seen] > 0).float().mean()) > 0.98
    recipe = recipe_of(parts)
    assert recipe is not None and recipe.objects == ("red ball", "blue ball") and recipe.background is None


def test_the_background_may_be_an_answer_within_objects(unparted: Parted):
    counts = {}
    for answer in ("True", "False"):
        assert main(unparted.find("--objects", "red ball", "--min-gaussians", "1", "--background", answer)) == 0
        counts[answer] = int((unparted.parts.labels > 0).sum())
    assert counts["True"] < counts["False"]


def test_with_less_gamma_there_is_more_of_the_parts(unparted: Parted):
    counts = []
    for gamma in ("0.2", "0", "-0.2"):
        assert main(unparted.find("--gamma", gamma)) == 0
        counts.append(int((unparted.parts.labels > 0).sum()))
    assert counts == sorted(counts) and counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("voting", ["labels", "robust"])
def test_the_likeliest_kinds_may_vote(unparted: Parted, voting: str):
    assert main(unparted.find("--voting", voting, "--upsampling", "bilinear", "--flip", "--views", "all")) == 0
    recipe = recipe_of(unparted.parts)
    assert recipe is not None and recipe.transfer.voting == voting and recipe.features.flip
    assert unparted.parts.history[0].parameters["views"] == ["all"]
    blue = unparted.objects.rows("blue ball")
    assert float((unparted.parts.labels[blue] == unparted.parts.object("blue ball blue").id).float().mean()) > 0.8


def test_small_parts_are_left_out(unparted: Parted):
    assert main(unparted.find("--min-gaussians", "1")) == 0
    before = counts_by_name(unparted.parts)
    some = sorted(before.values())[len(before) // 2]
    assert main(unparted.find("--min-gaussians", str(some))) == 0
    after = counts_by_name(unparted.parts)
    assert after.keys() == {name for name, count in before.items() if count >= some} and len(after) < len(before)
    # Their Gaussians go to their second choice.
    assert all(after[name] >= before[name] for name in after) and sum(after.values()) <= sum(before.values())


def counts_by_name(parts: Segmentation) -> dict[str, int]:
    return {part.name: parts.counts()[part.id] for part in parts.objects}


def test_pictures_annotated_with_labelme(bare: Parted, capsys: pytest.CaptureFixture[str]):
    """A picture of another size, in which a rectangle lies over the blue ball."""
    folder = bare.ply.parent / "drawn"
    folder.mkdir()
    with Image.open(bare.data / "images" / "view_00.png") as picture:
        picture.resize((144, 108)).save(folder / "a.png")
    with Image.open(bare.masks / "view_00.png") as ids:
        rows, columns = np.nonzero(np.array(ids) == 3)
    corners = (1.5 * columns.min(), 1.5 * rows.min()), (1.5 * columns.max(), 1.5 * rows.max())
    write_labelme(folder / "a.json", shape("ball of blue", "rectangle", *corners), image="a.png")
    printed(capsys, *replace(bare, examples=folder).find())
    assert bare.parts.names == ["ball of blue"]
    found = bare.parts.rows("ball of blue")
    assert float((bare.truth[found] == 3).float().mean()) > 0.5 > float((bare.truth == 3).float().mean())


def test_sheets_show_each_view_beside_what_it_says(unparted: Parted, tmp_path: Path):
    assert main(unparted.find("--pictures", str(tmp_path / "sheets"))) == 0
    sheets = sorted((tmp_path / "sheets").glob("*.png"))
    assert len(sheets) == TRAINED and not {path.stem for path in sheets} & set(TEST_VIEWS)
    with Image.open(sheets[0]) as sheet, Image.open(unparted.data / "images" / sheets[0].name) as picture:
        assert sheet.size == (3 * 96, 72)
        assert np.array_equal(np.array(sheet)[:, :96], np.array(picture.convert("RGB")))
        assert not np.array_equal(np.array(sheet)[:, 96:192], np.array(sheet)[:, 192:])


def test_features_are_kept_where_the_cache_is(unparted: Parted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    assert main(unparted.find()) == 0
    kept = {path for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    # The examples are among the views.
    assert len(kept) >= TRAINED and all("efficientnet" in str(path) for path in kept)


# What parts are good for


def test_parts_are_listed_and_edited_as_objects_are(parted: Parted, capsys: pytest.CaptureFixture[str]):
    before = parted.files_of_objects()
    arguments = ["objects", "--parts", *parted.arguments]
    said = printed(capsys, *arguments)
    assert all(name in said for name in parted.parts.names) and "belong to no part" in said
    rows = {cells[2].strip(): cells for line in said.splitlines() if len(cells := line.split("│")) == 8}
    assert rows["red ball red"][6].strip() == "red ball" and rows["blue"][6].strip() == "-"
    printed(capsys, *arguments, "--rename", "red ball red", "skin", "--hide", "skin", "--delete", "blue")
    assert not parted.parts.object("skin").visible and "blue" not in parted.parts.names
    assert parted.parts.object("skin").kind == "red"
    assert parted.files_of_objects() == before


def test_parts_are_found_by_their_objects_after_these_were_renamed(parted: Parted, capsys: pytest.CaptureFixture[str]):
    assert main(["objects", *parted.arguments, "--rename", "red ball", "tomato"]) == 0
    said = printed(capsys, "objects", "--parts", *parted.arguments)
    (line,) = [line for line in said.splitlines() if "red ball red" in line]
    assert "tomato" in line


def test_masks_of_parts(parted: Parted, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    printed(capsys, "masks", "--parts", *parted.arguments, "--out", str(tmp_path / "out"))
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == set(TEST_VIEWS)
    stated = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert {entry["name"] for entry in stated.values()} == {"background", *parted.parts.names}
    with Image.open(tmp_path / "out" / "view_03.png") as drawn, Image.open(parted.masks / "view_03.png") as true:
        blue = np.array(drawn) == parted.parts.object("blue ball blue").id
        assert (blue & (np.array(true) == 3)).sum() > 0.8 * (np.array(true) == 3).sum()


def test_parts_are_exported_and_together_are_the_scene(
    parted: Parted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    printed(capsys, "export", "--parts", "--all", *parted.arguments, "--out", str(tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert {"red_ball_red.ply", "blue_ball_blue.ply", "remainder.ply", "labels.npz"} <= names
    with np.load(tmp_path / "labels.npz", allow_pickle=False) as archive:
        assert len(archive["labels"]) == len(parted.splats)
        labels = torch.from_numpy(archive["labels"])
    # A part that stands alone may lose some, but gains none.
    kept = labels > 0
    assert torch.equal(labels[kept].long(), parted.parts.labels[kept]) and int(kept.sum()) > 1000


def test_parts_are_decided_again_by_another_gamma(parted: Parted, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    counts = []
    for gamma in ("-0.1", "0.1"):
        out = tmp_path / gamma
        words = ["--parts", "--all", "--no-revote", "--gamma", gamma, "--out", str(out)]
        printed(capsys, "export", *parted.arguments, *words)
        with np.load(out / "labels.npz", allow_pickle=False) as archive:
            labels = torch.from_numpy(archive["labels"]).long()
        again = with_gamma(parted.parts, float(gamma)).labels
        assert torch.equal(labels.clamp_min(0), again.clamp_min(0))
        counts.append(int((labels > 0).sum()))
    assert counts[0] > int((parted.parts.labels > 0).sum()) > counts[1]


def test_what_was_decided_is_what_the_kept_votes_decide(bare: Parted):
    assert main(bare.find("--min-gaussians", "1")) == 0
    decided = decided_labels(bare.parts)
    assert decided is not None and torch.equal(decided, bare.parts.labels)


def test_a_part_is_taken_out_as_an_object_is(parted: Parted, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--objects", "blue ball blue", "red ball red", "--out", str(tmp_path)]
    printed(capsys, "export", "--parts", *parted.arguments, *words)
    assert {path.stem for path in tmp_path.glob("*.ply")} == {"blue_ball_blue", "red_ball_red", "remainder"}


def test_parts_are_extracted(parted: Parted, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before, out = parted.files_of_objects(), tmp_path / "skin.ply"
    words = ["--objects", "red ball red", "--out", str(out)]
    printed(capsys, "extract", "--parts", *parted.arguments, *words)
    rows = parted.parts.rows("red ball red")
    assert 0 < len(read_ply(out)) <= int(rows.sum())
    assert parted.files_of_objects() == before


# What goes wrong


def test_no_folder_of_examples(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    line = failure(capsys, *replace(unparted, examples=Path("/nowhere/at/all")).find())
    assert "/nowhere/at/all" in line and "no such folder of examples" in line
    empty = unparted.ply.parent / "empty"
    empty.mkdir()
    assert "no annotated picture is there" in failure(capsys, *replace(unparted, examples=empty).find())
    assert not unparted.store.parts.exists()


def test_examples_that_show_nothing(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    for path in (unparted.examples / "labels").glob("*.png"):
        Image.new("L", (96, 72)).save(path)
    assert "the examples show none of their classes" in failure(capsys, *unparted.find())


def test_an_unreadable_annotation(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    (unparted.examples / "images" / "view_00.json").write_text('{"shapes": [{"label": "red"}]}')
    line = failure(capsys, *unparted.find())
    assert "view_00.json: no readable annotation by labelme" in line
    assert not unparted.store.parts.exists()


def test_objects_where_there_are_none(bare: Parted, capsys: pytest.CaptureFixture[str]):
    assert "make one with 'splatseg label'" in failure(capsys, *bare.find("--objects", "red ball"))
    assert not bare.store.folder.exists()


def test_an_unknown_object_is_named_with_the_nearest(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    assert "did you mean 'red ball'?" in failure(capsys, *unparted.find("--objects", "rad ball"))
    assert "no object 9" in failure(capsys, *unparted.find("--objects", "9"))
    assert not unparted.store.parts.exists()


def test_too_few_gaussians_save_nothing(parted: Parted, capsys: pytest.CaptureFixture[str]):
    before = state(parted.parts)
    for more, hint in ([], "or name --objects"), (["--objects", "red ball"], "lower --gamma (0.0)"):
        line = failure(capsys, *parted.find("--min-gaussians", "100000", *more))
        assert "too few Gaussians are of its classes (red, green, blue)" in line and hint in line
    # What was there stays.
    assert state(parted.parts) == before


def test_where_nothing_is_known(unparted: Parted, capsys: pytest.CaptureFixture[str]):
    # Of views that are no examples themselves no patch is just like one.
    line = failure(capsys, *unparted.find("--least-similarity", "1", "--views", *TEST_VIEWS))
    assert "no pixel of the views looks like the examples; lower --least-similarity (1.0)" in line
    assert not unparted.store.parts.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--neighbours", "0"], "neighbours"),
        (["--temperature", "0"], "temperature is above 0"),
        (["--balance", "2"], "balance is a number from 0 to 1"),
        (["--least-similarity", "1.5"], "least_similarity is a cosine"),
        (["--gamma", "-2"], "gamma is a number from -1 to 1"),
        (["--checkpoint", "weights"], "efficientnet brings its weights"),
        (["--scales", "0"], "scales above 0"),
        (["--views", "view_99"], "view_99"),
    ],
)
def test_options_that_make_no_sense(
    unparted: Parted, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert message in failure(capsys, *unparted.find(*options))
    assert not unparted.store.parts.exists()


def test_without_a_network_dinov2_says_what_to_download(
    unparted: Parted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    hub: Any = pytest.importorskip("huggingface_hub")
    pytest.importorskip("transformers", reason="DINOv2 needs transformers (the extra dino)")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    line = failure(capsys, *unparted.find("--features", "dinov2"))
    assert "config.json and model.safetensors" in line and "download the two from https://" in line
    missing = tmp_path / "missing"
    assert str(missing) in failure(capsys, *unparted.find("--features", "dinov2", "--checkpoint", str(missing)))


def test_without_transformers_it_names_the_extra(
    unparted: Parted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "splatseg_ns[dino]" in failure(capsys, *unparted.find("--features", "dinov2"))


@pytest.mark.parametrize(
    "command",
    [["objects"], ["masks", "--out", "out"], ["export", "--all", "--out", "out"], ["eval", "--masks", "masks"]],
)
def test_where_no_parts_are_a_line_says_how_to_find_some(
    unparted: Parted, command: list[str], capsys: pytest.CaptureFixture[str]
):
    line = failure(capsys, command[0], "--parts", *unparted.arguments, *command[1:])
    assert "no parts are there; find some with 'splatseg transfer', or leave --parts out" in line


def test_splats_that_have_changed(parted: Parted, capsys: pytest.CaptureFixture[str]):
    write_ply(parted.ply, parted.splats.subset(torch.arange(len(parted.splats)).flip(0)))
    for words in (parted.find(), ["objects", "--parts", *parted.arguments]):
        assert "the splats have changed since they were segmented" in failure(capsys, *words)
