"""Every engine against the float64 oracle, where the outcome does not hang on rounding."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from splatseg_ns.raster.interface import Rasterizer, Render, ViewVotes
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import PixelRect, RenderProfile, Splats
from tests.raster.scenes import (
    MODES,
    PARAMETERS,
    SCENE_BY_NAME,
    SCENES,
    Scene,
    borderline,
    cloud,
    generator,
    host,
    label_map,
    on,
    radii_of,
    relative_error,
    trained,
    vote_error,
)

ORACLE = OracleRasterizer()
BACKGROUND = torch.tensor([0.9, 0.1, 0.4])
CHANNELS = (1, 2, 3, 4, 5, 17, 40)

RENDER_TOLERANCE = 1e-5
BORDERLINE_TOLERANCE = 1 / 255
VOTE_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-4

each_mode = pytest.mark.parametrize("profile", MODES, ids=lambda profile: profile.name)
each_scene = pytest.mark.parametrize("name", SCENE_BY_NAME)


def skip_where_not_native(engine: Rasterizer, profile: RenderProfile) -> None:
    if engine.device.type == "cuda":
        import gsplat

        native = "opacity_aware" if gsplat.__version__ >= "1.5" else "three_sigma"
        if profile.extent != native:
            pytest.skip(f"gsplat {gsplat.__version__} has the extent rule {native} in its kernels")


@cache
def oracle_render(name: str, profile: RenderProfile) -> Render:
    scene = SCENE_BY_NAME[name].using(profile)
    with torch.no_grad():
        return ORACLE.render(scene.splats, scene.camera, background=BACKGROUND)


@cache
def oracle_votes(name: str, profile: RenderProfile) -> ViewVotes:
    scene = SCENE_BY_NAME[name].using(profile)
    return ORACLE.votes(scene.splats, scene.camera, labels_of(scene), pixel_mask=~borderline(name, profile))


def labels_of(scene: Scene) -> Tensor:
    return label_map(scene.camera, 7)


def features_of(scene: Scene, channels: int) -> Tensor:
    return torch.randn(len(scene.splats), channels, generator=generator(channels))


def test_borderline_pixels_are_rare():
    marked = torch.cat([borderline(scene.name, profile).flatten() for scene in SCENES for profile in MODES])
    assert 0 < float(marked.double().mean()) < 1e-3


@each_mode
@each_scene
def test_render(fast_engine: Rasterizer, name: str, profile: RenderProfile):
    skip_where_not_native(fast_engine, profile)
    scene = SCENE_BY_NAME[name].using(profile)
    expected, doubtful = oracle_render(name, profile), borderline(name, profile)
    with torch.no_grad():
        actual = fast_engine.render(*on(fast_engine, scene), background=BACKGROUND.to(fast_engine.device))
    for part in ("colors", "alpha"):
        error = (host(getattr(actual, part)) - getattr(expected, part)).abs()
        assert float(error[~doubtful].amax()) <= RENDER_TOLERANCE
        assert float(error[doubtful].sum(dim=0).amax() if doubtful.any() else 0.0) <= BORDERLINE_TOLERANCE
    far = float(expected.depth.amax())
    assert float((host(actual.depth) - expected.depth)[~doubtful].abs().amax()) <= RENDER_TOLERANCE * max(1.0, far)


@each_mode
def test_radii_and_projected_means(fast_engine: Rasterizer, profile: RenderProfile):
    skip_where_not_native(fast_engine, profile)
    scene = SCENE_BY_NAME["turned"].using(profile)
    expected = oracle_render("turned", profile).info
    actual = fast_engine.render(*on(fast_engine, scene)).info
    radii, true_radii = radii_of(actual), radii_of(expected)
    drawn = (radii > 0) & (true_radii > 0)
    # Only where there is no rule but alpha itself may engines differ in how early they see that nothing is drawn.
    disputed = (radii > 0) != (true_radii > 0)
    assert not disputed.any() or profile.extent == "ellipse"
    assert not oracle_votes("turned", profile).seen[disputed].any()
    # Rounding may move a radius to the next whole number.
    apart = (radii - true_radii).abs()[drawn]
    assert int(apart.max()) <= 1 and float((apart > 0).double().mean()) <= 0.01
    torch.testing.assert_close(host(actual["means2d"])[0, drawn], expected["means2d"][0, drawn], atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("used", [0, 1, 2, 3])
def test_harmonics(fast_engine: Rasterizer, degree: int, used: int):
    if used > degree:
        pytest.skip(f"splats of degree {degree} have no harmonics of degree {used}")
    scene = Scene("harmonics", cloud(300, 1, degree=degree), SCENE_BY_NAME["open"].camera)
    expected = ORACLE.render(scene.splats, scene.camera, sh_degree=used)
    actual = fast_engine.render(*on(fast_engine, scene), sh_degree=used)
    error = (host(actual.colors) - expected.colors).abs()[~expected.info["borderline"]]
    assert float(error.amax()) <= RENDER_TOLERANCE


@pytest.mark.parametrize("channels", CHANNELS)
def test_features(fast_engine: Rasterizer, channels: int):
    scene = SCENE_BY_NAME["skewed"]
    features, backdrop = features_of(scene, channels), torch.linspace(-1.0, 1.0, channels)
    expected = ORACLE.render(scene.splats, scene.camera, features=features, background=backdrop)
    actual = fast_engine.render(
        *on(fast_engine, scene),
        features=features.to(fast_engine.device),
        background=backdrop.to(fast_engine.device),
    )
    error = (host(actual.colors) - expected.colors).abs()[~expected.info["borderline"]]
    assert actual.colors.shape == (scene.camera.height, scene.camera.width, channels)
    assert float(error.amax()) <= RENDER_TOLERANCE


CROPS = [PixelRect(0, 0, 61, 47), PixelRect(0, 0, 1, 1), PixelRect(17, 13, 30, 21), PixelRect(60, 46, 1, 1)]


@each_mode
@pytest.mark.parametrize("crop", CROPS, ids=str)
def test_crop_is_the_window_of_the_whole_picture(fast_engine: Rasterizer, crop: PixelRect, profile: RenderProfile):
    skip_where_not_native(fast_engine, profile)
    splats, camera = on(fast_engine, SCENE_BY_NAME["skewed"].using(profile))
    whole, part = fast_engine.render(splats, camera), fast_engine.render(splats, camera, crop=crop)
    for name in ("colors", "alpha", "depth"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[crop.slices])


@each_mode
@each_scene
def test_votes(fast_engine: Rasterizer, name: str, profile: RenderProfile):
    skip_where_not_native(fast_engine, profile)
    scene = SCENE_BY_NAME[name].using(profile)
    expected = oracle_votes(name, profile)
    counting = ~borderline(name, profile)
    actual = fast_engine.votes(
        *on(fast_engine, scene),
        labels_of(scene).to(fast_engine.device),
        ids=expected.ids.tolist(),
        pixel_mask=counting.to(fast_engine.device),
    )
    assert vote_error(actual.dense(), expected.dense()) <= VOTE_TOLERANCE
    assert vote_error(actual.seen, expected.seen) <= VOTE_TOLERANCE


@pytest.mark.parametrize("labels", [1, 2, 3, 66, 400])
def test_votes_for_any_number_of_labels(fast_engine: Rasterizer, labels: int):
    scene = SCENE_BY_NAME["open"]
    counting = ~borderline("open", scene.splats.profile)
    everywhere = torch.randint(labels, (scene.camera.height, scene.camera.width), generator=generator(labels))
    weight = torch.rand(scene.camera.height, scene.camera.width, generator=generator(1)) * counting
    expected = ORACLE.votes(scene.splats, scene.camera, everywhere, pixel_weight=weight)
    actual = fast_engine.votes(
        *on(fast_engine, scene), everywhere.to(fast_engine.device), pixel_weight=weight.to(fast_engine.device)
    )
    assert actual.ids.tolist() == expected.ids.tolist()
    assert vote_error(actual.dense(), expected.dense()) <= VOTE_TOLERANCE
    assert vote_error(actual.seen, expected.seen) <= VOTE_TOLERANCE


@pytest.mark.parametrize("channels", CHANNELS)
def test_lift(fast_engine: Rasterizer, channels: int):
    scene = SCENE_BY_NAME["skewed"]
    counting = ~borderline("skewed", scene.splats.profile)
    values = torch.rand(scene.camera.height, scene.camera.width, channels, generator=generator(channels))
    expected = ORACLE.lift(scene.splats, scene.camera, values, pixel_mask=counting)
    device = fast_engine.device
    actual = fast_engine.lift(*on(fast_engine, scene), values.to(device), pixel_mask=counting.to(device))
    assert vote_error(actual, expected) <= VOTE_TOLERANCE


def loss_of(picture: Render, part: str, doubtful: Tensor) -> Tensor:
    """A loss with random gradients of both signs, none of them at a doubtful pixel."""
    output = getattr(picture, part)
    cotangent = torch.randn(output.shape, generator=generator(11), dtype=torch.float64)
    cotangent[doubtful] = 0.0
    return (output * cotangent.to(output)).sum()


def gradients(engine: Rasterizer, scene: Scene, part: str) -> dict[str, Tensor]:
    """Of one loss with respect to everything that a picture can be differentiated by."""
    splats, camera = on(engine, scene)
    splats = trained(splats)
    background = BACKGROUND.clone().to(engine.device).requires_grad_()
    picture = engine.render(splats, camera, background=background, absgrad=True)
    loss_of(picture, part, borderline(scene.name, splats.profile)).backward()
    found = {name: getattr(splats, name).grad for name in PARAMETERS}
    found["means2d"] = picture.info["means2d"].grad
    found["absgrad"] = picture.info["means2d"].absgrad
    found["background"] = background.grad
    return {name: host(gradient) for name, gradient in found.items() if gradient is not None}


@cache
def oracle_gradients(name: str, profile: RenderProfile, part: str) -> dict[str, Tensor]:
    return gradients(ORACLE, SCENE_BY_NAME[name].using(profile), part)


@each_mode
@pytest.mark.parametrize("part", ["colors", "alpha", "depth"])
@pytest.mark.parametrize("name", ["open", "skewed", "opaque"])
def test_gradients(fast_engine: Rasterizer, name: str, part: str, profile: RenderProfile):
    skip_where_not_native(fast_engine, profile)
    expected = oracle_gradients(name, profile, part)
    actual = gradients(fast_engine, SCENE_BY_NAME[name].using(profile), part)
    errors = {
        key: relative_error(actual.get(key, torch.zeros_like(value)), value)
        for key, value in expected.items()
        if float(value.norm()) > 0.0
    }
    assert {"means", "raw_quats", "log_scales", "logit_opacities", "means2d", "absgrad"} <= errors.keys()
    assert part != "colors" or {"sh", "background"} <= errors.keys()
    assert {key: error for key, error in errors.items() if error > GRADIENT_TOLERANCE} == {}


@pytest.mark.parametrize("channels", CHANNELS)
def test_gradients_of_features(fast_engine: Rasterizer, channels: int):
    scene = SCENE_BY_NAME["skewed"]
    doubtful = borderline("skewed", scene.splats.profile)

    def found(engine: Rasterizer) -> list[Tensor]:
        splats, camera = on(engine, scene)
        splats = trained(splats)
        features = features_of(scene, channels).to(engine.device).requires_grad_()
        picture = engine.render(splats, camera, features=features)
        loss_of(picture, "colors", doubtful).backward()
        return [features.grad, splats.means.grad, splats.logit_opacities.grad]

    for actual, expected in zip(found(fast_engine), found(ORACLE), strict=True):
        assert relative_error(actual, expected) <= GRADIENT_TOLERANCE


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients_of_harmonics(fast_engine: Rasterizer, degree: int):
    scene = Scene("open", cloud(300, 1, degree=degree), SCENE_BY_NAME["open"].camera)
    for key in ("sh", "means"):
        assert relative_error(
            gradients(fast_engine, scene, "colors")[key], gradients(ORACLE, scene, "colors")[key]
        ) <= (GRADIENT_TOLERANCE)


def test_gradients_inside_a_crop(fast_engine: Rasterizer):
    scene, crop = SCENE_BY_NAME["skewed"], PixelRect(17, 13, 30, 21)
    doubtful = borderline("skewed", scene.splats.profile)[crop.slices]

    def found(engine: Rasterizer) -> Splats:
        splats, camera = on(engine, scene)
        splats = trained(splats)
        loss_of(engine.render(splats, camera, crop=crop), "colors", doubtful).backward()
        return splats

    actual, expected = found(fast_engine), found(ORACLE)
    for name in PARAMETERS:
        assert relative_error(getattr(actual, name).grad, getattr(expected, name).grad) <= GRADIENT_TOLERANCE


def test_all_losses_at_once_add_up(fast_engine: Rasterizer):
    scene = SCENE_BY_NAME["open"]
    splats, camera = on(fast_engine, scene)
    splats = trained(splats)
    picture = fast_engine.render(splats, camera)
    doubtful = borderline("open", splats.profile)
    sum(loss_of(picture, part, doubtful) for part in ("colors", "alpha", "depth")).backward()
    expected = sum(oracle_gradients("open", splats.profile, part)["means"] for part in ("alpha", "depth"))
    plain = trained(scene.splats)
    loss_of(ORACLE.render(plain, scene.camera), "colors", doubtful).backward()
    assert relative_error(splats.means.grad, expected + host(plain.means.grad)) <= GRADIENT_TOLERANCE


def test_only_what_asks_for_a_gradient_gets_one(fast_engine: Rasterizer):
    splats, camera = on(fast_engine, SCENE_BY_NAME["skewed"])
    splats = replace(splats, logit_opacities=splats.logit_opacities.clone().requires_grad_())
    fast_engine.render(splats, camera).colors.sum().backward()
    assert splats.logit_opacities.grad is not None
    assert all(getattr(splats, name).grad is None for name in PARAMETERS if name != "logit_opacities")
