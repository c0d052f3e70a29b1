"""How good classes of pixels are: recall and IoU of each class, averaged over pictures, then over classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from splatseg_ns.segmentation.evaluation import is_shown


@dataclass(frozen=True)
class ClassScore:
    """How good one class is, from 0 to 1; None if no picture shows it."""

    name: str
    views: int
    """In which the truth shows it on at least ``LEAST_SHARE`` of the picture: the scores are the means over these."""

    recall: float | None
    iou: float | None


@dataclass(frozen=True)
class ClassScores:
    """All classes."""

    classes: tuple[ClassScore, ...]

    @property
    def names(self) -> list[str]:
        """Of the classes."""
        return [entry.name for entry in self.classes]

    @property
    def recall(self) -> float | None:
        """The mean over the classes that are shown."""
        return _mean([entry.recall for entry in self.classes if entry.recall is not None])

    @property
    def iou(self) -> float | None:
        """The mean over the classes that are shown."""
        return _mean([entry.iou for entry in self.classes if entry.iou is not None])

    def as_json(self) -> dict[str, Any]:
        """The means, and the same of each class by its name under ``classes``."""
        scores = {entry.name: asdict(entry) for entry in self.classes}
        for entry in scores.values():
            del entry["name"]
        return {"mean_recall": self.recall, "mean_iou": self.iou, "classes": scores}


class ClassTally:
    """Collects what each picture says about each class."""

    def __init__(self, classes: Mapping[int, str]) -> None:
        """``classes``: names by the ids of the true maps."""
        self.classes = dict(classes)
        self._recalls: dict[int, list[float]] = {id: [] for id in classes}
        self._ious: dict[int, list[float]] = {id: [] for id in classes}

    def add(
        self,
        drawn: Tensor,  # [H, W] integer, ids of the true maps
        truth: Tensor,  # [H, W] integer
        counts: Tensor,  # [H, W] bool, False: the truth says nothing
    ) -> None:
        """Compare one picture with the truth."""
        for id in self.classes:
            true, ours = (truth == id) & counts, (drawn == id) & counts
            if is_shown(true, counts):
                shared = int((true & ours).sum())
                self._recalls[id].append(shared / int(true.sum()))
                self._ious[id].append(shared / int((true | ours).sum()))

    def scores(self) -> ClassScores:
        """The means so far."""
        return ClassScores(
            tuple(
                ClassScore(name, len(self._ious[id]), _mean(self._recalls[id]), _mean(self._ious[id]))
                for id, name in self.classes.items()
            )
        )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
