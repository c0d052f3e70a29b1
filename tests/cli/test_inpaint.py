"""``splatseg inpaint`` on a scene that ``splatseg remove`` has written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from splatseg_ns.cli import main
from splatseg_ns.edit.inpaint import InpaintConfig
from splatseg_ns.scene import Splats, read_ply, write_ply
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from tests.cli.test_label import failure
from tests.edit.can_scene import can_scene, write_can_scene

QUICK = ["--views", "2", "--steps", "3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the can on its table, labelled, and the same without the can; not to be changed."""
    scene = can_scene(views=6)
    folder = write_can_scene(scene, tmp_path_factory.mktemp("can"))
    removed, store = folder / "scene-without-can.ply", folder / "scene-without-can.segmentation"
    write_ply(removed, scene.removed)
    rest = Segmentation.of(scene.removed, torch.zeros(len(scene.removed), dtype=torch.int64))
    SegmentationStore(store).save(rest.with_entry("remove", source=str(folder / "scene.ply"), objects=[1]))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to play with; the document still names the first folder."""
    shutil.copytree(made, tmp_path / "can")
    return tmp_path / "can"


def arguments(folder: Path, *words: str) -> list[str]:
    ply, data = folder / "scene-without-can.ply", folder / "capture"
    return ["inpaint", "--ply", str(ply), "--data", str(data), "--device", "cpu", *QUICK, *words]


def test_a_filled_scene_is_written_with_its_segmentation(folder: Path, capsys: pytest.CaptureFixture[str]):
    pictures = folder / "pictures"
    assert main(arguments(folder, "--pictures", str(pictures))) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    out = folder / "scene-without-can-inpainted.ply"
    filled, before = read_ply(out), read_ply(folder / "scene-without-can.ply")
    document = SegmentationStore(folder / "scene-without-can-inpainted.segmentation").load(filled)
    new = int(said.split(" new Gaussians")[0].split()[-1])
    kept = len(filled) - new
    assert new > 0 and 0 < len(before) - kept < 600
    rows = torch.isin(filled.means[:kept, 0], before.means[:, 0])
    assert bool(rows.all()) and not bool((document.labels[kept:] != 0).any())
    entry = document.history[-1]
    assert entry.operation == "inpaint" and entry.parameters["inpainter"] == "telea"
    assert {path.name for path in pictures.iterdir()} >= {
        "plane_1_face-on-before.png", "plane_1_face-on-hole.png", "plane_1_face-on-fill.png",
    }  # fmt: skip
    assert "a plane behind it" in said
    # What is black under the can has gone.
    dark = filled.sh[:, 0].mean(dim=1) < -1.5
    assert int(dark.sum()) < 0.2 * int((before.sh[:, 0].mean(dim=1) < -1.5).sum())


def test_the_same_seed_writes_the_same_file(folder: Path):
    files = [folder / f"{name}.ply" for name in "ab"]
    for file in files:
        assert main(arguments(folder, "--out", str(file), "--seed", "3")) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_removing_and_filling_in_one_go_gives_the_same_scene(folder: Path, capsys: pytest.CaptureFixture[str]):
    scene = ["--ply", str(folder / "scene.ply"), "--data", str(folder / "capture"), "--device", "cpu"]
    removal = ["remove", *scene, "--objects", "can", "--out"]
    assert main([*removal, str(folder / "one.ply"), "--inpaint", *QUICK]) == 0
    assert main([*removal, str(folder / "two.ply")]) == 0
    filling = ["inpaint", "--ply", str(folder / "two.ply"), *scene[2:], *QUICK, "--out", str(folder / "three.ply")]
    assert main(filling) == 0, capsys.readouterr().err
    assert (folder / "one.ply").read_bytes() == (folder / "three.ply").read_bytes()
    documents = [SegmentationStore(folder / f"{name}.segmentation").load() for name in ("one", "three")]
    steps = [[entry.operation for entry in document.history] for document in documents]
    assert steps == [["remove", "inpaint"]] * 2 and documents[0].names == documents[1].names == []
    everything = ["--gamma", "-1", "--grow", "200"]
    said = failure(capsys, *removal, str(folder / "four.ply"), "--inpaint", *everything)
    assert "no Gaussian would be left" in said and not (folder / "four.ply").exists()


def test_a_scene_that_is_gone_is_named(folder: Path, capsys: pytest.CaptureFixture[str]):
    store = SegmentationStore(folder / "scene-without-can.segmentation")
    document = store.load(read_ply(folder / "scene-without-can.ply"))
    store.save(document.with_entry("remove", source=str(folder / "gone.ply"), objects=[1]))
    assert "gone.ply: the scene that the objects were removed from is gone" in failure(capsys, *arguments(folder))
    assert main(arguments(folder, "--source", str(folder / "scene.ply"))) == 0
    # Once is enough.
    filled = ["inpaint", "--ply", str(folder / "scene-without-can-inpainted.ply"), *arguments(folder)[3:]]
    assert "is filled in already" in failure(capsys, *filled)


def test_another_scene_than_it_was_made_from_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    splats = read_ply(folder / "scene.ply")
    moved = Splats(**{**splats.tensors(), "means": splats.means + 0.01}, profile=splats.profile)
    write_ply(folder / "moved.ply", moved)
    words = arguments(folder, "--source", str(folder / "moved.ply"))
    assert "moved.ply: has changed since the objects were removed" in failure(capsys, *words)
    words = arguments(folder, "--source", str(folder / "scene-without-can.ply"))
    assert "nothing was removed from" in failure(capsys, *words)


def test_bad_input_is_told_in_a_line_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]):
    before = {path.name for path in folder.iterdir()}
    unknown = failure(capsys, *arguments(folder, "--inpainter", "nowhere.pt"))
    assert "nowhere.pt: no such inpainter; there are telea and navier-stokes" in unknown
    (folder / "text.pt").write_text("no network")
    assert "no readable TorchScript inpainter" in failure(
        capsys, *arguments(folder, "--inpainter", str(folder / "text.pt"))
    )
    whole = ["inpaint", "--ply", str(folder / "scene.ply"), *arguments(folder)[3:]]
    assert "no objects were removed from it" in failure(capsys, *whole)
    assert {path.name for path in folder.iterdir()} == before | {"text.pt"}


def test_an_interruption_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = {path.name for path in folder.iterdir()}

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["splatseg_ns.edit.inpaint"], "fitted", interrupted)
    assert main(arguments(folder)) == 130
    assert {path.name for path in folder.iterdir()} == before


def test_the_options_are_those_of_the_core():
    from splatseg_ns.cli.inpaint import InpaintOptions

    assert InpaintOptions().config() == InpaintConfig()
