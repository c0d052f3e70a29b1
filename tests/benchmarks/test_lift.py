"""The whole benchmark on a tiny capture."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lift import PLOT_NAME, TABLE_NAME, main
from tests.cli.examples import write_scene


@pytest.fixture
def capture(tmp_path: Path) -> list[str]:
    """Its arguments; eight training and two held-out views, all with label maps."""
    scene = write_scene(tmp_path)
    scene.masks.rename(scene.data / "labels")
    return ["--ply", str(scene.ply), "--data", str(scene.data)]


@pytest.mark.slow
def test_quick_ends_with_the_tables_and_the_plot(
    capture: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    chosen = ["--solvers", "flashsplat L1", "robust", "--workers", "1", "--threads", "1"]
    main([*capture, "--quick", *chosen, "--out", str(out)])
    table = (out / TABLE_NAME).read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if line.startswith("|")}
    # The last tables' rows: shares of the way, seconds and megabytes, descents.
    assert {"argmax", "oracle", "flashsplat L1", "robust", "closed form, 8 views", "softmax, rate 0.1"} <= set(rows)
    clean = next(line for line in table.splitlines() if line.startswith("| flashsplat L1"))
    assert float(clean.split("|")[2]) > 90
    assert float(rows["closed form, 8 views"][1]) > 90
    of_robust = [line.split("|")[2:-1] for line in table.splitlines() if line.startswith("| robust |")]
    costs, room = of_robust[-2:]
    assert len(costs) == 3 and len(room) == 1 and all(float(number) > 0 for number in costs + room)
    assert (out / PLOT_NAME).read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr()
    assert table.strip() in printed.out and "done in" in printed.err


@pytest.mark.slow
def test_parts_conditions_and_seeds_can_be_chosen(capture: list[str], capsys: pytest.CaptureFixture[str]):
    only = ["--only", "accuracy", "--conditions", "10 % salt", "clean, 16 views", "--solvers", "flashsplat L1"]
    main([*capture, *only, "--seeds", "2", "--workers", "2"])
    printed = capsys.readouterr()
    assert "10 % salt" in printed.out and "±" in printed.out
    # Of 16 views the capture has none, and nothing else was asked for.
    assert "16 views" not in printed.out and "closed form" not in printed.out and "peak" not in printed.out


def test_splats_and_capture_go_together(capture: list[str]):
    with pytest.raises(SystemExit):
        main(capture[:2])
