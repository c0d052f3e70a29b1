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
CAPTURE = "splatseg_ns/demo/capture/"
LEAST_NOTICED = 100_000
"""Bytes: what is larger and neither the capture nor the engine has no place in a package."""


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


def comes_along(package: str, extras: list[str]) -> set[str]:
    """Everything that is installed with a package, on this machine."""
    found: set[tuple[str, str]] = set()
    waiting = [(package, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in found}


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_bounds(requirement: Requirement):
    pinned = constraints()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned), f"constraints.txt pins {requirement.name} to {pinned}"


def test_everything_that_comes_along_is_pinned():
    package = canonicalize_name(PROJECT["name"])
    assert comes_along(package, ["test"]) - {package} <= constraints().keys()


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
    entries = zipfile.ZipFile(wheel).infolist()
    names = [entry.filename for entry in entries]
    in_capture = sum(entry.compress_size for entry in entries if entry.filename.startswith(CAPTURE))
    assert wheel.stat().st_size - in_capture < MEGABYTE
    assert sum(entry.file_size for entry in entries if entry.filename.startswith(CAPTURE)) <= 16 * MEGABYTE
    others = [entry for entry in entries if not entry.filename.startswith(CAPTURE)]
    assert [entry.filename.rpartition(".")[2] for entry in others if entry.file_size > LEAST_NOTICED] == ["so"]
    assert {f"{CAPTURE}{name}" for name in ("README.md", "splats.ply", "transforms.json", "labels.json")} <= set(names)
    assert any(re.fullmatch(r"splatseg_ns/raster/_native\..*\.so", name) for name in names)
    assert not [name for name in names if name.endswith((".cpp", ".h"))]
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "splatseg_ns").rglob("*.py")}
    assert sources <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"splatseg_ns"}


def test_the_sdist_has_what_builds_and_no_more(built: Path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        sizes = {entry.name.partition("/")[2]: entry.size for entry in archive.getmembers()}
    names = set(sizes)
    assert {"CMakeLists.txt", "pyproject.toml", "LICENSE", "splatseg_ns/raster/native/tiles.cpp"} <= names
    assert not [name for name in names if name.startswith((".venv", "build", "outputs", ".ci")) or name.endswith(".so")]
    assert sum(size for name, size in sizes.items() if name.startswith(CAPTURE)) <= 16 * MEGABYTE
    assert not [name for name, size in sizes.items() if size > LEAST_NOTICED and not name.startswith(CAPTURE)]
    # The capture is compressed as it is; all the rest is text.
    assert sdist.stat().st_size <= 16 * MEGABYTE + MEGABYTE / 2


DRAW_FROM_WHEEL = """
import sys
from pathlib import Path

wheel, done = sys.argv[1:]
sys.meta_path = [finder for finder in sys.meta_path if "ScikitBuildRedirectingFinder" not in repr(finder)]
sys.path.insert(0, wheel)

from splatseg_ns.demo import bundle
from splatseg_ns.raster import rasterizer_for

assert bundle.__file__.startswith(wheel), bundle.__file__
view, splats = bundle.bundled_capture().views[0], bundle.bundled_splats()
picture = rasterizer_for("cpu").render(splats, view.camera).colors
assert (picture - view.image() / 255).abs().mean() < 0.05
Path(done).touch()
"""


def test_the_wheel_draws_without_the_checkout(built: Path, tmp_path: Path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    done = tmp_path / "done"
    command = [sys.executable, "-c", DRAW_FROM_WHEEL, str(tmp_path), str(done)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert done.exists()
