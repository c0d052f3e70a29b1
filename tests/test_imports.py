"""Imports point downwards only, and the core stays a small library that loads quickly."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import splatseg_ns

ROOT = Path(splatseg_ns.__file__).parent

MAY_IMPORT: dict[str, set[str]] = {
    "scene": set(),
    "raster": {"scene"},
    "lift": {"scene", "raster"},
    "masks": {"scene"},
    "segmentation": {"scene", "raster", "lift", "masks"},
    "edit": {"scene", "raster", "lift", "masks", "segmentation"},
    "plugin": {"scene", "raster", "lift", "masks", "segmentation", "edit", "demo"},
    "cli": {"scene", "raster", "lift", "masks", "segmentation", "edit", "plugin", "demo"},
    "demo": {"scene", "raster", "lift", "masks", "segmentation", "edit"},
}
"""What the modules of each subpackage may import besides itself."""

MAY_IMPORT_NERFSTUDIO = {"plugin", "cli"}

MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imported_names(source: str, package: str) -> set[str]:
    """Full names of all modules that a source imports, wherever in it, ``from a import b`` as ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def violations(subpackage: str, names: set[str]) -> list[str]:
    """Those of the imported names that a module of the subpackage must not import."""
    wrong = []
    for name in sorted(names):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        upwards = top == "splatseg_ns" and target in MAY_IMPORT and target not in MAY_IMPORT[subpackage] | {subpackage}
        if upwards or (top == "nerfstudio" and subpackage not in MAY_IMPORT_NERFSTUDIO):
            wrong.append(name)
    return wrong


def test_every_subpackage_has_its_place():
    found = {path.parts[0] for path in MODULES if len(path.parts) > 1}
    assert found <= MAY_IMPORT.keys()
    assert {"scene", "raster"} <= found


@pytest.mark.parametrize("path", [path for path in MODULES if len(path.parts) > 1], ids=str)
def test_imports_point_downwards(path: Path):
    package = ".".join(["splatseg_ns", *path.parts[:-1]])
    names = imported_names((ROOT / path).read_text(encoding="utf-8"), package)
    assert violations(path.parts[0], names) == []


@pytest.mark.parametrize(
    ("subpackage", "source", "wrong"),
    [
        ("scene", "from splatseg_ns.raster import Rasterizer", ["splatseg_ns.raster.Rasterizer"]),
        ("scene", "from splatseg_ns import lift", ["splatseg_ns.lift"]),
        ("scene", "from ..edit import extract", ["splatseg_ns.edit.extract"]),
        ("masks", "def late():\n    import splatseg_ns.raster.cpu", ["splatseg_ns.raster.cpu"]),
        ("lift", "import nerfstudio.cameras", ["nerfstudio.cameras"]),
        ("plugin", "from nerfstudio.models import splatfacto", []),
        ("raster", "from splatseg_ns.scene import Splats\nfrom .inputs import PixelInputs\nimport torch", []),
    ],
)
def test_the_rule_itself(subpackage: str, source: str, wrong: list[str]):
    assert violations(subpackage, imported_names(source, f"splatseg_ns.{subpackage}")) == wrong


def loaded_by(module: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after importing a module."""
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(result.stdout.split())


def test_the_package_alone_loads_nothing_heavy():
    assert loaded_by("splatseg_ns").isdisjoint({"torch", "numpy", "nerfstudio", "gsplat"})


def test_the_core_loads_torch_but_not_nerfstudio():
    """Its top, which imports all the rest."""
    loaded = loaded_by("splatseg_ns.edit.extract")
    assert "torch" in loaded
    assert loaded.isdisjoint({"nerfstudio", "gsplat", "viser"})
