"""The benchmark of the viewer, on a tiny run."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch

from benchmarks.viewer import main, path_of
from splatseg_ns.plugin.attach import attach_splats
from splatseg_ns.scene import Capture
from tests.cli.examples import SceneOnDisk


@pytest.fixture
def config_file(pristine: SceneOnDisk, tmp_path: Path) -> Path:
    return attach_splats(pristine.splats, Capture.load(pristine.data), tmp_path / "scene" / "splatseg" / "now")


def test_all_that_the_viewer_shows_has_a_row(config_file: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--pictures", "3", "--rounds", "1", "--side", "48", "--max-res", "64"]
    # viser looks each of them up among 5,000 in an archive.
    with (
        mock.patch("viser._gui_api.svg_from_icon", return_value=""),
        mock.patch("viser._gui_handles.svg_from_icon", return_value=""),
    ):
        main(["--load-config", str(config_file), *words])
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == [
        "shown", "rgb", "objects, one hidden", "objects, one hidden with a ghost and selected", "segmentation",
        "rgb beside segmentation",
    ]  # fmt: skip
    for row in rows[1:]:
        moving, still, rate, side = (row[place] for place in (2, 5, 7, 8))
        assert float(moving.split("(")[0]) > 0 and float(still.split("(")[0]) > 0
        assert float(rate) == pytest.approx(1e3 / float(moving.split("(")[0]), rel=0.1)
        assert int(side) == 64
    assert printed.count("PASS") + printed.count("FAIL") == len(rows) - 1


def test_the_path_goes_along_the_training_views():
    poses = torch.eye(4)[:3].repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 1.0, 3.0])
    dataset = mock.Mock(image_filenames=[Path("a"), Path("c"), Path("b")])
    dataset.cameras.camera_to_worlds = poses[[0, 2, 1]]
    states = path_of(mock.Mock(**{"datamanager.train_dataset": dataset}), 4, 90.0, 1.5)
    assert [float(state.c2w[0, 3]) for state in states] == pytest.approx([0.0, 0.5, 1.0, 2.0])
    assert all(state.aspect == 1.5 and state.fov == pytest.approx(torch.pi / 2) for state in states)
