"""From clicks in a view to an object in 3D: prompts carried over views.

What a click means is asked in every view that shows the clicked point, and settled by what the answers have in common
in 3D. What is then known of the object is drawn into view after view, the segmenter is asked about what is to be seen
there, and of its masks the one that fits best says more about the object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.masks.segmenter import Prompts
from splatseg_ns.segmentation.clicked_scene import Answers, ClickedScene, ClickedView
from splatseg_ns.segmentation.clicks import Clicks, ViewClicks
from splatseg_ns.segmentation.consensus import Candidate, Hypothesis, hypotheses
from splatseg_ns.segmentation.mask_points import clearly_violated, confident_points, main_parts, violated
from splatseg_ns.segmentation.partial import Guess, PartialObject
from splatseg_ns.segmentation.prompts import ObjectPrompts
from splatseg_ns.segmentation.view_choice import step_by_step

_LEAST_PIXELS = 40
"""An object of fewer pixels is not asked for: nothing of use would come back."""

_DOUBLING = 0.06
"""How much less masks may agree if the object is twice as large: parts fit as well as wholes, but wholes are meant."""

_CONTAINED, _FAR_LARGER = 0.8, 2.0
"""A part has this share of its Gaussians in its whole, and is doubled at most so often in it: a table is no whole."""

_CONTRADICTED = 0.15
"""How much less masks may agree for each click that they heed."""

_MASS_BEFORE = 2.0
"""What is known from before counts as if each Gaussian had been seen on this many pixels."""

_SAME = 0.75
"""Two objects whose Gaussians have a higher IoU are one."""


@dataclass(frozen=True)
class Propagate:
    """How clicks are carried over views."""

    views: int = 16
    """How many views are asked about an object, if as many show it."""

    least_agreement: float = 0.5
    """A mask whose IoU with what is expected in its view is lower says nothing."""

    consensus: bool = True
    """Settle by many views how much a click means; else by the segmenter's own score in the clicked view."""

    self_prompts: bool = True
    """Ask by a box and points of what is expected in a view; else by the projected clicks alone."""

    best_fitting: bool = True
    """Take of the segmenter's masks the one that fits what is expected; else the one it scores highest."""

    occlusion: bool = True
    """Never carry a click into a view where something stands before the clicked point."""

    considered: int = 4
    """How many meanings of a click are looked at."""

    trial_views: int = 6
    """In how many views each of them is tried before one is chosen."""

    def __post_init__(self) -> None:
        if self.views < 1 or self.considered < 1 or self.trial_views < 1:
            raise ValueError("views, considered and trial_views are at least 1")
        if not 0.0 <= self.least_agreement <= 1.0:
            raise ValueError(f"least_agreement is a number from 0 to 1, got {self.least_agreement}")


@dataclass(frozen=True, eq=False)
class UsedMask:
    """The mask that a view gave, and whether it counted."""

    view: str
    mask: Tensor  # [h, w] bool, at the view's working size
    agreement: float
    """IoU with what was expected, where something was known."""

    accepted: bool


@dataclass(frozen=True)
class Meaning:
    """One thing that the clicks may have meant."""

    gaussians: int
    support: float
    agreement: float


@dataclass(frozen=True, eq=False)
class FoundObject:
    """What the clicks meant."""

    prompts: ObjectPrompts
    known: PartialObject
    masks: tuple[UsedMask, ...]
    meanings: tuple[Meaning, ...]
    """What was considered; the first was chosen."""

    @property
    def agreement(self) -> float:
        """The mean over the masks that count."""
        counted = [used.agreement for used in self.masks if used.accepted]
        return sum(counted) / max(len(counted), 1)


@dataclass
class _Carried:
    """An object on its way over the views."""

    hypothesis: Hypothesis
    known: PartialObject
    """From the masks of the views that it was carried to."""

    masks: list[UsedMask] = field(default_factory=list)
    contradictions: int = 0
    """How many clicks it is on the wrong side of, as far as it has been carried."""

    @property
    def expected(self) -> PartialObject:
        """All that is known so far."""
        return self.hypothesis.known + self.known

    @property
    def settled(self) -> PartialObject:
        """What the object is in the end."""
        return self.known if any(used.accepted for used in self.masks) else self.hypothesis.known

    @property
    def agreement(self) -> float:
        """The mean over all masks, those that do not count included."""
        return sum(used.agreement for used in self.masks) / max(len(self.masks), 1)

    @property
    def fit(self) -> float:
        """The mean agreement over views, of the answers to clicks and of those to what was expected."""
        clicked, carried = self.hypothesis.views, len(self.masks)
        return (clicked * self.hypothesis.support + carried * self.agreement) / max(clicked + carried, 1)

    @property
    def meaning(self) -> Meaning:
        return Meaning(int(self.settled.rows.sum()), self.hypothesis.support, self.agreement)


def find_object(
    scene: ClickedScene,
    prompts: ObjectPrompts,
    config: Propagate = Propagate(),
    progress: Callable[[int, int], None] | None = None,
    before: PartialObject | None = None,
) -> FoundObject:
    """The object that the prompts point at; ``before`` is what was known of it when there were fewer clicks."""
    with torch.no_grad():
        return _Search(scene, prompts, config, progress or _quiet, before).run()


def _quiet(done: int, total: int) -> None:
    pass


class _Search:
    """One object being looked for."""

    def __init__(
        self,
        scene: ClickedScene,
        prompts: ObjectPrompts,
        config: Propagate,
        progress: Callable[[int, int], None],
        before: PartialObject | None,
    ) -> None:
        self._scene, self._prompts, self._config, self._progress = scene, prompts, config, progress
        self._before = before
        self._clicks = Clicks.of(scene, prompts.checked(prompts.level), config.occlusion)
        if not self._clicks.on:
            self._clicks = replace(self._clicks, on=(self._middle_of_box(self._clicks.views[0]),))
        self._done = 0

    def run(self) -> FoundObject:
        self._views = self._chosen_views()
        with self._scene.reading_ahead(self._views):
            meant = self._meant()
            return self._found([*self._corrected(meant), *meant])

    def _corrected(self, meant: Sequence[Hypothesis]) -> list[Hypothesis]:
        """What was known before, as a meaning among others; it weighs little, so that new clicks can change it.

        How well it is supported is left open: it counts as the best supported of the others.
        """
        if not self._has_before:
            return []
        assert self._before is not None
        usual = float(self._before.seen[self._before.rows].median())
        known = self._before.weighted(_MASS_BEFORE / max(usual, _MASS_BEFORE))
        best = max(meant, key=lambda hypothesis: hypothesis.support, default=None)
        return [Hypothesis(known, 1.0, 1) if best is None else replace(best, known=known)]

    @property
    def _has_before(self) -> bool:
        return self._before is not None and bool(self._before.rows.any())

    def _found(self, meant: Sequence[Hypothesis]) -> FoundObject:
        """The best of what may be meant, carried over all views."""
        config = self._config
        trials = [_Carried(hypothesis, PartialObject.nothing(self._scene.splats)) for hypothesis in meant]
        step = math.ceil(len(self._views) / config.trial_views) if len(trials) > 1 else 1
        rest = [view for place, view in enumerate(self._views) if place % step]
        for trial in trials:
            self._carry(trial, self._views[::step])
        finished: set[int] = set()
        # What looked best in a few views may look worse in all of them than another does.
        while id(best := self._ranked(trials)[0]) not in finished:
            self._carry(best, rest)
            finished.add(id(best))
        if self._prompts.level in ("part", "group"):
            best = self._beside(best, trials, larger=self._prompts.level == "group")
            if id(best) not in finished:
                self._carry(best, rest)
        if not bool(best.settled.rows.any()):
            raise ValueError(
                f"{self._prompts.name}: the segmenter finds nothing there that several views agree on; click elsewhere "
                "on the object, or draw a box around it"
            )
        others = [trial for trial in self._ranked(trials) if trial is not best]
        return FoundObject(
            self._prompts, best.settled, tuple(best.masks), tuple(trial.meaning for trial in (best, *others))
        )

    def _beside(self, best: _Carried, trials: Sequence[_Carried], larger: bool) -> _Carried:
        """The best of what is larger, or smaller, than what the views agree on best."""
        rows = best.settled.rows
        others = [
            trial
            for trial in trials
            if (trial.meaning.gaussians > best.meaning.gaussians) == larger and _iou(trial.settled.rows, rows) < _SAME
        ]
        if not others:
            raise ValueError(
                f"{self._prompts.name}: nothing {'larger' if larger else 'smaller'} was found there than what --level "
                "auto finds; click somewhere else, or add clicks"
            )
        return self._ranked(others)[0]

    def _ranked(self, trials: Sequence[_Carried]) -> list[_Carried]:
        """What fits, less what the clicks contradict; a whole comes before a part of it that fits a little better."""
        fits = {id(trial): trial.fit - _CONTRADICTED * trial.contradictions for trial in trials}
        best = max(trials, key=lambda trial: fits[id(trial)])

        def merit(trial: _Carried) -> float:
            return fits[id(trial)] + _DOUBLING * _doublings(trial.settled.rows, best.settled.rows)

        return sorted(trials, key=merit, reverse=True)

    def _chosen_views(self) -> list[ClickedView]:
        """The clicked views, and others in such an order that each is near to one before it."""
        target = torch.stack(self._clicks.on).mean(dim=0)
        clicked = [clicks.view for clicks in self._clicks.views]
        others = [
            view for view in self._scene.views_of(target, self._config.views) if not self._clicks.were_made_in(view)
        ]
        others = others[: max(self._config.views - len(clicked), 0)]
        near = step_by_step(
            [view.direction_to(target) for view in clicked], [view.direction_to(target) for view in others]
        )
        return clicked + [others[place] for place in near]

    # What is meant

    def _meant(self) -> list[Hypothesis]:
        """What the clicks may mean."""
        if not self._config.consensus:
            return [self._of_clicked_view()]
        candidates: list[Candidate] = []
        for place, view in enumerate(self._views):
            if (prompts := self._clicks.seen_in(view)) is None:
                continue
            answers = view.ask(prompts)
            for known, score in self._fitting(view, prompts, answers):
                candidates.append(Candidate(place, score, known))
            self._progress(place + 1, 2 * len(self._views))
        if not candidates and not self._has_before:
            raise ValueError(
                f"{self._prompts.name}: the segmenter finds no mask that has all clicks on the object inside and the "
                "others outside; take some back, or draw a box"
            )
        # Each further click leaves less open.
        clicks = sum(len(entry.points) + len(entry.negative) for entry in self._clicks.views)
        return hypotheses(candidates, max(self._config.considered + 1 - clicks, 1))

    def _of_clicked_view(self) -> Hypothesis:
        """The mask that the segmenter scores highest in the first clicked view."""
        clicks = self._clicks.views[0]
        answers = clicks.view.ask(clicks.prompts())
        place = int(answers.scores.argmax())
        known = clicks.view.lifted(answers.masks[place : place + 1])[0]
        return Hypothesis(known, float(answers.scores[place]), 1)

    def _fitting(self, view: ClickedView, prompts: Prompts, answers: Answers) -> list[tuple[PartialObject, float]]:
        """The masks that agree with the clicks, as what they say about the Gaussians."""
        fits = [
            place
            for place, mask in enumerate(answers.masks)
            if int(mask.sum()) >= _LEAST_PIXELS and violated(mask, prompts) == 0
        ]
        return [
            (known, float(answers.scores[place]))
            for place, known in zip(fits, view.lifted(answers.masks[fits]) if fits else (), strict=True)
        ]

    def _middle_of_box(self, clicks: ViewClicks) -> Tensor:  # [3]
        """A point of what the segmenter sees in a box."""
        answers = clicks.view.ask(clicks.prompts())
        for place in answers.scores.argsort(descending=True).tolist():
            for pixel in confident_points(answers.masks[place].numpy(), 1):
                if (point := clicks.view.surfaces.point(*pixel)) is not None:
                    return point
        raise ValueError(f"view {clicks.view.name}: the segmenter finds nothing in the box; draw another one")

    # Over the views

    def _carry(self, carried: _Carried, views: Sequence[ClickedView]) -> None:
        """Let the object be looked for in some views, one after the other."""
        for view in views:
            self._ask(carried, view)
            self._done += 1
            self._progress(min(len(self._views) + self._done, 2 * len(self._views)), 2 * len(self._views))
        carried.contradictions = sum(
            clearly_violated(clicks.view.guess(carried.settled).inside(), clicks.prompts())
            for clicks in self._clicks.views
        )

    def _ask(self, carried: _Carried, view: ClickedView) -> None:
        """Let one view say more about the object."""
        config = self._config
        guess = view.guess(carried.expected)
        clicks = self._clicks.seen_in(view)
        prompts = self._question(guess, clicks, view) if config.self_prompts else clicks
        if prompts is None:
            return
        answers = view.ask(prompts)
        agreement = guess.agreement(answers.masks)
        merit = agreement if config.best_fitting else answers.scores.clone()
        if self._clicks.were_made_in(view) and clicks is not None:
            # Here the user has said what is inside and what is not.
            merit = merit - torch.tensor([float(violated(mask, clicks)) for mask in answers.masks])
        best = int(merit.argmax())
        agrees = float(agreement[best])
        accepted = agrees >= config.least_agreement
        carried.masks.append(UsedMask(view.name, answers.masks[best], agrees, accepted))
        if accepted:
            weight = agrees if config.best_fitting else 1.0
            carried.known += view.lifted(answers.masks[best : best + 1])[0].weighted(weight)

    def _question(self, guess: Guess, clicks: Prompts | None, view: ClickedView) -> Prompts | None:
        """A box around what is expected, some points in it, and the clicks that are to be seen."""
        main = main_parts(guess.inside().numpy())
        if int(main.sum()) < _LEAST_PIXELS:
            return None
        sure = ((guess.share > 0.8) & (guess.known > 0.6)).numpy() & main
        points = confident_points(sure, 3) or confident_points(main, 1)
        on, off = [], []
        if clicks is not None and (self._clicks.were_made_in(view) or self._clicks.count > 1):
            for pixel, positive in zip(clicks.points[0].tolist(), clicks.positive[0].tolist(), strict=True):
                (on if positive else off).append((pixel[0], pixel[1]))
        if not points and not on:
            return None
        rows, columns = (np.flatnonzero(main.any(axis=axis)) for axis in (1, 0))
        return Prompts.of([*points, *on], off, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))


def _iou(one: Tensor, other: Tensor) -> float:
    return float((one & other).sum()) / max(float((one | other).sum()), 1.0)


def _doublings(whole: Tensor, part: Tensor) -> float:
    """How often a part is doubled in a whole; 0 if it is no part of it, or if that is far larger."""
    sizes = float(whole.sum()), float(part.sum())
    if min(sizes) == 0.0 or float((whole & part).sum()) < _CONTAINED * sizes[1]:
        return 0.0
    doublings = math.log2(sizes[0] / sizes[1])
    return doublings if 0.0 < doublings <= _FAR_LARGER else 0.0
