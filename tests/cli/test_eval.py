"""``splatseg eval`` on balls on a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from splatseg_ns.cli import main
from tests.cli.examples import TEST_VIEWS, SceneOnDisk


def test_json_is_all_that_is_printed(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    assert main(["eval", *labelled.arguments, "--masks", str(labelled.masks), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["views"] == len(TEST_VIEWS)
    assert list(result["objects"]) == ["red ball", "green ball", "blue ball"]
    for score in ("iou", "pooled_iou", "accuracy", "boundary_iou", "silhouette_iou"):
        values = [entry[score] for entry in result["objects"].values()]
        assert result[f"mean_{score}"] == pytest.approx(sum(values) / 3)
    assert result["mean_iou"] > 0.9
    assert {entry["matched_by"] for entry in result["objects"].values()} == {"name"}


def test_some_objects_and_their_sheets(labelled: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    more = ["--objects", "red ball", "--pictures", str(tmp_path)]
    assert main(["eval", *labelled.arguments, "--masks", str(labelled.masks), *more]) == 0
    printed = capsys.readouterr().out
    assert "red ball (by name)" in printed and "green ball" not in printed
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == sorted(TEST_VIEWS)
    with Image.open(tmp_path / f"{TEST_VIEWS[0]}.png") as sheet:
        assert sheet.size == (4 * 96, 72)


def test_an_unknown_object_is_named(labelled: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    assert main(["eval", *labelled.arguments, "--masks", str(labelled.masks), "--objects", "rad ball"]) == 1
    assert "did you mean 'red ball'?" in capsys.readouterr().err
