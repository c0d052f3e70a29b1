"""The package as users get it: pins that hold together, and a wheel that is small and whole."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MEGABYTE = 1_000_000


def constraints() -> dict[str, str]:
    pinned = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pinned}


def requirements() -> list[Requirement]:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [
        requirement
        for requirement in map(Requirement, [*PROJECT["dependencies"], *extras])
        if canonicalize_name(requirement.name) != canonicalize_name(PROJECT["name"])
    ]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_bounds(requirement: Requirement):
    pinned = constraints()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned), f"constraints.txt pins {requirement.name} to {pinned}"


def test_the_tests_run_on_the_pinned_versions():
    installed = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy", "gsplat", "nerfstudio")}
    pins = constraints()
    assert installed == {name: pins[name] for name in installed}


def test_the_readme_names_every_make_target_of_the_set_up():
    readme = (ROOT / "README.md").read_text()
    assert all(f"make {target}" in readme for target in ("install", "demo", "test"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it, as ``python -m build`` makes them."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return out


def test_the_wheel_is_small_and_has_what_runs(built: Path):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.stat().st_size < MEGABYTE
    assert any(re.fullmatch(r"splatseg_ns/raster/_native\..*\.so", name) for name in names)
    assert not [name for name in names if name.endswith((".cpp", ".h"))]
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "splatseg_ns").rglob("*.py")}
    assert sources <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"splatseg_ns"}


def test_the_sdist_has_what_builds_and_no_more(built: Path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "pyproject.toml", "LICENSE", "splatseg_ns/raster/native/tiles.cpp"} <= names
    assert not [name for name in names if name.startswith((".venv", "build", "outputs", ".ci")) or name.endswith(".so")]
    assert sdist.stat().st_size < MEGABYTE


DRAW_FROM_WHEEL = """
import sys
from pathlib import Path

wheel, sheet = sys.argv[1:]
sys.meta_path = [finder for finder in sys.meta_path if "ScikitBuildRedirectingFinder" not in repr(finder)]
sys.path.insert(0, wheel)

from splatseg_ns.demo import __main__ as demo

assert demo.__file__.startswith(wheel), demo.__file__
demo.main(Path(sheet))
"""


def test_the_wheel_draws_without_the_checkout(built: Path, tmp_path: Path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    sheet = tmp_path / "sheet"
    command = [sys.executable, "-c", DRAW_FROM_WHEEL, str(tmp_path), str(sheet)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (sheet / "demo.png").exists()
