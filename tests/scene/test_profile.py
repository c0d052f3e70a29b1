from __future__ import annotations

from typing import Any

import pytest

from splatseg_ns.scene import DEFAULT_PROFILE, PROFILES, RenderProfile, render_profile


def test_the_table():
    assert set(PROFILES) == {"gsplat-1.4", "gsplat-1.5", "inria"}
    assert DEFAULT_PROFILE is PROFILES["gsplat-1.4"]
    assert all(name == profile.name for name, profile in PROFILES.items())
    assert PROFILES["inria"].alpha_max == 0.99
    assert PROFILES["gsplat-1.5"].extent == "opacity_aware"


def test_lookup_sets_only_antialiased():
    assert render_profile("inria") == PROFILES["inria"]
    smooth = render_profile("gsplat-1.4", antialiased=True)
    assert smooth.antialiased
    assert smooth != PROFILES["gsplat-1.4"]
    with pytest.raises(ValueError, match=r"unknown render profile 'gsplat'; choose one of gsplat-1\.4, gsplat-1\.5"):
        render_profile("gsplat")


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"extent": "round"}, "unknown extent rule 'round'"),
        ({"alpha_min": 0.5, "alpha_max": 0.4}, "alpha_min < alpha_max"),
        ({"near": 2.0, "far": 1.0}, "near < far"),
        ({"transmittance_min": 0.0}, "transmittance_min > 0"),
        ({"eps2d": -0.1}, "eps2d >= 0"),
    ],
)
def test_senseless_constants_are_refused(constants: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        RenderProfile("mine", **constants)
