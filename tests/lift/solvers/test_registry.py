"""Solvers by name."""

from __future__ import annotations

import pytest

from splatseg_ns.lift import DEFAULT_SOLVER, SOLVERS, FlashSplat, Votes, name_of, solver_named


@pytest.mark.parametrize("name", SOLVERS)
def test_names_and_solvers_belong_together(name: str):
    solver = solver_named(name)
    assert name_of(solver) == name
    assert solver.decide(Votes.zero(2, [0, 1])).ids.tolist() == [-1, -1]
    assert type(solver).__doc__


def test_options_are_handed_on():
    assert solver_named("flashsplat", gamma=0.4, norm="l2") == FlashSplat(0.4, "l2")
    assert DEFAULT_SOLVER in SOLVERS


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="flashsplat, gradient, robust"):
        solver_named("magic")
