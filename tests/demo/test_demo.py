"""The demo ends with its table and its picture, and its labels are right."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from splatseg_ns.demo.__main__ import main


def test_the_demo_labels_its_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(tmp_path)
    rows = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines() if "ball" in line]
    assert [row[0] for row in rows] == ["red ball", "green ball", "blue ball"]
    assert all(float(row[2]) > 0.97 for row in rows)
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.size == (640, 240)
