"""The benchmark of pictures and clicks, on the bundled capture."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import segmenter
from benchmarks.segmenter import main, with_side
from splatseg_ns.demo.bundle import FOLDER
from splatseg_ns.masks.sam import mobile_sam


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_all_tables_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    # A quarter of the pixels takes a quarter of the time; the masks are a little worse.
    monkeypatch.setattr(segmenter, "mobile_sam", lambda: with_side(mobile_sam(), 512))
    out = tmp_path / "table.md"
    main(["--data", str(FOLDER), "--views", "1", "--rounds", "1", "--out", str(out)])
    table = out.read_text()
    assert table.strip() in capsys.readouterr().out
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if line.startswith("| ")}
    assert float(rows["the package's code"][2]) == 1.0
    assert float(rows["ours"][0]) > 0 and float(rows["16"][1]) > 0
    full = rows["float32, the whole square"]
    assert float(full[1]) > 0.8 and float(full[2]) == 1.0
    assert float(rows["bfloat16"][2]) > 0.99
    # Each of the others is another way to read, and shows it.
    for name in ("the picture's part of the square", "8-bit linear layers", "a square of 3/4"):
        assert 0.8 < float(rows[name][2]) < 1.0
