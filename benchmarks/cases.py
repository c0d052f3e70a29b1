"""What is measured: scenes, the jobs that are done on them, and who does them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import tile_torch
from benchmarks.prototype import Prototype
from benchmarks.rooms import patchwork_labels
from splatseg_ns.raster.cpu import CpuRasterizer, available_isas
from splatseg_ns.raster.cuda import CudaRasterizer, cuda_problem
from splatseg_ns.raster.interface import Rasterizer
from splatseg_ns.scene import Camera, Splats

LABEL_COUNTS = (2, 66, 256)

VOTES = {count: f"votes {count}" for count in LABEL_COUNTS}
"""The name of the job by the number of labels."""

Stages = dict[str, float]
"""Seconds by the name of the stage, as far as they are told."""

Job = Callable[[], Stages]


@dataclass(frozen=True)
class Scene:
    """Splats in one view."""

    name: str
    splats: Splats
    camera: Camera

    def labels(self, count: int) -> Tensor:  # [H, W]
        """The same map for everybody."""
        return patchwork_labels(self.camera, count)

    def uncut(self) -> Scene:
        """The same scene with every pixel of the 1/255 ellipse drawn, as the prototype does."""
        profile = replace(self.splats.profile, name="ellipse", extent="ellipse")
        return replace(self, splats=replace(self.splats, profile=profile))

    def save(self, path: Path) -> None:
        """Write the tensors, for a process that measures memory and must not have made them itself."""
        size = torch.tensor([self.camera.width, self.camera.height])
        torch.save({**self.splats.tensors(), "viewmat": self.camera.viewmat, "K": self.camera.K, "size": size}, path)

    @staticmethod
    def load(path: Path) -> Scene:
        """What was saved, with the default render profile."""
        tensors = torch.load(path, weights_only=True)
        width, height = tensors.pop("size").tolist()
        camera = Camera(tensors.pop("viewmat"), tensors.pop("K"), width, height)
        return Scene(path.stem, Splats(**tensors), camera)


@dataclass(frozen=True)
class Contestant:
    """Someone who does some of the jobs on one scene with a number of threads."""

    name: str
    threads: int
    jobs: dict[str, Job]

    most_rounds: int = 1_000
    """Slow ones need not do every round."""

    @property
    def title(self) -> str:
        return f"{self.name}, {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else self.name


def cpu_contestant(scene: Scene, isa: str, threads: int, *, uncut: bool = False) -> Contestant:
    """The CPU engine with one instruction set."""
    engine = CpuRasterizer(threads=threads, isa=isa)
    jobs = engine_jobs(engine, scene.uncut() if uncut else scene)
    if uncut:
        jobs = {name: job for name, job in jobs.items() if name in VOTES.values()}
    return Contestant(f"CPU {isa}{' uncut' if uncut else ''}", threads, jobs)


def tile_torch_contestant(scene: Scene, threads: int) -> Contestant:
    """The per-tile vectorised torch version."""

    def forward() -> Stages:
        tile_torch.forward(scene.splats, scene.camera)
        return {}

    def votes(count: int) -> Job:
        labels = scene.labels(count)

        def job() -> Stages:
            tile_torch.votes(scene.splats, scene.camera, labels, count)
            return {}

        return job

    jobs = {"forward": forward, **{name: votes(count) for count, name in VOTES.items()}}
    return Contestant("per-tile torch", threads, jobs, most_rounds=3)


def prototype_contestant(scene: Scene, library: Path, isa: str, threads: int) -> Contestant:
    """The prototype; its dense results are shared by all label counts, since it only adds to them."""
    prototype = Prototype(library, scene.splats, scene.camera, threads)

    def votes(count: int) -> Job:
        labels = scene.labels(count).numpy().astype(np.uint16)
        mass = np.empty((len(scene.splats), count), np.float32)
        # Written to once, so that no round pays for the first touch of the memory.
        mass.fill(0.0)
        return lambda: prototype.votes(labels, mass)

    return Contestant(f"prototype {isa}", threads, {name: votes(count) for count, name in VOTES.items()})


def contestants(scene: Scene, threads: list[int], prototypes: dict[str, Path]) -> Iterator[Contestant]:
    """Everybody who can run here; the prototype by the instruction set that it was compiled for."""
    for count in threads:
        for isa in available_isas():
            yield cpu_contestant(scene, isa, count)
        for isa, library in prototypes.items():
            yield prototype_contestant(scene, library, isa, count)
            if isa in available_isas():
                yield cpu_contestant(scene, isa, count, uncut=True)
    yield tile_torch_contestant(scene, max(threads))
    problem = cuda_problem()
    if problem is None:
        yield Contestant("CUDA", 0, engine_jobs(CudaRasterizer(), scene))
    else:
        print(f"no CUDA engine: {problem}")


def engine_jobs(engine: Rasterizer, scene: Scene) -> dict[str, Job]:
    """All jobs of an engine with the common interface."""
    splats, camera = scene.splats.to(engine.device), scene.camera.to(engine.device)

    def finish() -> Stages:
        if engine.device.type == "cuda":
            torch.cuda.synchronize()
        return dict(getattr(engine, "stage_seconds", {}))

    def forward() -> Stages:
        with torch.no_grad():
            engine.render(splats, camera)
        return finish()

    def votes(count: int) -> Job:
        labels = scene.labels(count).to(engine.device)

        def job() -> Stages:
            engine.votes(splats, camera, labels)
            return finish()

        return job

    def backward() -> Stages:
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in splats.tensors().items()}
        start = time.perf_counter()
        view = engine.render(Splats(**leaves, profile=splats.profile), camera)
        stages = finish()
        drawn = time.perf_counter()
        cotangents = [torch.ones_like(view.colors), torch.ones_like(view.alpha)]
        torch.autograd.grad([view.colors, view.alpha], list(leaves.values()), cotangents)
        stages = {**stages, **finish()}
        return {**stages, "forward call": drawn - start, "backward call": time.perf_counter() - drawn}

    return {"forward": forward, **{name: votes(count) for count, name in VOTES.items()}, "backward": backward}
