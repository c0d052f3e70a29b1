"""How fills are judged, and what they are compared with."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks.inpaint import JudgedView, Likeness, inconsistency, main, published_recipe
from splatseg_ns.edit import Inpainted
from splatseg_ns.edit.hole import Hole, ViewHole
from splatseg_ns.edit.pixels import points_at
from splatseg_ns.edit.surface_behind import Plane, Surface
from splatseg_ns.masks import inpainter_named
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture, Splats, View
from tests.edit.can_scene import CanScene, can_scene, write_can_scene

ENGINE = rasterizer_for("cpu")
TABLE = Plane(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), 0.0)
HELD_OUT = ("view_2", "view_3")


@pytest.fixture(scope="module")
def scene() -> CanScene:
    return can_scene()


@pytest.fixture(scope="module")
def folder(scene: CanScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_can_scene(scene, tmp_path_factory.mktemp("can"), HELD_OUT)


@pytest.fixture(scope="module")
def judged(folder: Path) -> list[JudgedView]:
    views = Capture.load(folder / "capture").with_split("test").views
    return [judged_view(view) for view in views]


def judged_view(view: View) -> JudgedView:
    """Grey without the object, which is in the middle of the view."""
    height, width = view.camera.height, view.camera.width
    middle = torch.zeros(height, width, dtype=torch.bool)
    middle[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = True
    return JudgedView(view, middle, torch.full((height, width, 3), 0.5))


def test_likeness_is_of_the_object_and_of_the_rest(judged: list[JudgedView]):
    inside, outside = (torch.where(view.object[..., None], 0.1, 0.01) for view in judged)
    pictures = [judged[0].truth + inside, judged[1].truth - outside / 10]
    likeness = Likeness.of(pictures, judged)
    # The object is off by .1 and .01: 20 and 40 dB. The rest by .01 and .001: 40 and 60 dB.
    assert likeness.hole_psnr == pytest.approx((20 + 40) / 2, abs=1e-3)
    assert likeness.outside_psnr == pytest.approx((40 + 60) / 2, abs=1e-3)
    assert likeness.hole_ssim < likeness.outside_ssim < 1.0


def test_errors_in_the_object_do_not_count_outside_it(judged: list[JudgedView]):
    noise = torch.rand(judged[0].truth.shape, generator=torch.Generator().manual_seed(0))
    likeness = Likeness.of([torch.where(judged[0].object[..., None], noise, judged[0].truth)], judged[:1])
    # No error at all counts as 1e-12.
    assert likeness.outside_psnr == pytest.approx(120.0) and likeness.outside_ssim == pytest.approx(1.0)
    # The structure of a flat picture is lost in noise.
    assert likeness.hole_ssim < 0.1


def painted_on_the_table(view: JudgedView, shift: float) -> Tensor:  # [H, W, 3]
    """Slow waves; a shift is along the table."""
    points = points_at(view.view.camera, TABLE.depth(view.view.camera))
    waves = 0.5 + 0.2 * torch.sin(4.0 * (points[..., 0] + shift)) + 0.2 * torch.cos(3.0 * points[..., 1])
    return waves[..., None].expand(-1, -1, 3).float()


def made_on(planes: tuple[Plane, ...], splats: Splats) -> Inpainted:
    """As if something had been filled in on these planes."""
    stays = torch.ones(len(splats), dtype=torch.bool)
    return Inpainted(splats.subset(~stays), stays, Hole((), stays), Surface(planes, 0.3), (), {})


def test_a_consistent_surface_has_no_inconsistency(scene: CanScene, judged: list[JudgedView]):
    made, holes = made_on((TABLE,), scene.splats), [view.object for view in judged]
    consistent = [painted_on_the_table(view, 0.0) for view in judged]
    assert inconsistency(made, judged, holes, consistent) < 1e-3
    # Lighter from one side is no inconsistency.
    lighter = [consistent[0], consistent[1] + 0.1]
    assert inconsistency(made, judged, holes, lighter) == pytest.approx(
        inconsistency(made, judged, holes, consistent), abs=1e-4
    )
    shifted = [consistent[0], painted_on_the_table(judged[1], 0.3)]
    assert inconsistency(made, judged, holes, shifted) > 0.05


def test_there_is_no_inconsistency_to_tell_of_without_a_plane_or_a_pair(scene: CanScene, judged: list[JudgedView]):
    pictures, holes = [view.truth for view in judged], [view.object for view in judged]
    assert math.isnan(inconsistency(made_on((), scene.splats), judged, holes, pictures))
    assert math.isnan(inconsistency(made_on((TABLE,), scene.splats), judged[:1], holes[:1], pictures[:1]))
    nothing = [torch.zeros_like(hole) for hole in holes]
    assert math.isnan(inconsistency(made_on((TABLE,), scene.splats), judged, nothing, pictures))


def test_the_recipe_starts_from_the_mean_of_the_five_nearest():
    # Six on a line at 0, 1, 2, 3, 4 and 100, and one at 1.9 that is removed.
    places = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 100.0, 1.9])
    means = torch.stack([places, torch.zeros(7), torch.zeros(7)], dim=1)
    quats = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(7, 1)
    splats = Splats(means, quats, torch.zeros(7, 3), 2.0 * places, torch.zeros(7, 1, 3))
    removed = places == 1.9
    hole = Hole((), ~removed)
    seeded = published_recipe(ENGINE, splats, removed, hole, inpainter_named("telea"), steps=0)
    assert len(seeded) == 7 and torch.equal(seeded.means[:6], splats.means[:6])
    # (0 + 1 + 2 + 3 + 4) / 5 = 2, and twice that.
    assert seeded.means[6].tolist() == pytest.approx([2.0, 0.0, 0.0])
    assert float(seeded.logit_opacities[6]) == pytest.approx(4.0)


def test_the_recipe_fits_new_gaussians_only(scene: CanScene):
    name, camera = next(iter(scene.cameras.items()))
    middle = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    middle[40:56, 54:74] = True
    hole = Hole((ViewHole(name, camera, middle, middle),), ~scene.can)
    before, after = (
        published_recipe(ENGINE, scene.splats, scene.can, hole, inpainter_named("telea"), steps) for steps in (0, 5)
    )
    count = len(scene.removed)
    for part, tensor in after.tensors().items():
        assert torch.equal(tensor[:count], scene.removed.tensors()[part])
    assert not torch.equal(after.means[count:], before.means[count:])


def test_the_table_has_a_row_for_every_way(
    scene: CanScene, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    truth, labels = tmp_path / "removed", tmp_path / "labels"
    (truth / "can").mkdir(parents=True)
    labels.mkdir()
    for name in HELD_OUT:
        picture = (ENGINE.render(scene.truth, scene.cameras[name]).colors.clamp(0, 1) * 255).round().byte()
        Image.fromarray(picture.numpy()).save(truth / "can" / f"{name}.png")
        shares = ENGINE.render(scene.splats, scene.cameras[name], features=scene.can.float()[:, None]).colors
        Image.fromarray((shares[..., 0] > 0.5).byte().numpy()).save(labels / f"{name}.png")
    ply = shutil.copy(folder / "scene.ply", tmp_path)
    shutil.copytree(folder / "scene.segmentation", tmp_path / "scene.segmentation")
    quick = ["--views", "3", "--steps", "2", "--recipe-steps", "2", "--device", "cpu"]
    where = ["--truth", str(truth), "--labels", str(labels)]
    main(["--ply", str(ply), "--data", str(folder / "capture"), *where, *quick])
    printed = capsys.readouterr().out
    assert "can, 2 held-out views" in printed
    psnr = {}
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip("│|┃ ").replace("┃", "│").split("│")]
        if len(cells) == 7 and cells[0].replace(".", "").isdigit():
            psnr[cells[1]] = float(cells[0])
    assert list(psnr) == [
        "own Gaussians removed", "splatseg remove", "published recipe, L1", "2D, each view alone", "splatseg inpaint",
        "the truth",
    ]  # fmt: skip
    assert psnr["the truth"] == 120.0
    assert psnr["splatseg inpaint"] > psnr["splatseg remove"] + 5.0
