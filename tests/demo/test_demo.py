"""The demo ends with its table, its sheet and its files, and its objects are good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatseg_ns.cli.demo import Demo
from splatseg_ns.demo.run import DOCUMENT_FOLDER, OBJECT_FOLDER, SHEET_NAME, DemoResult, run_demo
from splatseg_ns.scene import read_ply


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def result(out: Path) -> DemoResult:
    return run_demo(out)


def test_its_objects_are_good(result: DemoResult):
    evaluation = result.evaluation
    assert evaluation.views == 12
    assert all(entry.matched_by == "name" and entry.truth_id == entry.id for entry in evaluation.objects)
    assert (evaluation.mean("iou") or 0.0) >= 0.952
    assert min(entry.iou or 0.0 for entry in evaluation.objects) >= 0.91
    assert (evaluation.mean("boundary_iou") or 0.0) >= 0.925
    assert (evaluation.mean("silhouette_iou") or 0.0) >= 0.954
    assert (evaluation.mean("faint_silhouette_iou") or 0.0) >= 0.888


def test_it_writes_every_object(result: DemoResult, out: Path):
    labels = np.load(out / OBJECT_FOLDER / "labels.npz")["labels"]
    for entry in result.document.objects:
        assert len(read_ply(out / OBJECT_FOLDER / f"{entry.name}.ply")) == (labels == entry.id).sum() > 1000
    assert (out / DOCUMENT_FOLDER / "objects.json").is_file()


def test_its_sheet_fits_on_a_page(result: DemoResult, out: Path):
    assert (out / SHEET_NAME).stat().st_size < 500_000
    with Image.open(out / SHEET_NAME) as sheet:
        assert sheet.width == 1200


def test_it_writes_to_outputs_unless_told_otherwise():
    assert Demo().out == Path("outputs/demo")
