"""What must hold for every scene, whatever the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from splatseg_ns.raster.interface import Rasterizer, ViewVotes
from splatseg_ns.scene import Camera, PixelRect, Splats
from tests.raster.engines import THREADS, cpu_engine
from tests.raster.scenes import PARAMETERS, SCENE_BY_NAME, generator, host, label_map, on, trained

NAMES = ["skewed", "opaque", "pixel"]


@pytest.fixture(params=NAMES)
def placed(request: pytest.FixtureRequest, engine: Rasterizer) -> tuple[Splats, Camera]:
    """A scene where the engine wants it."""
    return on(engine, SCENE_BY_NAME[request.param])


def labels_for(camera: Camera, labels: int = 5, seed: int = 0) -> Tensor:
    return label_map(camera, labels, seed).to(camera.K.device)


def random_for(camera: Camera, seed: int) -> Tensor:  # [H, W]
    return torch.rand(camera.height, camera.width, generator=generator(seed)).to(camera.K.device)


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(host(actual), host(expected), atol=1e-5, rtol=1e-5)


def identical(left: ViewVotes, right: ViewVotes) -> bool:
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in vars(left))


def test_labels_share_out_what_is_seen(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    votes = engine.votes(splats, camera, labels_for(camera), pixel_weight=random_for(camera, 1))
    same(votes.dense().sum(dim=1), votes.seen)
    assert float(votes.seen.sum()) > 0.0


def test_seen_is_the_alpha_of_the_picture(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    seen = host(engine.votes(splats, camera, labels_for(camera)).seen).sum()
    same(seen, host(engine.render(splats, camera).alpha).sum())


def test_votes_are_sparse_rows_in_order(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    votes = engine.votes(splats, camera, labels_for(camera))
    assert votes.offsets.shape == (len(splats) + 1,) and votes.seen.shape == (len(splats),)
    assert int(votes.offsets[0]) == 0 and int(votes.offsets[-1]) == len(votes.mass) == len(votes.columns)
    assert bool((votes.offsets.diff() >= 0).all()) and bool((votes.mass > 0).all())
    keys = votes.rows * len(votes.ids) + votes.columns
    assert bool((keys.diff() > 0).all())
    assert {votes.ids.dtype, votes.offsets.dtype, votes.columns.dtype} == {torch.int64}


def test_permuting_labels_permutes_columns(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    labels = labels_for(camera)
    new_name = torch.tensor([30, 0, 999, 7, 12], device=labels.device)
    plain = engine.votes(splats, camera, labels, ids=[0, 1, 2, 3, 4])
    renamed = engine.votes(splats, camera, new_name[labels], ids=new_name)
    assert renamed.ids.tolist() == new_name.tolist()
    same(renamed.dense(), plain.dense())
    reordered = engine.votes(splats, camera, labels, ids=[3, 1, 4, 0, 2])
    same(reordered.dense(), plain.dense()[:, [3, 1, 4, 0, 2]])


def test_a_mask_and_its_complement_share_out_what_is_seen(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    mask = labels_for(camera) == 1
    inside = engine.votes(splats, camera, mask.int(), ids=[1])
    outside = engine.votes(splats, camera, (~mask).int(), ids=[1])
    same(inside.dense() + outside.dense(), inside.seen[:, None])
    both = engine.votes(splats, camera, mask.int(), ids=[0, 1])
    same(both.dense(), torch.cat([outside.dense(), inside.dense()], dim=1))


def test_pixels_shared_out_add_up(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    labels, part = labels_for(camera), random_for(camera, 2) < 0.3
    whole = engine.votes(splats, camera, labels, ids=range(5))
    first = engine.votes(splats, camera, labels, ids=range(5), pixel_mask=part)
    second = engine.votes(splats, camera, labels, ids=range(5), pixel_mask=~part)
    same(first.dense() + second.dense(), whole.dense())
    same(first.seen + second.seen, whole.seen)


def test_windows_side_by_side_add_up(engine: Rasterizer):
    splats, camera = on(engine, SCENE_BY_NAME["skewed"])
    labels = labels_for(camera)
    windows = [PixelRect(0, 0, 61, 20), PixelRect(0, 20, 25, 27), PixelRect(25, 20, 36, 27)]
    parts = [engine.votes(splats, camera, labels, ids=range(5), crop=window) for window in windows]
    same(sum(part.dense() for part in parts), engine.votes(splats, camera, labels, ids=range(5)).dense())


def test_weights_scale_and_add(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    labels, first, second = labels_for(camera), random_for(camera, 3), random_for(camera, 4)
    votes = [
        engine.votes(splats, camera, labels, ids=range(5), pixel_weight=weight).dense()
        for weight in (first, second, first + 2 * second)
    ]
    same(votes[0] + 2 * votes[1], votes[2])


def test_pixels_of_no_weight_are_masked_pixels_are_pixels_without_a_label(
    engine: Rasterizer, placed: tuple[Splats, Camera]
):
    splats, camera = placed
    labels, counting = labels_for(camera) + 1, random_for(camera, 5) < 0.6
    options = {"ids": [1, 2, 3, 4, 5]}
    masked = engine.votes(splats, camera, labels, pixel_mask=counting, **options)
    weightless = engine.votes(splats, camera, labels, pixel_weight=counting.float(), **options)
    unnamed = engine.votes(splats, camera, labels * counting, **options)
    same(weightless.dense(), masked.dense())
    same(weightless.seen, masked.seen)
    same(unnamed.dense(), masked.dense())
    same(unnamed.seen, engine.votes(splats, camera, labels).seen)


def test_a_crop_is_a_mask(engine: Rasterizer):
    splats, camera = on(engine, SCENE_BY_NAME["skewed"])
    labels, crop = labels_for(camera), PixelRect(17, 13, 30, 21)
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[crop.slices] = True
    cropped = engine.votes(splats, camera, labels, ids=range(5), crop=crop)
    masked = engine.votes(splats, camera, labels, ids=range(5), pixel_mask=mask)
    same(cropped.dense(), masked.dense())
    same(cropped.seen, masked.seen)
    values = random_for(camera, 6)[..., None]
    same(engine.lift(splats, camera, values, crop=crop), engine.lift(splats, camera, values, pixel_mask=mask))


def test_masked_pixels_may_hold_anything(engine: Rasterizer):
    splats, camera = on(engine, SCENE_BY_NAME["skewed"])
    values, counting = random_for(camera, 7)[..., None].clone(), random_for(camera, 8) < 0.5
    clean = engine.lift(splats, camera, values, pixel_mask=counting)
    values[~counting] = torch.nan
    same(engine.lift(splats, camera, values, pixel_mask=counting), clean)
    same(engine.lift(splats, camera, values, pixel_weight=counting.float()), clean)


def test_votes_are_the_gradient_of_the_picture_in_its_features(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    labels, weight = labels_for(camera), random_for(camera, 9)
    features = torch.zeros(len(splats), 5, device=splats.device).requires_grad_()
    picture = engine.render(splats, camera, features=features)
    one_hot = torch.nn.functional.one_hot(labels, 5) * weight[..., None]
    picture.colors.backward(one_hot.to(picture.colors))
    same(engine.votes(splats, camera, labels, ids=range(5), pixel_weight=weight).dense(), features.grad)


def test_lifting_one_hot_labels_gives_the_votes(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    labels, weight = labels_for(camera), random_for(camera, 10)
    votes = engine.votes(splats, camera, labels, ids=range(5), pixel_weight=weight)
    one_hot = torch.nn.functional.one_hot(labels, 5).float()
    same(engine.lift(splats, camera, one_hot, pixel_weight=weight), votes.dense())
    ones = torch.ones(camera.height, camera.width, 1, device=camera.K.device)
    same(engine.lift(splats, camera, ones, pixel_weight=weight)[:, 0], votes.seen)


def test_lift_is_linear(engine: Rasterizer, placed: tuple[Splats, Camera]):
    splats, camera = placed
    first, second = random_for(camera, 12)[..., None], random_for(camera, 13)[..., None]
    together = engine.lift(splats, camera, torch.cat([first, second, first - 3 * second], dim=-1))
    same(together[:, 0] - 3 * together[:, 1], together[:, 2])


def test_the_order_of_storage_does_not_matter(engine: Rasterizer):
    splats, camera = on(engine, SCENE_BY_NAME["skewed"])
    order = torch.randperm(len(splats), generator=generator(14)).to(splats.device)
    shuffled = splats.subset(order)
    same(engine.render(shuffled, camera).colors, engine.render(splats, camera).colors)
    labels = labels_for(camera)
    same(engine.votes(shuffled, camera, labels).dense(), engine.votes(splats, camera, labels).dense()[order])


def test_unseen_gaussians_change_nothing(engine: Rasterizer):
    splats, camera = on(engine, SCENE_BY_NAME["skewed"])
    behind = replace(splats, means=splats.means * torch.tensor([1.0, 1.0, -1.0], device=splats.device))
    together = Splats.concat([behind, splats])
    expected = engine.render(splats, camera)
    actual = engine.render(together, camera)
    same(actual.colors, expected.colors)
    same(actual.depth, expected.depth)
    votes = engine.votes(together, camera, labels_for(camera))
    assert float(votes.seen[: len(splats)].abs().sum()) == 0.0
    same(votes.seen[len(splats) :], engine.votes(splats, camera, labels_for(camera)).seen)


def test_what_was_asked_before_does_not_matter(engine: Rasterizer):
    small, large = SCENE_BY_NAME["narrow"], SCENE_BY_NAME["open"]
    first = engine.render(*on(engine, small)).colors.clone()
    engine.votes(*on(engine, large), labels_for(on(engine, large)[1], 40))
    engine.render(*on(engine, large))
    same(engine.render(*on(engine, small)).colors, first)


def everything(engine: Rasterizer, name: str) -> dict[str, Tensor]:
    """All that an engine can be asked about one scene."""
    splats, camera = on(engine, SCENE_BY_NAME[name])
    splats = trained(splats)
    background = torch.tensor([0.2, 0.5, 0.7]).requires_grad_()
    picture = engine.render(splats, camera, background=background, absgrad=True)
    (picture.colors.square().sum() + picture.alpha.sin().sum() + picture.depth.cos().sum()).backward()
    votes = engine.votes(splats, camera, labels_for(camera), pixel_weight=random_for(camera, 15))
    binary = engine.votes(splats, camera, labels_for(camera, 2))
    many = engine.votes(splats, camera, labels_for(camera, 90, seed=1))
    lifted = engine.lift(splats, camera, torch.rand(camera.height, camera.width, 5, generator=generator(16)))
    found = {"colors": picture.colors, "alpha": picture.alpha, "depth": picture.depth, "lifted": lifted}
    found |= {f"d {parameter}": getattr(splats, parameter).grad for parameter in PARAMETERS}
    found |= {"d background": background.grad, "d means2d": picture.info["means2d"].grad}
    found["absgrad"] = picture.info["means2d"].absgrad
    for kind, sums in (("votes", votes), ("binary", binary), ("many", many)):
        found |= {f"{kind} {part}": tensor for part, tensor in vars(sums).items()}
    return found


@pytest.mark.parametrize("name", ["open", "opaque", "narrow"])
def test_any_number_of_threads_gives_the_same_bits(isa: str, name: str):
    alone, *others = [everything(cpu_engine(isa, threads), name) for threads in THREADS]
    for other in others:
        assert [key for key, tensor in alone.items() if not torch.equal(tensor, other[key])] == []


def test_a_second_call_gives_the_same_bits(isa: str):
    engine = cpu_engine(isa, 2)
    first, second = everything(engine, "open"), everything(engine, "open")
    assert [key for key, tensor in first.items() if not torch.equal(tensor, second[key])] == []


@pytest.mark.parametrize("name", ["open", "opaque", "narrow", "pixel"])
@pytest.mark.parametrize("labels", [2, 5, 90])
def test_avx512_and_avx2_give_the_same_votes(name: str, labels: int):
    votes = []
    for isa in ("avx512", "avx2"):
        engine = cpu_engine(isa, 2)
        splats, camera = on(engine, SCENE_BY_NAME[name])
        weight = random_for(camera, 17)
        votes.append(engine.votes(splats, camera, labels_for(camera, labels), pixel_weight=weight))
    assert identical(*votes)
