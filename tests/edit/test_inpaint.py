"""What a removed object hid is filled in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from splatseg_ns.edit import InpaintConfig, Inpainted, NoHoleError, inpaint, rows_of_part, with_added
from splatseg_ns.edit.hole import object_masks
from splatseg_ns.edit.surface_behind import smoothed_over, surface_behind
from splatseg_ns.lift import Votes
from splatseg_ns.masks import Inpainter, inpainter_named
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import SceneObject, Segmentation
from tests.edit.can_scene import CanScene, can_scene

QUICK = InpaintConfig(views=4, steps=10)


@pytest.fixture(scope="module")
def scene() -> CanScene:
    return can_scene()


@pytest.fixture(scope="module")
def filled(scene: CanScene) -> Inpainted:
    return run(scene)


def run(scene: CanScene, inpainter: Inpainter | None = None, config: InpaintConfig = QUICK) -> Inpainted:
    painter = inpainter or inpainter_named("telea")
    return inpaint(rasterizer_for("cpu"), scene.splats, scene.can, scene.cameras, painter, config)


def psnrs(scene: CanScene, made: Inpainted, splats: Splats) -> tuple[float, float]:
    """In the holes of all views, and outside them."""
    engine = rasterizer_for("cpu")
    errors: list[list[Tensor]] = [[], []]
    for view in made.hole.views:
        drawn, truth = (engine.render(part, view.camera).colors.clamp(0, 1) for part in (splats, scene.truth))
        for place, where in enumerate((view.hole, ~view.object)):
            errors[place].append((drawn - truth)[where].square().flatten())
    inside, outside = (-10.0 * math.log10(float(torch.cat(part).mean()) + 1e-12) for part in errors)
    return inside, outside


def error_to_painted(made: Inpainted, splats: Splats) -> float:
    """Mean absolute difference, where the views were painted."""
    engine = rasterizer_for("cpu")
    differences = []
    for fill in made.fills:
        if "plane" not in fill.canvas.name:
            drawn = engine.render(splats, fill.canvas.camera).colors.clamp(0, 1)
            differences.append((drawn - fill.colors)[fill.canvas.around].abs().mean())
    return float(torch.stack(differences).mean())


def test_the_hole_is_filled_and_nothing_else_changes(scene: CanScene, filled: Inpainted):
    before = psnrs(scene, filled, scene.removed)
    after = psnrs(scene, filled, filled.splats(scene.splats))
    assert before[0] < 12.0 and after[0] > 24.0
    assert after[1] > 50.0
    assert filled.left_out == {} and len(filled.surface.planes) == 1


def test_what_stays_is_left_bit_for_bit_and_comes_first(scene: CanScene, filled: Inpainted):
    together, kept = filled.splats(scene.splats), scene.splats.subset(filled.stays)
    assert len(together) == len(kept) + len(filled.new)
    for name, tensor in kept.tensors().items():
        assert torch.equal(together.tensors()[name][: len(kept)], tensor)


def test_the_same_seed_gives_the_same_scene(scene: CanScene, filled: Inpainted):
    again = run(scene)
    for name, tensor in filled.new.tensors().items():
        assert torch.equal(again.new.tensors()[name], tensor)


def test_a_slanted_table_is_found_too():
    scene = can_scene(tilt=0.4)
    engine = rasterizer_for("cpu")
    masks = object_masks(engine, scene.splats, scene.can, scene.cameras)
    surface = surface_behind(engine, scene.splats, scene.can, scene.cameras, masks)
    (plane,) = surface.planes
    # The normal (0, 0, 1), turned about the x axis.
    wanted = torch.tensor([0.0, -math.sin(0.4), math.cos(0.4)], dtype=torch.float64)
    assert float(plane.normal @ wanted) > 0.999 and abs(plane.offset) < 0.01


def test_steps_bring_the_picture_nearer_to_what_was_painted(scene: CanScene):
    errors = []
    for steps in (0, 60):
        made = run(scene, config=InpaintConfig(views=4, steps=steps, consistency=0.0))
        errors.append(error_to_painted(made, made.splats(scene.splats)))
    assert errors[1] < 0.95 * errors[0]


def test_what_one_view_invents_is_outvoted(scene: CanScene, filled: Inpainted):
    telea, calls = inpainter_named("telea"), []

    def lies_once(image: Tensor, hole: Tensor) -> Tensor:
        calls.append(1)
        painted = telea(image, hole)
        return (
            torch.where(hole[..., None], torch.tensor([255, 0, 255], dtype=torch.uint8), painted)
            if len(calls) == 3
            else painted
        )

    config = InpaintConfig(views=6, steps=0)
    lied_to = run(scene, lies_once, config)
    assert len(calls) == 7
    honest = run(scene, config=config)
    truth, lie = (psnrs(scene, made, made.splats(scene.splats))[0] for made in (honest, lied_to))
    assert lie > truth - 3.0 and lie > 22.0


def test_a_view_that_the_inpainter_fails_on_is_left_out(scene: CanScene):
    telea, calls = inpainter_named("telea"), []

    def fails_twice(image: Tensor, hole: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of paint")
        return telea(image, hole)[:-1] if len(calls) == 3 else telea(image, hole)

    made = run(scene, fails_twice)
    assert len(made.left_out) == 2 and len(made.fills) == 3
    reasons = list(made.left_out.values())
    assert reasons[0] == "out of paint" and "for a picture of uint8" in reasons[1]
    assert psnrs(scene, made, made.splats(scene.splats))[0] > 22.0


def test_an_inpainter_that_always_fails_is_an_error(scene: CanScene):
    def fails(image: Tensor, hole: Tensor) -> Tensor:
        raise RuntimeError("out of paint")

    with pytest.raises(ValueError, match="failed on all 5 pictures, first on plane 1 face-on: out of paint"):
        run(scene, fails)


def test_without_a_plane_depth_is_carried_on(scene: CanScene, monkeypatch: pytest.MonkeyPatch):
    # As if nothing around were flat.
    monkeypatch.setattr("splatseg_ns.edit.surface_behind._PLANAR", 2.0)
    made = run(scene)
    assert made.surface.planes == () and not any("plane" in fill.canvas.name for fill in made.fills)
    assert psnrs(scene, made, made.splats(scene.splats))[0] > 18.0


def test_nothing_hidden_is_said(scene: CanScene):
    means = scene.splats.means.clone()
    means[scene.can, 2] += 0.22
    high = Splats(**{**scene.splats.tensors(), "means": means})
    with pytest.raises(NoHoleError, match="no view has a hole"):
        inpaint(rasterizer_for("cpu"), high, scene.can, scene.cameras, inpainter_named("telea"), QUICK)


def test_what_makes_no_sense_is_refused(scene: CanScene):
    engine, telea = rasterizer_for("cpu"), inpainter_named("telea")
    with pytest.raises(ValueError, match="nothing to fill in"):
        inpaint(engine, scene.splats, torch.zeros_like(scene.can), scene.cameras, telea)
    with pytest.raises(ValueError, match="there are no views"):
        inpaint(engine, scene.splats, scene.can, {}, telea)
    with pytest.raises(ValueError, match="views and witnesses are 1 or more"):
        InpaintConfig(views=0)
    with pytest.raises(ValueError, match="margin is a finite number"):
        InpaintConfig(margin=float("nan"))


def test_new_gaussians_are_background_without_votes(scene: CanScene, filled: Inpainted):
    kept = scene.splats.subset(filled.stays)
    labels = torch.zeros(len(kept), dtype=torch.int64)
    labels[:5] = 1
    votes = Votes.zero(len(kept), [0, 1])
    document = Segmentation.of(kept, labels, [SceneObject(1, "spot", (1, 2, 3))], votes)
    together, grown = with_added(kept, document, filled.new)
    grown.check_splats(together)
    assert torch.equal(grown.labels[: len(kept)], labels) and not bool(grown.labels[len(kept) :].any())
    both = grown.votes()
    assert both is not None and len(both) == len(together) and not bool(both.seen[len(kept) :].any())


def test_a_part_is_found_again_in_its_scene():
    means = torch.tensor([[0.0, 1, 2], [3, 4, 5], [0, 1, 2], [6, 7, 8]])
    assert rows_of_part(means[[1, 2]], means) is not None
    found = rows_of_part(means[[1, 2]], means)
    assert found is not None and found.tolist() == [False, True, True, False]
    # In another order, or moved, they are no part of it.
    assert rows_of_part(means[[3, 0]], means) is None
    assert rows_of_part(means[[0]] + 1e-6, means) is None


def test_gaps_are_smoothed_over():
    values = torch.arange(16, dtype=torch.float64)[None, :, None].expand(16, -1, 1).clone()
    known = torch.ones(16, 16, dtype=torch.bool)
    known[5:11, 5:11] = False
    smooth = smoothed_over(torch.where(known[..., None], values, 99.0), known)
    assert torch.equal(smooth[known], values[known])
    assert float((smooth - values).abs().max()) < 2.0
