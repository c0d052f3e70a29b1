"""``splatseg objects``: what it lists and changes."""

from __future__ import annotations

import pytest

from splatseg_ns.cli import main
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from tests.cli.examples import SceneOnDisk
from tests.cli.test_label import failure


def saved(scene: SceneOnDisk) -> Segmentation:
    return SegmentationStore(scene.ply.with_name("scene.segmentation")).load(scene.splats)


def test_lists(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    before = saved(labelled)
    assert main(["objects", "--ply", str(labelled.ply)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in before.names)
    assert all(str(count) in printed for count in before.counts().values())
    assert saved(labelled).history == before.history


def test_edits_and_saves(labelled: SceneOnDisk):
    before = saved(labelled)
    arguments = ["objects", *labelled.arguments]
    assert main([*arguments, "--rename", "red ball", "tomato", "--hide", "tomato", "2"]) == 0
    document = saved(labelled)
    assert document.object(1).name == "tomato"
    assert [entry.visible for entry in document.objects] == [False, False, True]
    assert main([*arguments, "--show", "tomato", "--merge", "tomato", "green ball", "--delete", "blue ball"]) == 0
    document = saved(labelled)
    assert document.names == ["tomato"]
    assert document.counts()[1] == before.counts()[1] + before.counts()[2]
    assert document.object(1).visible
    assert [entry.operation for entry in document.history[1:]] == ["rename", "hide", "show", "merge", "delete"]


def test_the_background_is_hidden_and_shown_as_0(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    arguments = ["objects", *labelled.arguments]
    assert main([*arguments, "--hide", "0", "red ball"]) == 0
    count = int((saved(labelled).labels < 1).sum())
    line = f"{count} of {len(labelled.splats)} Gaussians belong to no object, and are hidden"
    assert line in capsys.readouterr().out
    assert saved(labelled).hidden_names() == ("background", "red ball")
    assert saved(labelled).history[-1].parameters["objects"] == ["background", "red ball"]
    # It stays so until it is shown.
    assert main([*arguments, "--show", "1"]) == 0
    assert saved(labelled).hidden_names() == ("background",)
    assert main([*arguments, "--show", "0"]) == 0
    assert "hidden" not in capsys.readouterr().out.splitlines()[-1]
    assert saved(labelled).background_visible
    for words in (["--delete", "0"], ["--merge", "1", "0"], ["--rename", "0", "table"]):
        assert "no object 0" in failure(capsys, *arguments, *words)


def test_an_object_may_be_called_0(labelled: SceneOnDisk):
    arguments = ["objects", *labelled.arguments]
    assert main([*arguments, "--rename", "1", "0"]) == 0
    assert main([*arguments, "--hide", "0"]) == 0
    assert saved(labelled).hidden_names() == ("0",)


def test_failures_save_nothing(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    arguments = ["objects", *labelled.arguments]
    line = failure(capsys, *arguments, "--rename", "red ball", "tomato", "--delete", "green bal")
    assert "did you mean 'green ball'?" in line
    assert saved(labelled).names[0] == "red ball"
    assert "at least one" in failure(capsys, *arguments, "--merge", "1")


def test_nothing_to_list(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    assert "splatseg label" in failure(capsys, "objects", "--ply", str(scene.ply))
