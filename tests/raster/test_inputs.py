"""Bad and odd input: a clear error or the right answer, never a crash and never a silent wrong answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from splatseg_ns.raster.interface import Rasterizer
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import Camera, PixelRect, Splats
from tests.raster.scenes import (
    PARAMETERS,
    SCENE_BY_NAME,
    camera,
    cloud,
    gaussians,
    generator,
    host,
    label_map,
    on,
    radii_of,
    trained,
    vote_error,
)

ORACLE = OracleRasterizer()
VIEW = camera(33, 17)
LABELS = label_map(VIEW, 4)


def place(engine: Rasterizer, splats: Splats, view: Camera = VIEW) -> tuple[Splats, Camera]:
    return splats.to(engine.device), view.to(engine.device)


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(host(actual), host(expected), atol=tolerance, rtol=tolerance)


def agrees_with_oracle(engine: Rasterizer, splats: Splats, view: Camera = VIEW) -> None:
    expected = ORACLE.render(splats, view)
    actual = engine.render(*place(engine, splats, view))
    clear = ~expected.info["borderline"]
    same(actual.colors.cpu()[clear], expected.colors[clear])
    same(actual.alpha.cpu()[clear], expected.alpha[clear])
    labels = label_map(view, 3)
    votes = ORACLE.votes(splats, view, labels, pixel_mask=clear)
    found = engine.votes(*place(engine, splats, view), labels.to(engine.device), pixel_mask=clear.to(engine.device))
    assert vote_error(found.dense(), votes.dense()) <= 1e-4


def test_no_gaussians(one_engine: Rasterizer):
    splats, view = place(one_engine, trained(cloud(3, 0).subset(torch.zeros(0, dtype=torch.long))))
    backdrop = torch.tensor([0.1, 0.2, 0.3], device=one_engine.device)
    picture = one_engine.render(splats, view, background=backdrop, absgrad=True)
    same(picture.colors, backdrop.expand(17, 33, 3))
    assert not picture.alpha.any() and not picture.depth.any()
    assert picture.info["means2d"].shape == (1, 0, 2) and picture.info["radii"].shape[:2] == (1, 0)
    picture.colors.sum().backward()
    votes = one_engine.votes(splats, view, LABELS.to(one_engine.device))
    assert votes.dense().shape == (0, 4) and votes.offsets.tolist() == [0] and votes.seen.shape == (0,)
    assert one_engine.lift(splats, view, torch.ones(17, 33, 6, device=one_engine.device)).shape == (0, 6)


def test_one_gaussian(one_engine: Rasterizer):
    agrees_with_oracle(one_engine, cloud(1, 1, size=0.3))


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 15), (15, 17), (33, 1), (1, 33)], ids=str)
def test_pictures_of_any_size(one_engine: Rasterizer, size: tuple[int, int]):
    agrees_with_oracle(one_engine, cloud(60, 2, size=0.2), camera(*size, focal=(20.0, 20.0)))


def test_everything_behind_the_camera(one_engine: Rasterizer):
    splats, view = place(one_engine, trained(cloud(30, 3)))
    view = replace(view, viewmat=view.viewmat * torch.tensor([[1.0], [1.0], [-1.0], [1.0]], device=view.viewmat.device))
    picture = one_engine.render(splats, view)
    assert not picture.colors.any() and not picture.alpha.any() and not picture.depth.any()
    assert int(picture.info["radii"].sum()) == 0
    picture.colors.sum().backward()
    assert all(getattr(splats, name).grad is None or not getattr(splats, name).grad.any() for name in PARAMETERS)
    votes = one_engine.votes(splats, view, LABELS.to(one_engine.device))
    assert len(votes.mass) == 0 and float(votes.seen.sum()) == 0.0


@pytest.mark.parametrize("depth", [0.02, 0.1, 0.5])
def test_camera_inside_a_gaussian(one_engine: Rasterizer, depth: float):
    splats = gaussians([[0.01, 0.0, depth], [0.1, 0.1, 3.0]], 0.6, [0.7, 0.6], [[0.9, 0.3, 0.1], [0.2, 0.8, 0.4]])
    agrees_with_oracle(one_engine, splats)


BAD_ROWS = {
    "nan mean": ("means", 1, torch.nan),
    "infinite mean": ("means", 0, torch.inf),
    "nan rotation": ("raw_quats", 2, torch.nan),
    "nan size": ("log_scales", 0, torch.nan),
    "infinite size": ("log_scales", 1, torch.inf),
    "overflowing size": ("log_scales", 1, 100.0),
    "vanished size": ("log_scales", 2, -torch.inf),
    "nan opacity": ("logit_opacities", (), torch.nan),
    "infinite opacity": ("logit_opacities", (), -torch.inf),
    "nan colour": ("sh", (0, 1), torch.nan),
    "infinite colour": ("sh", (5, 2), torch.inf),
    "no rotation": ("raw_quats", slice(None), 0.0),
}


def spoiled(splats: Splats, kind: str, rows: list[int]) -> Splats:
    name, place_in_row, value = BAD_ROWS[kind]
    tensor = getattr(splats, name).clone()
    for row in rows:
        tensor[row][place_in_row] = value
    return replace(splats, **{name: tensor})


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_gaussians_that_cannot_be_drawn_are_skipped(one_engine: Rasterizer, kind: str):
    rows = [3, 17, 18]
    good = torch.ones(40, dtype=torch.bool)
    good[rows] = False
    splats, view = place(one_engine, trained(spoiled(cloud(40, 4, size=0.2), kind, rows)))
    rest, _ = place(one_engine, trained(splats.subset(good.to(splats.device))))
    cotangent = torch.randn(17, 33, 3, generator=generator(1)).to(splats.device)

    with pytest.warns(RuntimeWarning, match=r"\b3 of 40 Gaussians"):
        picture = one_engine.render(splats, view)
    expected = one_engine.render(rest, view)
    same(picture.colors, expected.colors)
    same(picture.depth, expected.depth)
    assert radii_of(picture.info)[~good].tolist() == [0, 0, 0]
    (picture.colors * cotangent).sum().backward()
    (expected.colors * cotangent).sum().backward()
    for name in PARAMETERS:
        gradient = getattr(splats, name).grad.cpu()
        scale = float(getattr(rest, name).grad.abs().max())
        same(gradient[good] / scale, getattr(rest, name).grad.cpu() / scale)
        assert not gradient[~good].any()

    labels = LABELS.to(one_engine.device)
    with pytest.warns(RuntimeWarning, match=r"\b3 of 40 Gaussians"):
        votes = one_engine.votes(splats, view, labels)
    same(votes.dense()[good], one_engine.votes(rest, view, labels).dense())
    assert votes.offsets.diff().cpu()[~good].tolist() == [0, 0, 0]
    assert votes.seen.cpu()[~good].tolist() == [0.0, 0.0, 0.0]
    ones = torch.ones(17, 33, 2, device=one_engine.device)
    with pytest.warns(RuntimeWarning, match=r"\b3 of 40 Gaussians"):
        lifted = one_engine.lift(splats, view, ones)
    same(lifted[good], one_engine.lift(rest, view, ones))
    assert not lifted.cpu()[~good].any()


def test_one_call_warns_once(one_engine: Rasterizer):
    splats = cloud(40, 4)
    for row, kind in enumerate(BAD_ROWS):
        splats = spoiled(splats, kind, [row])
    splats, view = place(one_engine, splats)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one_engine.render(splats, view)
    messages = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
    assert len(messages) == 1 and messages[0].startswith(f"{len(BAD_ROWS)} of 40 ")


def test_good_gaussians_do_not_warn(one_engine: Rasterizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        one_engine.render(*place(one_engine, cloud(5, 0)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("means", 1e30),
        ("means", -1e30),
        ("raw_quats", 1e-12),
        ("raw_quats", 1e15),
        ("log_scales", 20.0),
        ("log_scales", 40.0),
        ("log_scales", -60.0),
        ("logit_opacities", 1e4),
        ("logit_opacities", -1e4),
    ],
)
def test_absurd_but_finite_numbers_stay_finite(one_engine: Rasterizer, name: str, value: float):
    splats = cloud(20, 5, size=0.2)
    tensor = getattr(splats, name).clone()
    tensor[4:8] = value
    splats, view = place(one_engine, trained(replace(splats, **{name: tensor})))
    picture = one_engine.render(splats, view)
    picture.colors.sum().backward()
    assert bool(picture.colors.isfinite().all() and picture.depth.isfinite().all())
    assert bool(((picture.alpha >= 0.0) & (picture.alpha <= 1.0)).all())
    assert all(bool(getattr(splats, name).grad.isfinite().all()) for name in PARAMETERS)
    votes = one_engine.votes(splats, view, LABELS.to(one_engine.device))
    assert bool(votes.mass.isfinite().all())


def test_coincident_gaussians(one_engine: Rasterizer):
    splats = cloud(1, 6, size=0.5).subset(torch.zeros(300, dtype=torch.long))
    view = camera(9, 9)
    expected, actual = ORACLE.render(splats, view), one_engine.render(*place(one_engine, splats, view))
    assert float((host(actual.alpha) - expected.alpha).abs().max()) <= 1e-3


def test_float64_in_gives_the_float32_answer(one_engine: Rasterizer):
    splats = cloud(50, 7, size=0.2)
    view = replace(VIEW, viewmat=VIEW.viewmat.double(), K=VIEW.K.double())
    single, double = trained(splats), trained(splats.to(torch.float64))
    plain = one_engine.render(*place(one_engine, single))
    wide = one_engine.render(*place(one_engine, double, view))
    same(wide.colors, plain.colors)
    plain.colors.sum().backward()
    wide.colors.sum().backward()
    for name in PARAMETERS:
        gradient = getattr(double, name).grad
        assert gradient.dtype == torch.float64
        scale = float(getattr(single, name).grad.abs().max())
        same(gradient / scale, getattr(single, name).grad / scale)
    labels = LABELS.to(one_engine.device)
    weight = torch.rand(17, 33, dtype=torch.float64, generator=generator(2)).to(one_engine.device)
    same(
        one_engine.votes(*place(one_engine, double, view), labels, pixel_weight=weight).dense(),
        one_engine.votes(*place(one_engine, single), labels, pixel_weight=weight.float()).dense(),
    )
    values = torch.rand(17, 33, 3, dtype=torch.float64, generator=generator(3)).to(one_engine.device)
    same(
        one_engine.lift(*place(one_engine, double, view), values),
        one_engine.lift(*place(one_engine, single), values.float()),
    )


def strided(tensor: Tensor) -> Tensor:
    """The same numbers, every second one of a larger tensor and in another order of dimensions."""
    swapped = tensor.transpose(0, -1).contiguous().transpose(0, -1)
    return torch.stack([swapped, torch.full_like(swapped, 77)], dim=-1)[..., 0]


def test_tensors_that_are_not_contiguous(one_engine: Rasterizer):
    splats, view = place(one_engine, cloud(50, 8, size=0.2))
    loose = replace(splats, **{name: strided(tensor) for name, tensor in splats.tensors().items()})
    turned = replace(view, viewmat=strided(view.viewmat), K=strided(view.K))
    assert not loose.means.is_contiguous() and not turned.viewmat.is_contiguous()
    same(one_engine.render(loose, turned).colors, one_engine.render(splats, view).colors)
    features = torch.rand(50, 4, generator=generator(4)).to(one_engine.device)
    same(
        one_engine.render(loose, turned, features=strided(features)).colors,
        one_engine.render(splats, view, features=features).colors,
    )
    labels, weight = LABELS.to(one_engine.device), torch.rand(17, 33, generator=generator(5)).to(one_engine.device)
    mask = weight > 0.3
    loosely = one_engine.votes(
        loose, turned, strided(labels), pixel_weight=strided(weight), pixel_mask=strided(mask.int()) == 1
    )
    same(loosely.dense(), one_engine.votes(splats, view, labels, pixel_weight=weight, pixel_mask=mask).dense())
    values = torch.rand(17, 33, 3, generator=generator(6)).to(one_engine.device)
    same(one_engine.lift(loose, turned, strided(values)), one_engine.lift(splats, view, values))


def test_gradients_into_tensors_that_are_not_contiguous(one_engine: Rasterizer):
    splats, view = place(one_engine, cloud(20, 9, size=0.2))
    base = trained(splats)
    loose = replace(base, **{name: strided(getattr(base, name)) for name in PARAMETERS})
    one_engine.render(loose, view).colors[3:9, ::2].sum().backward()
    plain = trained(splats)
    one_engine.render(plain, view).colors[3:9, ::2].sum().backward()
    for name in PARAMETERS:
        scale = float(getattr(plain, name).grad.abs().max())
        same(getattr(base, name).grad / scale, getattr(plain, name).grad / scale)


def test_sums_need_no_gradients(one_engine: Rasterizer):
    splats, view = place(one_engine, trained(cloud(20, 9)))
    votes = one_engine.votes(splats, view, LABELS.to(one_engine.device))
    values = torch.ones(17, 33, 2, device=one_engine.device, requires_grad=True)
    lifted = one_engine.lift(splats, view, values)
    assert not (votes.mass.requires_grad or votes.seen.requires_grad or lifted.requires_grad)
    with torch.no_grad():
        assert not one_engine.render(splats, view).colors.requires_grad


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64])
def test_label_maps_of_every_integer_type(one_engine: Rasterizer, dtype: torch.dtype):
    splats, view = place(one_engine, cloud(30, 10, size=0.2))
    labels = LABELS.to(one_engine.device)
    votes = one_engine.votes(splats, view, labels.to(dtype))
    assert votes.ids.tolist() == [0, 1, 2, 3]
    same(votes.dense(), one_engine.votes(splats, view, labels).dense())


def test_bool_label_map(one_engine: Rasterizer):
    splats, view = place(one_engine, cloud(30, 10, size=0.2))
    mask = LABELS.to(one_engine.device) == 2
    votes = one_engine.votes(splats, view, mask)
    assert votes.ids.tolist() == [0, 1]
    same(votes.dense(), one_engine.votes(splats, view, mask.long()).dense())


@pytest.mark.parametrize("factor", [70_000, 1 << 40])
def test_large_label_numbers(one_engine: Rasterizer, factor: int):
    splats, view = place(one_engine, cloud(30, 11, size=0.2))
    labels = LABELS.to(one_engine.device)
    plain = one_engine.votes(splats, view, labels)
    large = one_engine.votes(splats, view, labels * factor)
    assert large.ids.tolist() == [0, factor, 2 * factor, 3 * factor]
    same(large.dense(), plain.dense())
    chosen = one_engine.votes(splats, view, labels * factor, ids=[3 * factor, 5, factor])
    same(chosen.dense()[:, [0, 2]], plain.dense()[:, [3, 1]])
    assert not chosen.dense()[:, 1].any()


def test_ids_that_are_not_in_the_map(one_engine: Rasterizer):
    splats, view = place(one_engine, cloud(30, 12, size=0.2))
    labels = LABELS.to(one_engine.device)
    votes = one_engine.votes(splats, view, labels, ids=[9, 2, 65_000])
    plain = one_engine.votes(splats, view, labels)
    same(votes.dense()[:, 1], plain.dense()[:, 2])
    assert not votes.dense()[:, [0, 2]].any()
    same(votes.seen, plain.seen)
    none = one_engine.votes(splats, view, labels, ids=torch.zeros(0, dtype=torch.long))
    assert none.dense().shape == (30, 0)
    same(none.seen, plain.seen)


def test_as_many_labels_as_one_call_takes(one_engine: Rasterizer):
    splats, view = place(one_engine, cloud(30, 13, size=0.2))
    labels = torch.arange(17 * 33, device=one_engine.device).reshape(17, 33) * 100
    votes = one_engine.votes(splats, view, labels, ids=range(65_535))
    assert votes.dense().shape == (30, 65_535)
    same(votes.dense().sum(dim=1), votes.seen)


def test_too_many_labels_in_the_map(one_engine: Rasterizer):
    splats, view = place(one_engine, cloud(1, 0), camera(260, 260))
    labels = torch.arange(260 * 260, device=one_engine.device).reshape(260, 260)
    with pytest.raises(ValueError, match="at most 65535 labels"):
        one_engine.votes(splats, view, labels)


def image(*shape: int, value: float = 1.0) -> Tensor:
    return torch.full(shape, value)


VOTES_ERRORS: dict[str, tuple[dict, type[Exception], str]] = {
    "label map of another size": ({"label_map": LABELS[:, :-1]}, ValueError, r"\[17, 33\].*\[17, 32\]"),
    "label map with channels": ({"label_map": LABELS[..., None]}, ValueError, r"\[17, 33, 1\]"),
    "label map on its side": ({"label_map": LABELS.T}, ValueError, r"\[33, 17\]"),
    "float label map": ({"label_map": LABELS.float()}, TypeError, "integers.*float32"),
    "negative label": ({"label_map": LABELS - 1}, ValueError, "-1"),
    "negative id": ({"ids": [1, -1]}, ValueError, "-1"),
    "repeated id": ({"ids": [3, 1, 3]}, ValueError, "repeat"),
    "too many ids": ({"ids": range(65_536)}, ValueError, "65535"),
    "float ids": ({"ids": [1.0, 2.0]}, TypeError, "integers"),
    "ids as a mask": ({"ids": torch.ones(3, dtype=torch.bool)}, TypeError, "integers"),
    "ids as a matrix": ({"ids": [[1, 2], [3, 4]]}, TypeError, "integers"),
    "mask of another size": ({"pixel_mask": torch.ones(17, 34, dtype=torch.bool)}, ValueError, "pixel_mask"),
    "float mask": ({"pixel_mask": image(17, 33)}, TypeError, "pixel_mask"),
    "weight of another size": ({"pixel_weight": image(16, 33)}, ValueError, "pixel_weight"),
    "integer weight": ({"pixel_weight": LABELS}, TypeError, "pixel_weight"),
    "negative weight": ({"pixel_weight": image(17, 33, value=-0.1)}, ValueError, "pixel_weight"),
    "nan weight": ({"pixel_weight": image(17, 33, value=torch.nan)}, ValueError, "pixel_weight"),
    "infinite weight": ({"pixel_weight": image(17, 33, value=torch.inf)}, ValueError, "pixel_weight"),
}


@pytest.mark.parametrize("kind", VOTES_ERRORS)
def test_votes_refuses(one_engine: Rasterizer, kind: str):
    arguments, error, message = VOTES_ERRORS[kind]
    with pytest.raises(error, match=message):
        one_engine.votes(*place(one_engine, cloud(5, 0)), **{"label_map": LABELS, **arguments})


CROPS = [PixelRect(-1, 0, 5, 5), PixelRect(0, -1, 5, 5), PixelRect(30, 0, 4, 5), PixelRect(0, 13, 5, 5)]
CROPS += [PixelRect(0, 0, 0, 5), PixelRect(0, 0, 5, 0), PixelRect(40, 40, 2, 2), PixelRect(5, 5, -2, 3)]


@pytest.mark.parametrize("crop", CROPS, ids=str)
def test_crops_outside_the_picture_are_refused(one_engine: Rasterizer, crop: PixelRect):
    splats, view = place(one_engine, cloud(5, 0))
    calls: list[Callable[[], object]] = [
        lambda: one_engine.render(splats, view, crop=crop),
        lambda: one_engine.votes(splats, view, LABELS.to(one_engine.device), crop=crop),
        lambda: one_engine.lift(splats, view, torch.ones(17, 33, 1, device=one_engine.device), crop=crop),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not inside the 33x17 picture"):
            call()


RENDER_ERRORS: dict[str, tuple[dict, type[Exception], str]] = {
    "features of other rows": ({"features": image(4, 3)}, ValueError, r"\[5, C\]"),
    "features without channels": ({"features": image(5, 0)}, ValueError, r"\[5, 0\]"),
    "flat features": ({"features": image(5)}, ValueError, r"\[5\]"),
    "integer features": ({"features": torch.ones(5, 2, dtype=torch.long)}, TypeError, "int64"),
    "features and harmonics": ({"features": image(5, 2), "sh_degree": 1}, ValueError, "sh_degree"),
    "harmonics beyond the stored": ({"sh_degree": 4}, ValueError, "0 to 3"),
    "negative harmonics": ({"sh_degree": -1}, ValueError, "0 to 3"),
    "background of other channels": ({"background": image(4)}, ValueError, r"\[3\]"),
    "background for features": ({"features": image(5, 2), "background": image(3)}, ValueError, r"\[2\]"),
}


@pytest.mark.parametrize("kind", RENDER_ERRORS)
def test_render_refuses(one_engine: Rasterizer, kind: str):
    arguments, error, message = RENDER_ERRORS[kind]
    with pytest.raises(error, match=message):
        one_engine.render(*place(one_engine, cloud(5, 0)), **arguments)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (image(17, 33), ValueError),
        (image(33, 17, 2), ValueError),
        (image(17, 33, 0), ValueError),
        (torch.ones(17, 33, 2, dtype=torch.long), TypeError),
    ],
    ids=["no channels", "on its side", "zero channels", "integers"],
)
def test_lift_refuses(one_engine: Rasterizer, values: Tensor, error: type[Exception]):
    with pytest.raises(error, match="values"):
        one_engine.lift(*place(one_engine, cloud(5, 0)), values)


def test_a_crop_may_be_a_plain_tuple(one_engine: Rasterizer):
    splats, view = on(one_engine, SCENE_BY_NAME["skewed"])
    same(
        one_engine.render(splats, view, crop=(3, 4, 20, 10)).colors,
        one_engine.render(splats, view, crop=PixelRect(3, 4, 20, 10)).colors,
    )
