"""Small documents to test with."""

from __future__ import annotations

import torch

from splatseg_ns.lift.votes import Votes
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import Provenance, SceneObject, Segmentation
from tests.scene.examples import random_splats

NAMES = {1: "bear", 2: "cup", 5: "knife"}


def example_splats(count: int = 60) -> Splats:
    return random_splats(count, degree=0)


def example_votes(count: int, mass: float = 1.0) -> Votes:
    """Each Gaussian has mass for its own label among 0, 1 and 2."""
    return Votes(
        ids=torch.tensor([0, 1, 2]),
        offsets=torch.arange(count + 1),
        columns=torch.arange(count, dtype=torch.int32) % 3,
        mass=torch.full((count,), mass, dtype=torch.float64),
        seen=torch.full((count,), mass, dtype=torch.float64),
    )


def example_document(splats: Splats, seed: int = 0, votes: Votes | None = None) -> Segmentation:
    """Three objects with random labels, some Gaussians never seen."""
    choice = torch.randint(0, 5, (len(splats),), generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor([-1, 0, *NAMES])[choice]
    made = Provenance(({"click": (3, 4.5), "view": "frame_1"},), "robust", {"gamma": 0.25, "steps": [1, 2]})
    objects = [SceneObject.new(id, name, made if id == 2 else None) for id, name in NAMES.items()]
    return Segmentation.of(splats, labels, objects, votes).with_entry("label", masks="labels", views=48)


def state(document: Segmentation) -> tuple[object, ...]:
    """Everything in a document, so that two can be compared for being the same bit for bit."""
    votes = document.votes()
    return (
        document.objects,
        document.labels.tolist(),
        document.fingerprint,
        document.profile,
        document.history,
        document.next_id,
        document.background_visible,
        None if votes is None else {name: tensor.tolist() for name, tensor in vars(votes).items()},
    )
