"""What belongs to the CPU engine alone: how it is chosen, its threads, its frames."""

from __future__ import annotations

import gc
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from splatseg_ns.raster import cpu, rasterizer_for
from splatseg_ns.raster.cpu import CpuRasterizer, available_isas
from splatseg_ns.scene import Camera, Splats
from tests.raster.scenes import SCENE_BY_NAME


@pytest.fixture
def scene() -> tuple[Splats, Camera]:
    chosen = SCENE_BY_NAME["turned"]
    return chosen.splats, chosen.camera


@pytest.mark.parametrize("isa", available_isas())
def test_the_environment_chooses_instruction_set_and_threads(isa: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPLATSEG_ISA", isa)
    monkeypatch.setenv("SPLATSEG_THREADS", "3")
    engine = CpuRasterizer()
    assert (engine.isa, engine.threads) == (isa, 3)


def test_the_fastest_instruction_set_is_the_default():
    assert CpuRasterizer().isa == os.environ.get("SPLATSEG_ISA", available_isas()[0])
    assert available_isas()[-1] == "portable"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("SPLATSEG_ISA", "sse9", "this processor has no"), ("SPLATSEG_THREADS", "many", "threads .* must be a number")],
)
def test_a_wrong_environment_is_named(name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=says) as caught:
        CpuRasterizer()
    assert name in str(caught.value)


@pytest.mark.parametrize("threads", [0, -1, 256])
def test_an_impossible_number_of_threads_is_an_error(threads: int):
    with pytest.raises(ValueError, match="from 1 to 255"):
        CpuRasterizer(threads=threads)


def test_one_engine_per_device():
    assert rasterizer_for("cpu") is rasterizer_for(torch.device("cpu"))
    with pytest.raises(ValueError, match="no engine renders on 'meta'"):
        rasterizer_for("meta")


def test_python_threads_share_an_engine(scene: tuple[Splats, Camera]):
    splats, camera = scene
    engine = CpuRasterizer(threads=2)
    labels = torch.arange(camera.height * camera.width).reshape(camera.height, camera.width) % 7
    alone = engine.render(splats, camera).colors, engine.votes(splats, camera, labels).mass
    with ThreadPoolExecutor(4) as pool:
        pictures = [pool.submit(engine.render, splats, camera) for _ in range(12)]
        votes = [pool.submit(engine.votes, splats, camera, labels) for _ in range(12)]
    assert all(torch.equal(picture.result().colors, alone[0]) for picture in pictures)
    assert all(torch.equal(vote.result().mass, alone[1]) for vote in votes)


def render_sum(scene: tuple[Splats, Camera], results: multiprocessing.SimpleQueue) -> None:
    results.put(float(CpuRasterizer(threads=2).render(*scene).colors.sum()))


def test_a_forked_child_renders(scene: tuple[Splats, Camera]):
    expected = float(CpuRasterizer(threads=2).render(*scene).colors.sum())
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=render_sum, args=(scene, results))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert results.get() == expected


def test_frames_are_used_again(scene: tuple[Splats, Camera]):
    splats, camera = scene
    engine = CpuRasterizer(threads=1)
    for _ in range(5):
        engine.render(splats, camera)
    assert len(engine._idle_frames) == 1
    leaf = Splats(**{name: tensor.clone().requires_grad_() for name, tensor in splats.tensors().items()})
    for _ in range(5):
        engine.render(leaf, camera).colors.sum().backward()
    picture = engine.render(leaf, camera)
    assert not engine._idle_frames
    del picture
    gc.collect()
    assert len(engine._idle_frames) == 1


def test_a_picture_keeps_its_frame_until_it_is_differentiated(scene: tuple[Splats, Camera]):
    splats, camera = scene
    engine = CpuRasterizer(threads=1)

    def gradient(*, disturbed: bool) -> torch.Tensor:
        means = splats.means.clone().requires_grad_()
        picture = engine.render(Splats(**{**splats.tensors(), "means": means}), camera)
        if disturbed:
            engine.render(splats.subset(torch.arange(7)), camera.resized(33, 20))
        (once,) = torch.autograd.grad(picture.colors.square().sum(), means, retain_graph=True)
        (twice,) = torch.autograd.grad(picture.colors.square().sum(), means)
        assert torch.equal(once, twice)
        return once

    assert torch.equal(gradient(disturbed=True), gradient(disturbed=False))


def test_a_change_in_place_is_seen(scene: tuple[Splats, Camera]):
    splats, camera = scene
    engine = CpuRasterizer(threads=1)
    moving = Splats(**{name: tensor.clone() for name, tensor in splats.tensors().items()})
    before = engine.render(moving, camera).colors
    assert torch.equal(engine.render(moving, camera).colors, before)
    moving.logit_opacities.fill_(-20.0)
    assert not engine.render(moving, camera).colors.any()


def test_the_stages_of_a_call_are_timed(scene: tuple[Splats, Camera]):
    engine = CpuRasterizer(threads=1)
    engine.render(*scene)
    assert set(engine.stage_seconds) == {"project", "sort", "bin", "shade", "forward"}
    assert all(seconds > 0.0 for seconds in engine.stage_seconds.values())


def test_a_few_splats_are_remembered_at_a_time(scene: tuple[Splats, Camera], monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []
    activate = cpu._Gaussians.of
    monkeypatch.setattr(cpu._Gaussians, "of", lambda splats: made.append(len(splats)) or activate(splats))
    engine, (splats, camera) = CpuRasterizer(), scene
    parts = [splats.subset(torch.arange(count)) for count in (3, 4, 5)]
    for _ in range(3):
        for part in parts:
            engine.render(part, camera)
    assert made == [3, 4, 5]
    parts[0].means.add_(0.1)
    engine.render(parts[0], camera)
    assert made == [3, 4, 5, 3]
