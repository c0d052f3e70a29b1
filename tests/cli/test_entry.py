"""The entry: commands by name, and errors in one line."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from splatseg_ns.cli import main
from splatseg_ns.cli.entry import COMMANDS
from tests.cli.examples import SceneOnDisk
from tests.cli.test_label import failure


def test_the_overview_names_every_command_and_loads_nothing_heavy():
    program = "import sys; from splatseg_ns.cli import main; main(['--help']); print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert all(name in result.stdout for name in COMMANDS)
    assert "'torch'" not in result.stdout and "'tyro'" not in result.stdout


def test_unknown_commands_get_a_hint(capsys: pytest.CaptureFixture[str]):
    assert main(["lable"]) == 2
    assert capsys.readouterr().err == "splatseg: unknown command 'lable'; did you mean 'label'?\n"
    assert main([]) == 2


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if find_spec(entry.module) is not None])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"splatseg {name}" in capsys.readouterr().out


def test_a_ply_needs_no_nerfstudio(labelled: SceneOnDisk, tmp_path: Path):
    """It takes seconds to be loaded."""
    label = ["label", *labelled.arguments, "--masks", str(labelled.masks)]
    extract = ["extract", *labelled.arguments, "--objects", "red ball", "--out", str(tmp_path / "a.ply")]
    program = f"""
import sys
from splatseg_ns.cli import main
assert main({label}) == 0
assert main({extract}) == 0
assert not {{"nerfstudio", "viser", "torchvision"}} & sys.modules.keys()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr


def test_splats_are_named_once(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    assert "give --load-config" in failure(capsys, "objects")
    assert "give one of them" in failure(capsys, "objects", *scene.arguments, "--load-config", "config.yml")
