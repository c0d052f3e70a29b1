"""The background bias, chosen by how well some views predict the masks of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from splatseg_ns.lift.agreement import vote_agreement
from splatseg_ns.lift.folds import Folds
from splatseg_ns.lift.labels import Labels
from splatseg_ns.lift.ranking import Ranking

AUTO_FOLDS = 4
"""Parts that the views are dealt into where gamma is chosen."""

CANDIDATES = tuple(step / 10 for step in range(-9, 10))

NOT_WORTH_A_BIAS = 0.002
"""A bias must gain more than this in held-out IoU over a smaller one."""


def held_out_agreement(
    folds: Folds,
    labels: Sequence[Labels],  # for each fold those that the other folds decide
) -> float:
    """The mean over folds of the agreement of what the others decide with the masks of this one."""
    scores = [
        vote_agreement(decided, part) for decided, part in zip(labels, folds.parts, strict=True) if len(part.mass)
    ]
    return sum(scores) / len(scores) if scores else 1.0


def choose_gamma(
    folds: Folds,
    decide: Callable[[Ranking, float], Labels],
    candidates: Sequence[float] = CANDIDATES,
) -> float:
    """The bias with the best held-out agreement; of those that are nearly as good as the best, the smallest."""
    if len(folds) < 2:
        raise ValueError("gamma is chosen by held-out views: count the votes in two folds or more")
    rankings = [Ranking.of(votes) for votes in folds.others]
    scores = {
        gamma: held_out_agreement(folds, [decide(ranking, gamma) for ranking in rankings]) for gamma in candidates
    }
    good_enough = max(scores.values()) - NOT_WORTH_A_BIAS
    return min((gamma for gamma, score in scores.items() if score >= good_enough), key=abs)
