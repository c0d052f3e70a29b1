"""The background bias, chosen by held-out views."""

from __future__ import annotations

import pytest

from splatseg_ns.lift import FlashSplat, Folds, choose_gamma, held_out_agreement
from splatseg_ns.lift.solvers.flashsplat import strongest_labels
from tests.lift.examples import votes_of


def chosen(folds: Folds) -> float:
    return choose_gamma(folds, lambda ranking, gamma: strongest_labels(ranking, gamma, "l1"))


def test_clear_votes_need_no_bias():
    part = votes_of([[9.0, 1.0], [1.0, 9.0], [0.0, 8.0]], ids=[0, 1])
    assert chosen(Folds((part, part))) == 0.0


def test_the_smallest_bias_that_is_as_good_as_the_best_is_chosen():
    # All of object 1 has the share .44: without it the IoU is 0, with it .44. It wins over .56 + gamma below -.12.
    part = votes_of([[56.0, 44.0], [28.0, 22.0], [9.0, 0.0]], ids=[0, 1])
    assert chosen(Folds((part, part))) == -0.2


def test_held_out_agreement_judges_each_fold_by_the_others():
    first = votes_of([[1.0, 3.0], [3.0, 1.0]], ids=[0, 1])
    second = votes_of([[4.0, 1.0], [1.0, 4.0]], ids=[0, 1])
    folds = Folds((first, second))
    labels = [FlashSplat().decide(votes) for votes in folds.others]
    # The second fold gives object 1 the second Gaussian: in the first fold 1 of 4 + 4 - 1 = 7. The first fold gives it
    # the first: in the second fold 1 of 5 + 5 - 1 = 9.
    assert abs(held_out_agreement(folds, labels) - (1 / 7 + 1 / 9) / 2) < 1e-12


def test_an_empty_fold_judges_nothing():
    part = votes_of([[9.0, 1.0], [1.0, 9.0]], ids=[0, 1])
    empty = votes_of([[0.0, 0.0], [0.0, 0.0]], ids=[0, 1])
    assert chosen(Folds((part, empty, empty))) == 0.0
    assert chosen(Folds((empty, empty))) == 0.0


def test_one_fold_cannot_be_held_out():
    with pytest.raises(ValueError, match="two folds or more"):
        chosen(Folds((votes_of([[1.0]], ids=[0]),)))
