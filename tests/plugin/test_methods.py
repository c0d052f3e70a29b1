"""How Nerfstudio finds the methods, and what it finds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest
import torch

METHODS = ("splatseg", "splatseg-big", "splatseg-lite")

FIND = f"from nerfstudio.configs.method_configs import all_methods; assert set({METHODS}) <= set(all_methods)"


@pytest.mark.slow
def test_the_methods_are_found_if_ours_are_imported_first():
    """Before Nerfstudio's, which import ours; its own commands do it the other way round."""
    program = f"import splatseg_ns.plugin.methods\n{FIND}"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr


def test_methods_train_where_this_machine_can():
    from nerfstudio.configs.method_configs import all_methods

    for name in METHODS:
        assert all_methods[name].method_name == name
        assert all_methods[name].machine.device_type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("suffix", ["", "-big"])
def test_splatseg_has_the_settings_of_splatfacto(suffix: str):
    from nerfstudio.configs.method_configs import all_methods

    theirs, ours = all_methods[f"splatfacto{suffix}"], all_methods[f"splatseg{suffix}"]
    for part in (theirs.pipeline.model, theirs.pipeline.datamanager):
        mirror = ours.pipeline.model if part is theirs.pipeline.model else ours.pipeline.datamanager
        for field in fields(part):
            if field.name != "_target":
                assert getattr(mirror, field.name) == getattr(part, field.name), field.name
    assert ours.optimizers == theirs.optimizers
    for name in ("steps_per_save", "steps_per_eval_all_images", "max_num_iterations", "mixed_precision", "vis"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_optimizers_are_there_for_everything_that_can_be_trained():
    from nerfstudio.configs.method_configs import all_methods

    lite, full = all_methods["splatseg-lite"], all_methods["splatfacto"]
    assert lite.optimizers.keys() == full.optimizers.keys()
