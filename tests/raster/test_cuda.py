"""The CUDA engine. Without a GPU everything but the kernels is tested, on the oracle in the kernels' place."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from splatseg_ns.raster import cuda
from splatseg_ns.raster.cuda import CudaRasterizer, cuda_problem
from splatseg_ns.raster.interface import ViewVotes
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import PROFILES, Camera, PixelRect, RenderProfile, Splats, render_profile

WIDTH, HEIGHT = 40, 30


class OracleKernels:
    """Takes what ``gsplat.rasterization`` takes and answers in its shapes; keeps the arguments of every call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **given: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        self.calls.append(given)
        assert not given["packed"] and given["tile_size"] == 16
        means, colors, sh_degree = given["means"].double(), given["colors"], given["sh_degree"]
        profile = RenderProfile(
            "of the call",
            near=given["near_plane"],
            far=given["far_plane"],
            eps2d=given["eps2d"],
            antialiased=given["rasterize_mode"] == "antialiased",
        )
        splats = Splats(
            means,
            given["quats"].double(),
            given["scales"].double().log(),
            given["opacities"].double().logit(),
            torch.zeros(len(means), 1, 3).double() if sh_degree is None else colors.double(),
            profile,
        )
        camera = Camera(given["viewmats"][0], given["Ks"][0], given["width"], given["height"])
        features = colors if sh_degree is None else None
        view = OracleRasterizer().render(
            splats, camera, features=features, sh_degree=sh_degree, absgrad=given["absgrad"]
        )
        picture = view.colors
        if given["render_mode"] == "RGB+ED":
            picture = torch.cat([picture, view.depth[..., None]], dim=-1)
        return picture[None].float(), view.alpha[None, ..., None].float(), view.info


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> OracleKernels:
    """Stands where gsplat 1.4.0 would."""
    stand_in = OracleKernels()
    monkeypatch.setattr(cuda, "cuda_problem", lambda: None)
    monkeypatch.setattr(cuda, "_load_gsplat", lambda: (stand_in, "1.4.0"))
    return stand_in


@pytest.fixture
def engine(kernels: OracleKernels) -> CudaRasterizer:
    return CudaRasterizer("cpu")


def make_splats(count: int, *, sh_count: int = 4, seed: int = 0) -> Splats:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    means = normal(count, 3) * torch.tensor([1.0, 0.8, 0.5])
    log_scales = -2.0 + 0.3 * normal(count, 3)
    return Splats(means, normal(count, 4), log_scales, 1.5 * normal(count), 0.5 * normal(count, sh_count, 3))


def make_camera() -> Camera:
    viewmat = torch.eye(4)
    viewmat[2, 3] = 4.0
    K = torch.tensor([[45.0, 0.0, 19.0], [0.0, 44.0, 16.0], [0.0, 0.0, 1.0]])
    return Camera(viewmat, K, WIDTH, HEIGHT)


def block_labels(size: int) -> Tensor:  # [H, W]
    """Another label in every block of size x size pixels, from 3 in steps of 2."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return 3 + 2 * ((y // size) * math.ceil(WIDTH / size) + x // size)


def gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad.double()


def assert_same_votes(votes: ViewVotes, expected: ViewVotes) -> None:
    assert votes.ids.tolist() == expected.ids.tolist()
    torch.testing.assert_close(votes.dense().double(), expected.dense(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(votes.seen.double(), expected.seen, rtol=1e-4, atol=1e-5)
    assert votes.mass.dtype == votes.seen.dtype == torch.float32
    assert votes.columns.dtype == votes.offsets.dtype == torch.int64
    for start, end in zip(votes.offsets[:-1].tolist(), votes.offsets[1:].tolist(), strict=True):
        assert bool((votes.columns[start:end].diff() > 0).all())


# --- pictures


def test_render_is_the_oracles(engine: CudaRasterizer) -> None:
    splats, camera, background = make_splats(60), make_camera(), torch.tensor([0.2, 0.5, 0.9])
    picture = engine.render(splats, camera, background=background, sh_degree=1)
    expected = OracleRasterizer().render(splats, camera, background=background, sh_degree=1)
    for name in ("colors", "alpha", "depth"):
        torch.testing.assert_close(getattr(picture, name).double(), getattr(expected, name), rtol=1e-4, atol=1e-5)
    assert bool((picture.depth[picture.alpha == 0] == 0).all())


def test_crop_is_cut_from_the_whole_picture(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera, crop = make_splats(60), make_camera(), PixelRect(7, 5, 20, 11)
    whole, window = engine.render(splats, camera), engine.render(splats, camera, crop=crop)
    for name in ("colors", "alpha", "depth"):
        assert torch.equal(getattr(window, name), getattr(whole, name)[crop.slices])
    assert [(call["width"], call["height"]) for call in kernels.calls] == [(WIDTH, HEIGHT)] * 2


def test_features_of_any_width_and_double_tensors(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera = make_splats(40), make_camera()
    features = torch.rand(40, 37, generator=torch.Generator().manual_seed(1))
    picture = engine.render(splats.to(torch.float64), camera.to(torch.float64), features=features.double())
    expected = OracleRasterizer().render(splats, camera, features=features)
    torch.testing.assert_close(picture.colors.double(), expected.colors, rtol=1e-4, atol=1e-5)
    floats = (value for value in kernels.calls[0].values() if isinstance(value, Tensor))
    assert {tensor.dtype for tensor in floats} == {torch.float32}


def test_gradients_reach_every_tensor(engine: CudaRasterizer) -> None:
    camera = make_camera()
    weight = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(2))
    gradients = []
    for rasterizer in (engine, OracleRasterizer()):
        splats = make_splats(30)
        for tensor in splats.tensors().values():
            tensor.requires_grad_()
        view = rasterizer.render(splats, camera, background=torch.ones(3))
        ((view.colors * weight).sum() + 0.1 * view.depth.sum()).backward()
        tensors = [*splats.tensors().values(), view.info["means2d"]]
        gradients.append([gradient(tensor) for tensor in tensors])
    for ours, expected in zip(*gradients, strict=True):
        assert float((ours - expected).norm()) <= 1e-4 * float(expected.norm())


def test_info_is_what_densification_reads(engine: CudaRasterizer) -> None:
    splats, camera = make_splats(30), make_camera()
    splats.means.requires_grad_()
    view = engine.render(splats, camera, absgrad=True, crop=PixelRect(0, 0, 9, 9))
    assert (view.info["width"], view.info["height"], view.info["n_cameras"]) == (WIDTH, HEIGHT, 1)
    assert {"radii", "gaussian_ids"} <= view.info.keys()
    view.colors.square().sum().backward()
    assert view.info["means2d"].grad.shape == view.info["means2d"].absgrad.shape == (1, 30, 2)


def test_absgrad_of_many_channels_is_refused(engine: CudaRasterizer) -> None:
    with pytest.raises(ValueError, match="absgrad works for up to 31 channels"):
        engine.render(make_splats(5), make_camera(), features=torch.zeros(5, 32), absgrad=True)


# --- votes and lift


def test_votes_of_seventy_labels_take_three_passes(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera, labels = make_splats(60), make_camera(), block_labels(4)
    assert len(labels.unique()) == 80
    labels[labels > 3 + 2 * 69] = 3
    assert_same_votes(engine.votes(splats, camera, labels), OracleRasterizer().votes(splats, camera, labels))
    assert [call["colors"].shape[1] for call in kernels.calls] == [32, 32, 6]


def test_votes_ids_in_any_order_absent_and_missing(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera, labels = make_splats(60), make_camera(), block_labels(10)
    ids = [9, 4000, 5, 3, 1, 13]
    votes = engine.votes(splats, camera, labels, ids)
    assert_same_votes(votes, OracleRasterizer().votes(splats, camera, labels, ids))
    assert set(votes.columns.tolist()) == {0, 2, 3, 5}
    assert [call["colors"].shape[1] for call in kernels.calls] == [5]


def test_votes_sum_to_what_was_seen(engine: CudaRasterizer) -> None:
    votes = engine.votes(make_splats(60), make_camera(), block_labels(3))
    torch.testing.assert_close(votes.dense().sum(dim=1), votes.seen)


def test_votes_of_weights_mask_and_crop(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera, labels, random = make_splats(60), make_camera(), block_labels(10), torch.Generator().manual_seed(3)
    weight = torch.rand(HEIGHT, WIDTH, generator=random)
    mask = torch.rand(HEIGHT, WIDTH, generator=random) < 0.7
    crop = PixelRect(4, 2, 23, 17)
    votes, expected = (
        rasterizer.votes(splats, camera, labels, pixel_weight=weight, pixel_mask=mask, crop=crop)
        for rasterizer in (engine, OracleRasterizer())
    )
    assert_same_votes(votes, expected)
    inside = labels[crop.slices][mask[crop.slices]]
    assert [call["colors"].shape[1] for call in kernels.calls] == [len(inside.unique())]


def test_votes_leave_the_gradients_of_the_scene_alone(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats = make_splats(20)
    splats.means.requires_grad_()
    votes = engine.votes(splats, make_camera(), block_labels(10))
    assert not votes.mass.requires_grad and splats.means.grad is None
    assert not kernels.calls[0]["means"].requires_grad


def test_no_pixel_counts(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    labels, nowhere = block_labels(10), torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    votes = engine.votes(make_splats(20), make_camera(), labels, pixel_mask=nowhere)
    assert votes.offsets.tolist() == [0] * 21 and len(votes.mass) == 0
    assert not bool(votes.seen.any())
    assert kernels.calls == []


def test_lift_of_many_channels(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera, random = make_splats(40), make_camera(), torch.Generator().manual_seed(4)
    values = torch.randn(HEIGHT, WIDTH, 40, generator=random)
    mask = torch.rand(HEIGHT, WIDTH, generator=random) < 0.8
    values[~mask] = torch.nan
    lifted = engine.lift(splats, camera, values, pixel_mask=mask)
    expected = OracleRasterizer().lift(splats, camera, values, pixel_mask=mask)
    torch.testing.assert_close(lifted.double(), expected.double(), rtol=1e-4, atol=1e-5)
    assert [call["colors"].shape[1] for call in kernels.calls] == [32, 8]


# --- scenes that are not as they should be


def test_gaussians_that_cannot_be_drawn_are_left_out(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera, labels = make_splats(50), make_camera(), block_labels(10)
    splats.means[3, 1] = torch.nan
    splats.raw_quats[7] = 0.0
    splats.log_scales[11] = 200.0
    splats.logit_opacities[13] = torch.inf
    splats.sh[17, 0, 0] = -torch.inf
    bad = torch.tensor([3, 7, 11, 13, 17])
    good = torch.ones(50, dtype=torch.bool).index_fill(0, bad, False)
    with pytest.warns(RuntimeWarning, match="5 of 50 Gaussians"):
        votes = engine.votes(splats, camera, labels)
    with pytest.warns(RuntimeWarning, match="5 of 50 Gaussians"):
        view = engine.render(splats, camera)
    for call in kernels.calls:
        assert all(bool(value.isfinite().all()) for value in call.values() if isinstance(value, Tensor))

    rest = splats.subset(good)
    expected = OracleRasterizer().votes(rest, camera, labels)
    torch.testing.assert_close(votes.dense()[good].double(), expected.dense(), rtol=1e-4, atol=1e-5)
    assert not bool(votes.dense()[bad].any()) and not bool(votes.seen[bad].any())
    picture = OracleRasterizer().render(rest, camera).colors
    torch.testing.assert_close(view.colors.double(), picture, rtol=1e-4, atol=1e-5)
    assert view.info["means2d"].shape == (1, 50, 2)
    assert not bool(view.info["radii"][0, bad].any())


def test_no_gaussians(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    splats, camera = make_splats(0), make_camera()
    splats.means.requires_grad_()
    view = engine.render(splats, camera, background=torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(view.colors, torch.tensor([0.1, 0.2, 0.3]).expand(HEIGHT, WIDTH, 3))
    assert not bool(view.alpha.any()) and not bool(view.depth.any())
    view.colors.sum().backward()
    votes = engine.votes(splats, camera, block_labels(10), [5, 3])
    assert votes.offsets.tolist() == [0] and votes.ids.tolist() == [5, 3] and votes.seen.shape == (0,)
    assert engine.lift(splats, camera, torch.ones(HEIGHT, WIDTH, 40)).shape == (0, 40)
    assert kernels.calls == []


# --- profiles


@pytest.mark.parametrize(("version", "profile"), [("1.4.0", "gsplat-1.4"), ("1.5.3+pt24cu124", "gsplat-1.5")])
def test_the_profile_of_the_installed_gsplat_passes_silently(
    kernels: OracleKernels, monkeypatch: pytest.MonkeyPatch, version: str, profile: str
) -> None:
    monkeypatch.setattr(cuda, "_load_gsplat", lambda: (kernels, version))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CudaRasterizer("cpu").render(with_profile(PROFILES[profile]), make_camera())


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("gsplat-1.5", r"gsplat 1\.4\.0 renders as profile 'gsplat-1\.4', the splats have profile 'gsplat-1\.5'"),
        ("inria", r"drawn with alpha_max 0\.999 instead of 0\.99, extent three_sigma instead of inria"),
    ],
)
def test_another_profile_warns_once(engine: CudaRasterizer, profile: str, message: str) -> None:
    splats, camera = with_profile(PROFILES[profile]), make_camera()
    with pytest.warns(UserWarning, match=message):
        engine.render(splats, camera)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.votes(splats, camera, block_labels(10))


def test_what_gsplat_can_be_told_is_told(engine: CudaRasterizer, kernels: OracleKernels) -> None:
    profile = RenderProfile("own", near=0.3, far=50.0, eps2d=0.1, antialiased=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.render(with_profile(profile), make_camera())
    call = kernels.calls[0]
    assert (call["near_plane"], call["far_plane"], call["eps2d"]) == (0.3, 50.0, 0.1)
    assert call["rasterize_mode"] == "antialiased"


def with_profile(profile: RenderProfile) -> Splats:
    splats = make_splats(10)
    return Splats(*splats.tensors().values(), profile=profile)


# --- what can be missing


class Machine:
    """A machine on which CUDA works; tests take things away from it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.monkeypatch, self.folder = monkeypatch, folder
        self.on_path = {"nvcc": "/usr/bin/nvcc", "ninja": "/usr/bin/ninja"}
        self.package = folder / "gsplat"
        self.package.mkdir()
        monkeypatch.setattr(torch.version, "cuda", "12.4")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        spec = ModuleSpec("gsplat", None, is_package=True)
        spec.submodule_search_locations = [str(self.package)]
        monkeypatch.setattr(cuda, "find_spec", lambda name: spec)
        monkeypatch.setattr(cuda, "_load_gsplat", lambda: (None, "1.4.0"))
        monkeypatch.setattr(cuda.shutil, "which", self.which)
        monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(folder / "extensions"))
        self.nvcc_says("Cuda compilation tools, release 12.6, V12.6.20")

    def which(self, name: str, path: str | None = None) -> str | None:
        return self.on_path.get(name) if path is None else self.on_path.get(f"{path}/{name}")

    def nvcc_says(self, text: str) -> None:
        self.monkeypatch.setattr(cuda.subprocess, "run", lambda *args, **kwargs: SimpleNamespace(stdout=text))

    def has_prebuilt_kernels(self) -> None:
        (self.package / "csrc.py").touch()

    def has_built_kernels(self) -> None:
        folder = self.folder / "extensions" / "gsplat_cuda"
        folder.mkdir(parents=True)
        (folder / "gsplat_cuda.so").touch()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    return Machine(monkeypatch, tmp_path)


def no_cuda_build(machine: Machine) -> None:
    machine.monkeypatch.setattr(torch.version, "cuda", None)


def no_gpu(machine: Machine) -> None:
    machine.monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def no_gsplat(machine: Machine) -> None:
    machine.monkeypatch.setattr(cuda, "find_spec", lambda name: None)


def no_nvcc(machine: Machine) -> None:
    del machine.on_path["nvcc"]


def no_nvcc_but_built(machine: Machine) -> None:
    machine.has_built_kernels()
    del machine.on_path["nvcc"]


def no_ninja(machine: Machine) -> None:
    del machine.on_path["ninja"]


def other_nvcc(machine: Machine) -> None:
    machine.nvcc_says("Cuda compilation tools, release 13.0, V13.0.88")


def mute_nvcc(machine: Machine) -> None:
    machine.nvcc_says("")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_cuda_build, "is a build without CUDA"),
        (no_gpu, "torch sees no NVIDIA GPU"),
        (no_gsplat, "gsplat is not installed; pip install gsplat"),
        (no_nvcc, "needs nvcc for its kernels and finds none; install the CUDA 12 toolkit"),
        (no_nvcc_but_built, "needs nvcc for its kernels and finds none; install the CUDA 12 toolkit"),
        (no_ninja, "needs ninja for its kernels"),
        (other_nvcc, "nvcc is of CUDA 13, torch of CUDA 12.4; put nvcc of a CUDA 12 toolkit first on PATH"),
        (mute_nvcc, "nvcc is of CUDA (unknown), torch of CUDA 12.4"),
    ],
)
def test_cuda_problem_names_the_cause(machine: Machine, change: Callable[[Machine], None], message: str) -> None:
    change(machine)
    problem = cuda_problem()
    assert problem is not None and message in problem
    assert problem.endswith("or use the CPU engine (device 'cpu')") and "\n" not in problem
    with pytest.raises(RuntimeError) as raised:
        CudaRasterizer()
    assert str(raised.value) == problem


def test_no_problem_when_the_kernels_can_be_compiled(machine: Machine) -> None:
    assert cuda_problem() is None


def test_no_problem_with_prebuilt_kernels(machine: Machine) -> None:
    machine.has_prebuilt_kernels()
    machine.on_path.clear()
    assert cuda_problem() is None


def test_no_problem_with_kernels_built_by_another_toolkit(machine: Machine) -> None:
    machine.has_built_kernels()
    other_nvcc(machine)
    assert cuda_problem() is None


def test_gsplat_1_5_finds_nvcc_off_the_path(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.on_path = {"ninja": "/usr/bin/ninja", "/opt/cuda/bin/nvcc": "/opt/cuda/bin/nvcc"}
    monkeypatch.setenv("CUDA_HOME", "/opt/cuda")
    assert cuda_problem() is not None
    monkeypatch.setattr(cuda, "_load_gsplat", lambda: (None, "1.5.3"))
    assert cuda_problem() is None


# --- the real kernels


@pytest.fixture
def gpu() -> CudaRasterizer:
    problem = cuda_problem()
    if problem is not None:
        pytest.skip(problem)
    return CudaRasterizer()


def as_installed(engine: CudaRasterizer, splats: Splats) -> Splats:
    profile = render_profile("gsplat-1.4" if engine._version.startswith("1.4") else "gsplat-1.5")
    return Splats(*splats.tensors().values(), profile=profile)


@pytest.mark.gpu
def test_gpu_render(gpu: CudaRasterizer) -> None:
    splats, camera = as_installed(gpu, make_splats(300)), make_camera()
    view, expected = gpu.render(splats, camera), OracleRasterizer().render(splats, camera)
    clear = ~expected.info["borderline"]
    for name in ("colors", "alpha"):
        ours = getattr(view, name).detach().cpu().double()
        torch.testing.assert_close(ours[clear], getattr(expected, name)[clear], rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_gpu_info_serves_the_densification_of_gsplat(gpu: CudaRasterizer) -> None:
    strategies = pytest.importorskip("gsplat.strategy")
    splats = as_installed(gpu, make_splats(30)).to(gpu.device)
    names = ("means", "quats", "scales", "opacities", "sh")
    parameters = {
        name: torch.nn.Parameter(tensor) for name, tensor in zip(names, splats.tensors().values(), strict=True)
    }
    optimizers = {name: torch.optim.Adam([parameter]) for name, parameter in parameters.items()}
    view = gpu.render(Splats(*parameters.values(), profile=splats.profile), make_camera(), absgrad=True)
    strategy = strategies.DefaultStrategy(absgrad=True)
    state = strategy.initialize_state()
    strategy.step_pre_backward(parameters, optimizers, state, 1, view.info)
    view.colors.square().sum().backward()
    strategy.step_post_backward(parameters, optimizers, state, 1, view.info)
    assert float(state["grad2d"].sum()) > 0.0


@pytest.mark.gpu
def test_gpu_votes(gpu: CudaRasterizer) -> None:
    splats, camera, labels = as_installed(gpu, make_splats(300)), make_camera(), block_labels(4)
    clear = ~OracleRasterizer().render(splats, camera).info["borderline"]
    votes = gpu.votes(splats, camera, labels, pixel_mask=clear)
    expected = OracleRasterizer().votes(splats, camera, labels, pixel_mask=clear)
    assert votes.seen.is_cuda
    error = (votes.dense().cpu().double() - expected.dense()).abs() / expected.dense().clamp_min(1e-2)
    # gsplat walks back from 1 - alpha in float32, which knows the transmittance of an opaque pixel to 3e-4 only.
    assert float(error.max()) < 1e-3


@pytest.mark.gpu
def test_gpu_gradients(gpu: CudaRasterizer) -> None:
    camera = make_camera()
    clear = ~OracleRasterizer().render(as_installed(gpu, make_splats(100)), camera).info["borderline"]
    weight = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(2)) * clear[..., None]
    gradients = []
    for rasterizer in (gpu, OracleRasterizer()):
        splats = as_installed(gpu, make_splats(100))
        for tensor in splats.tensors().values():
            tensor.requires_grad_()
        view = rasterizer.render(splats, camera, absgrad=True)
        (view.colors * weight.to(view.colors)).sum().backward()
        assert view.info["means2d"].grad is not None and view.info["means2d"].absgrad is not None
        gradients.append([gradient(tensor) for tensor in splats.tensors().values()])
    for ours, expected in zip(*gradients, strict=True):
        assert float((ours - expected).norm()) <= 1e-3 * float(expected.norm())
