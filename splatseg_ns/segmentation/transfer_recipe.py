"""All that a transfer was made by, so that it can be made again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from splatseg_ns.masks import LabelFolderConfig
from splatseg_ns.masks.examples import Examples
from splatseg_ns.masks.features import Averaged, CachedFeatures, FeatureName, features_named
from splatseg_ns.masks.memory_bank import Knn, MemoryBank
from splatseg_ns.segmentation.document import Segmentation
from splatseg_ns.segmentation.transfer import Classifier, Transfer, chosen_classes

TRANSFER = "transfer"
"""The step in a history that has the recipe."""


@dataclass(frozen=True)
class FeatureConfig:
    """What patches are compared by."""

    features: FeatureName = "efficientnet"
    """efficientnet and sam come with this program; dinov2 is the published method's choice."""

    checkpoint: str | None = None
    """Of dinov2: the folder of a model, or its name on the Hugging Face hub."""

    side: int | None = None
    """Of dinov2: pixels that the longer side of a picture is brought to, 896 by default; less is faster and coarser."""

    scales: tuple[float, ...] = (1.0,)
    """Features are the mean over pictures of these sizes; 1 2 finds smaller parts and takes five times as long."""

    flip: bool = False
    """The mean over the mirror image, too."""

    def extractor(self, device: torch.device | str = "cpu") -> CachedFeatures:
        """What reads pictures, none of them twice."""
        extractor = features_named(self.features, self.checkpoint, device, self.side)
        return CachedFeatures(Averaged(extractor, self.scales, self.flip))


@dataclass(frozen=True)
class TransferRecipe:
    """Examples, features, and how they are compared."""

    examples: Path
    objects: tuple[str, ...] = ()
    """Names of the objects to which it is restricted; none: the whole scene."""

    background: bool | None = None
    """Whether what the examples leave out is an answer of its own; see ``chosen_classes``."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    transfer: Transfer = field(default_factory=Transfer)
    format: LabelFolderConfig = field(default_factory=LabelFolderConfig)
    """Of label maps of the examples."""

    def classifier(
        self,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Classifier, Examples]:
        """Read the examples."""
        examples = Examples.open(self.examples, self.format)
        extractor = self.features.extractor(device)
        bank = MemoryBank.of(extractor, examples, progress and (lambda done: progress(done, len(examples))))
        bank = chosen_classes(bank, self.background, within_objects=bool(self.objects))
        return Classifier(extractor, bank, self.transfer), examples

    def as_json(self) -> dict[str, Any]:
        """Plain values for a history."""
        content = {**asdict(self), "examples": str(self.examples.resolve())}
        checkpoint = self.features.checkpoint
        if checkpoint is not None and Path(checkpoint).exists():
            content["features"]["checkpoint"] = str(Path(checkpoint).resolve())
        knn = content["transfer"]["knn"]
        # JSON has no infinity.
        knn["temperature"] = str(knn["temperature"]) if math.isinf(knn["temperature"]) else knn["temperature"]
        return content

    @staticmethod
    def of_json(content: Mapping[str, Any]) -> TransferRecipe:
        """What ``as_json`` gave, also after a way over a file."""
        features, transfer = dict(content["features"]), dict(content["transfer"])
        knn = dict(transfer["knn"])
        return TransferRecipe(
            Path(content["examples"]),
            tuple(content["objects"]),
            content["background"],
            FeatureConfig(**{**features, "scales": tuple(features["scales"])}),
            Transfer(**{**transfer, "knn": Knn(**{**knn, "temperature": float(knn["temperature"])})}),
            LabelFolderConfig(**content["format"]),
        )


def recipe_of(parts: Segmentation, examples: Path | None = None) -> TransferRecipe | None:
    """How parts were found, with examples from another place if they have been moved; None if not by examples."""
    made = next((entry.parameters for entry in reversed(parts.history) if entry.operation == TRANSFER), None)
    if made is None:
        return None
    try:
        recipe = TransferRecipe.of_json(made)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"how the parts were found cannot be read ({error!r}); find them again with 'splatseg transfer'"
        ) from error
    return recipe if examples is None else replace(recipe, examples=examples)
