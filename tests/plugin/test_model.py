"""The model's outputs, and what others read of it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox, SceneBox
from nerfstudio.models.splatfacto import SplatfactoModelConfig
from nerfstudio.viewer.control_panel import ControlPanel
from viser import ViserServer

from splatseg_ns.plugin.accent import overlaid, tinted
from splatseg_ns.plugin.display import Accent, Look, ScreenMask
from splatseg_ns.plugin.lazy_lpips import LazyLpips
from splatseg_ns.plugin.model import SplatsegModel, SplatsegModelConfig
from splatseg_ns.plugin.pictures import Pictures, Wish, wishing
from splatseg_ns.raster import Render, rasterizer_for
from splatseg_ns.scene import Splats, read_ply
from tests.plugin.examples import OUTPUTS, document_of, halves, model_of, nerfstudio_camera
from tests.raster.scenes import camera, cloud

VIEW = camera(40, 32, focal=(30.0, 30.0))


@pytest.fixture
def splats() -> Splats:
    return cloud(60, 5, size=0.2, degree=1)


@pytest.fixture
def model(splats: Splats) -> SplatsegModel:
    return model_of(splats)


def outputs_of(model: SplatsegModel) -> dict[str, torch.Tensor]:
    return model.get_outputs_for_camera(nerfstudio_camera(VIEW))


def test_pictures_are_those_of_the_engine(model: SplatsegModel, splats: Splats):
    outputs = outputs_of(model)
    picture = rasterizer_for("cpu").render(splats, VIEW)
    torch.testing.assert_close(outputs["rgb"], picture.colors.clamp(0, 1))
    torch.testing.assert_close(outputs["accumulation"][..., 0], picture.alpha)
    drawn = picture.alpha > 0
    torch.testing.assert_close(outputs["depth"][..., 0][drawn], picture.depth[drawn])
    assert not bool((~drawn).all()) and float(outputs["depth"].min()) > 0.0


def test_the_outputs_have_the_same_names_and_shapes_whatever_is_shown(model: SplatsegModel, splats: Splats):
    shapes = []
    for hidden in (None, (), (1,), (1, 2)):
        model.show(None if hidden is None else document_of(splats, halves(splats), hidden))
        outputs = outputs_of(model)
        assert outputs.keys() == OUTPUTS
        assert all(value.dtype == torch.float32 and value.isfinite().all() for value in outputs.values())
        shapes.append({name: tuple(value.shape) for name, value in outputs.items()})
    assert all(shape == shapes[0] for shape in shapes)
    assert shapes[0]["object_mask"] == (32, 40, 1)
    assert shapes[0]["segmentation"] == shapes[0]["objects"] == (32, 40, 3)


def test_a_viewer_starts_with_the_objects_if_something_is_hidden(model: SplatsegModel, splats: Splats):
    for hidden, first in (((), "rgb"), ((1,), "objects")):
        model.show(document_of(splats, halves(splats), hidden))
        server = ViserServer(port=0, verbose=False)
        panel = ControlPanel(server, False, 1.0, mock.Mock(), mock.Mock(), mock.Mock())
        panel.update_output_options(list(outputs_of(model)))
        assert panel.output_render == first
        server.stop()


def test_what_is_hidden_is_gone_from_objects_alone(model: SplatsegModel, splats: Splats):
    before = outputs_of(model)
    parameters = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    labels = halves(splats)
    model.show(document_of(splats, labels, hidden=(1,)))
    shown = outputs_of(model)
    for name in ("rgb", "depth", "accumulation"):
        assert torch.equal(before[name], shown[name])
    alone = rasterizer_for("cpu").render(splats.subset(labels == 2), VIEW)
    torch.testing.assert_close(shown["objects"], alone.colors.clamp(0, 1))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in parameters.items())
    model.show(document_of(splats, labels))
    assert torch.equal(outputs_of(model)["objects"], before["rgb"])


def test_what_is_hidden_can_be_left_as_a_ghost(model: SplatsegModel, splats: Splats):
    labels = halves(splats)
    document = document_of(splats, labels, hidden=(1,))
    model.show(document)
    gone = outputs_of(model)
    for ghost in (0.0, 0.3, 1.0):
        model.show(document, look=Look(ghost=ghost))
        shown = outputs_of(model)
        assert next(iter(shown)) == "objects" and torch.equal(shown["rgb"], gone["rgb"])
        faint = torch.where(labels == 1, ghost, 1.0) * splats.opacities
        expected = rasterizer_for("cpu").render(replace(splats, logit_opacities=torch.logit(faint, eps=1e-6)), VIEW)
        torch.testing.assert_close(shown["objects"], expected.colors.clamp(0, 1))
        if ghost in (0.0, 1.0):
            assert torch.equal(shown["objects"], gone["objects"] if ghost == 0.0 else shown["rgb"])


def test_what_stands_out_does_so_in_objects_alone(model: SplatsegModel, splats: Splats):
    labels = halves(splats)
    document = document_of(splats, labels, hidden=(1,))
    weights = torch.linspace(0, 1, 60)
    parameters = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for ghost in (0.0, 0.4):
        model.show(document, look=Look(ghost=ghost))
        before = outputs_of(model)
        model.show(document, look=Look(ghost=ghost, accent=Accent((255, 0, 0), weights)))
        shown = outputs_of(model)
        assert [name for name in before if not torch.equal(before[name], shown[name])] == ["objects"]
        faint = torch.where(labels == 1, ghost, 1.0) * splats.opacities
        seen = replace(splats, logit_opacities=torch.logit(faint, eps=1e-6), sh=tinted(splats.sh, weights, (255, 0, 0)))
        expected = rasterizer_for("cpu").render(seen, VIEW).colors.clamp(0, 1)
        torch.testing.assert_close(shown["objects"], expected)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in parameters.items())


def test_a_mask_marks_its_own_view_and_the_weights_all_others(model: SplatsegModel, splats: Splats):
    document = document_of(splats, halves(splats))
    mask = torch.zeros(32, 40, dtype=torch.bool)
    mask[10:20, 10:30] = True
    plain = outputs_of(model)["rgb"]
    model.show(document, look=Look(accent=Accent((255, 0, 0), torch.ones(60), ScreenMask(mask, VIEW))))
    assert torch.equal(outputs_of(model)["objects"], overlaid(plain, mask, (255, 0, 0)))
    doubled = nerfstudio_camera(VIEW.resized(80, 64))
    larger = model.get_outputs_for_camera(doubled)
    assert torch.equal(larger["objects"], overlaid(larger["rgb"], mask, (255, 0, 0)))
    beside = nerfstudio_camera(replace(VIEW, viewmat=torch.eye(4) + 0.05 * torch.eye(4).roll(3, 1)))
    shown = model.get_outputs_for_camera(beside)["objects"]
    model.show(document, look=Look(accent=Accent((255, 0, 0), torch.ones(60))))
    assert torch.equal(shown, model.get_outputs_for_camera(beside)["objects"])
    model.show(document, look=Look(accent=Accent((255, 0, 0), screen=ScreenMask(mask, VIEW))))
    others = model.get_outputs_for_camera(beside)
    assert torch.equal(others["objects"], others["rgb"])


def test_the_segmentation_is_blended_by_weight(model: SplatsegModel, splats: Splats):
    labels = halves(splats)
    document = document_of(splats, labels)
    model.show(document)
    outputs = outputs_of(model)
    colors = torch.tensor([entry.color for entry in document.objects]) / 255
    expected = rasterizer_for("cpu").render(splats, VIEW, features=colors[labels - 1]).colors
    torch.testing.assert_close(outputs["segmentation"], expected.clamp(0, 1))
    # Every Gaussian is of a visible object.
    torch.testing.assert_close(outputs["object_mask"], outputs["accumulation"], atol=1e-5, rtol=0)
    selection = labels == 1
    model.show(document, selection)
    mask = rasterizer_for("cpu").render(splats, VIEW, features=selection[:, None].float()).colors
    torch.testing.assert_close(outputs_of(model)["object_mask"], mask)


def test_a_document_of_other_splats_is_refused_and_one_that_was_outgrown_is_not_shown(
    model: SplatsegModel, splats: Splats
):
    fewer = splats.subset(torch.arange(10))
    with pytest.raises(ValueError, match="10 Gaussians, not of these 60"):
        model.show(document_of(fewer, halves(fewer)))
    model.show(document_of(splats, halves(splats), hidden=(1,)))
    for name, tensor in list(model.gauss_params.items()):
        model.gauss_params[name] = torch.nn.Parameter(tensor[:50].detach())
    outputs = outputs_of(model)
    assert torch.equal(outputs["objects"], outputs["rgb"]) and not bool(outputs["segmentation"].any())


def test_a_step_of_training_shows_in_the_next_picture(model: SplatsegModel):
    before = outputs_of(model)["rgb"]
    with torch.no_grad():
        model.gauss_params["features_dc"] += 0.5
    assert float((outputs_of(model)["rgb"] - before).abs().max()) > 0.05


def test_rays_are_refused_in_one_line(model: SplatsegModel):
    """As ns-export pointcloud and the meshes ask for them."""
    rays: Any = RayBundle(torch.zeros(4, 3), torch.ones(4, 3), torch.ones(4, 1))
    with pytest.raises(SystemExit, match="take ns-export gaussian-splat"):
        model(rays)


def test_a_crop_box_cuts_every_picture(model: SplatsegModel, splats: Splats):
    labels = halves(splats)
    model.show(document_of(splats, labels, hidden=(2,)))
    box = OrientedBox(torch.eye(3), torch.tensor([0.0, 0.0, 4.0]), torch.tensor([1.0, 1.0, 1.0]))
    inside = (splats.means - torch.tensor([0.0, 0.0, 4.0])).abs().amax(dim=1) < 0.5
    outputs = model.get_outputs_for_camera(nerfstudio_camera(VIEW), obb_box=box)
    engine = rasterizer_for("cpu")
    torch.testing.assert_close(outputs["rgb"], engine.render(splats.subset(inside), VIEW).colors.clamp(0, 1))
    left = engine.render(splats.subset(inside & (labels == 1)), VIEW)
    torch.testing.assert_close(outputs["objects"], left.colors.clamp(0, 1))
    weights = torch.linspace(0, 1, 60)
    model.show(document_of(splats, labels, hidden=(2,)), look=Look(accent=Accent((255, 0, 0), weights)))
    tinted_splats = replace(splats, sh=tinted(splats.sh, weights, (255, 0, 0))).subset(inside & (labels == 1))
    shown = model.get_outputs_for_camera(nerfstudio_camera(VIEW), obb_box=box)["objects"]
    torch.testing.assert_close(shown, engine.render(tinted_splats, VIEW).colors.clamp(0, 1))
    nowhere = OrientedBox(torch.eye(3), torch.full((3,), 99.0), torch.ones(3))
    empty = model.get_outputs_for_camera(nerfstudio_camera(VIEW), obb_box=nowhere)
    assert empty.keys() == OUTPUTS and not bool(empty["accumulation"].any())


class CountingEngine:
    """An engine that counts its pictures."""

    def __init__(self) -> None:
        self.renders = 0

    def render(self, *args: Any, **options: Any) -> Render:
        self.renders += 1
        return rasterizer_for("cpu").render(*args, **options)


SHOWN = {"nothing hidden": (), "something hidden": (1,), "everything hidden": (1, 2)}


@pytest.mark.parametrize("hidden", SHOWN.values(), ids=SHOWN)
def test_pictures_that_are_made_when_looked_at_are_the_same(
    model: SplatsegModel, splats: Splats, hidden: tuple[int, ...]
):
    accent = Accent((0, 255, 255), torch.linspace(0, 1, 60))
    model.show(document_of(splats, halves(splats), hidden), look=Look(ghost=0.2, accent=accent))
    eager = outputs_of(model)
    assert type(eager) is dict
    for first in eager:
        with wishing(Wish((first,))):
            pictures = outputs_of(model)
        assert isinstance(pictures, Pictures) and list(pictures) == list(eager) and pictures.made() == [first]
        # Whatever the model shows by now.
        model.show(None)
        for name in eager:
            assert torch.equal(pictures[name], eager[name])
        model.show(document_of(splats, halves(splats), hidden), look=Look(ghost=0.2, accent=accent))


def test_pictures_looked_at_later_are_of_the_gaussians_of_then(model: SplatsegModel, splats: Splats):
    model.show(document_of(splats, halves(splats), hidden=(1,)))
    eager = outputs_of(model)
    with wishing(Wish(("rgb",))):
        pictures = outputs_of(model)
    for name, tensor in list(model.gauss_params.items()):
        model.gauss_params[name] = torch.nn.Parameter(tensor[:50].detach() + 0.1)
    outputs_of(model)
    assert all(torch.equal(pictures[name], eager[name]) for name in eager)


def test_no_more_is_rendered_than_is_looked_at(model: SplatsegModel, splats: Splats):
    model.show(document_of(splats, halves(splats), hidden=(1,)))
    wishes = {
        Wish(("rgb", "depth")): 1,
        Wish(("objects",)): 1,
        Wish(("objects", "depth"), depth_of="objects"): 1,
        Wish(("objects", "depth")): 2,
        Wish(("segmentation", "object_mask", "depth", "accumulation")): 1,
        Wish(("rgb", "segmentation", "depth")): 2,
        Wish(("background",)): 0,
    }
    for wish, renders in wishes.items():
        engine = CountingEngine()
        with mock.patch.object(model, "_engine", return_value=engine), wishing(wish):
            outputs_of(model)
        assert engine.renders == renders, wish
    engine = CountingEngine()
    with mock.patch.object(model, "_engine", return_value=engine):
        outputs_of(model)
    assert engine.renders == 3


def test_depth_is_that_of_the_whole_scene_unless_a_viewer_hides_things_behind_what_is_left(
    model: SplatsegModel, splats: Splats
):
    labels = halves(splats)
    model.show(document_of(splats, labels, hidden=(1,)))
    whole = outputs_of(model)["depth"]
    with wishing(Wish(("objects",))):
        assert torch.equal(outputs_of(model)["depth"], whole)
    with wishing(Wish(("segmentation",), depth_of="segmentation")):
        assert torch.equal(outputs_of(model)["depth"], whole)
    with wishing(Wish(("objects",), depth_of="objects")):
        left = outputs_of(model)["depth"][..., 0]
    alone = rasterizer_for("cpu").render(splats.subset(labels == 2), VIEW)
    torch.testing.assert_close(left[alone.alpha > 0], alone.depth[alone.alpha > 0])


def test_rgba_has_the_colours_before_the_background(splats: Splats):
    black, white = model_of(splats), model_of(splats)
    white.config.background_color = "white"
    pictures = [model.get_rgba_image(outputs_of(model)) for model in (black, white)]
    assert pictures[0].shape == (32, 40, 4)
    solid = pictures[0][..., 3] > 0.5
    torch.testing.assert_close(pictures[0][solid], pictures[1][solid], atol=0.05, rtol=0)


def test_exported_properties_are_the_chosen_rows_and_pictures_stay_whole(model: SplatsegModel, splats: Splats):
    before = outputs_of(model)["rgb"]
    model.export_only(halves(splats) == 2)
    assert model.num_points == len(model.means) == len(model.shs_0) == len(model.opacities) == 30
    assert torch.equal(model.scales, model.gauss_params["scales"][30:])
    assert torch.equal(model.shs_rest, model.gauss_params["features_rest"][30:])
    assert torch.equal(model.quats, model.gauss_params["quats"][30:])
    assert torch.equal(outputs_of(model)["rgb"], before)


def test_no_weights_of_lpips_belong_to_the_model(model: SplatsegModel):
    names = set(model.state_dict())
    assert {f"gauss_params.{name}" for name in ("means", "scales", "quats")} < names
    assert not any("lpips" in name for name in names)


def test_lpips_that_cannot_be_had_is_left_out_and_told_of_once(
    model: SplatsegModel, capsys: pytest.CaptureFixture[str]
):
    outputs = outputs_of(model)
    batch = {"image": outputs["rgb"].clone()}
    broken = mock.Mock(side_effect=OSError("no network"))
    with mock.patch("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", broken):
        for _ in range(2):
            metrics, _ = model.get_image_metrics_and_images(outputs, batch)
            assert metrics.keys() == {"psnr", "ssim"} and metrics["ssim"] == pytest.approx(1.0, abs=1e-4)
    assert broken.call_count == 1
    assert capsys.readouterr().out.count("No LPIPS") == 1


def test_lpips_is_given_if_its_weights_are_there():
    metric = LazyLpips()
    picture = torch.zeros(1, 3, 8, 8)
    name = "torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity"
    with mock.patch(name, return_value=FakeMetric()):
        assert float(metric(picture, picture)) == 0.25


class FakeMetric(torch.nn.Module):
    """Stands for a network whose weights are there."""

    def forward(self, truth: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        return torch.tensor(0.25)


def test_densification_is_that_of_splatfacto():
    """Whatever its options say: each differs from its default, and from the others."""
    numbers = {
        field.name: field.default for field in fields(SplatfactoModelConfig) if type(field.default) in (int, float)
    }
    options: dict[str, Any] = {
        name: value + type(value)(place) for place, (name, value) in enumerate(numbers.items(), 1)
    }
    options |= {"use_absgrad": False, "sh_degree": 2, "num_random": 8}
    strategies = []
    # Its weights come from the network.
    with mock.patch("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", return_value=FakeMetric()):
        for kind in (SplatfactoModelConfig, SplatsegModelConfig):
            box = SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]))
            model = kind(**options).setup(scene_box=box, num_train_data=7, metadata={}, seed_points=None)
            strategies.append(model.strategy)
    assert strategies[0] == strategies[1]


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_a_model_starts_from_seed_points(degree: int):
    points = torch.rand(50, 3)
    colors = torch.randint(0, 255, (50, 3), dtype=torch.uint8)
    model = SplatsegModelConfig(sh_degree=degree).setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
        num_train_data=2,
        metadata={},
        seed_points=(points, colors),
    )
    assert torch.equal(model.means, points)
    torch.testing.assert_close(model.colors, colors / 255, atol=1e-5, rtol=0)
    assert model.features_rest.shape == (50, (degree + 1) ** 2 - 1, 3)


def test_a_splat_of_the_demo_looks_the_same(shared_data: Path):
    splats = read_ply(shared_data / "tabletop_splats.ply").subset(torch.arange(2000))
    outputs = outputs_of(model_of(splats))
    torch.testing.assert_close(outputs["rgb"], rasterizer_for("cpu").render(splats, VIEW).colors.clamp(0, 1))
