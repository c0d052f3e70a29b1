"""The benchmark of pruning, on a tiny scene."""

from __future__ import annotations

import pytest
import torch

from benchmarks.prune import gradient_reaches, main
from splatseg_ns.lift import contribution
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture
from tests.cli.examples import SceneOnDisk


def test_both_rules_have_a_row_for_each_size(pristine: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    main(["--ply", str(pristine.ply), "--data", str(pristine.data), "--shares", "0.7", "0.5", "--max-drop", "2"])
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0]]
    assert [row[0] for row in rows[:8]] == [
        "all", "votes above 0", "gradient above 0",
        "all", "70%, gradient", "70%, error", "50%, gradient", "50%, error",
    ]  # fmt: skip
    assert [row[1] for row in rows[4:8]] == ["8400", "8400", "6000", "6000"]
    held_out = [float(row[5]) for row in rows]
    assert held_out[3] > held_out[5] > held_out[4] and held_out[7] > held_out[6]
    assert all(held_out[0] - figure <= 2.01 for figure in held_out[9:11])
    assert "PASS: votes above 0: " in printed and "- gradient above 0: " in printed
    assert printed.count("PASS: --max-drop 2") == 2


def test_gradients_reach_what_the_votes_see_unless_it_is_black(pristine: SceneOnDisk):
    engine = rasterizer_for("cpu")
    cameras = [view.camera for view in Capture.load(pristine.data).views[:3]]
    reached = gradient_reaches(engine, pristine.splats, cameras)
    assert torch.equal(reached, contribution(engine, pristine.splats, cameras) > 0)
    assert bool(reached.any()) and not bool(reached.all())
