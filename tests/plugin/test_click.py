"""``splatseg click`` on a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatseg_ns.cli import main, segmenting
from splatseg_ns.plugin.runs import Run
from splatseg_ns.scene import read_label_map
from splatseg_ns.segmentation import SegmentationStore
from splatseg_ns.segmentation.clicking import earlier_prompts
from tests.cli.examples import SceneOnDisk
from tests.segmentation.clicked import BLUE, ColourSegmenter

pytestmark = pytest.mark.slow


def test_a_click_makes_an_object_of_a_run(
    run: Run,
    scene: SceneOnDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(segmenting, "segmenter_named", lambda *_: ColourSegmenter())
    monkeypatch.setenv("SPLATSEG_CACHE", str(tmp_path / "cache"))
    rows, columns = (read_label_map(scene.masks / "view_00.png") == BLUE).nonzero().double().mean(dim=0).tolist()
    point = [str(columns + 0.5), str(rows + 0.5)]
    config = str(run.folder / "config.yml")
    words = ["--load-config", config, "--device", "cpu", "--view", "view_00", "--point", *point, "--name", "ball"]
    assert main(["click", *words]) == 0, capsys.readouterr().err
    document = SegmentationStore(run.folder / "segmentation").load(run.splats())
    assert document.names == ["ball"] and document.counts()[1] > 0
    assert earlier_prompts(document, "ball") is not None
    out = tmp_path / "masks"
    assert main(["masks", "--load-config", config, "--device", "cpu", "--out", str(out), "--views", "view_03"]) == 0
    drawn, true = read_label_map(out / "view_03.png") == 1, read_label_map(scene.masks / "view_03.png") == BLUE
    assert float((drawn & true).sum() / (drawn | true).sum()) > 0.7
