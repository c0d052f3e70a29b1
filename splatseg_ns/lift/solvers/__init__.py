"""Solvers by name: config dataclasses that count votes and decide by them."""

from __future__ import annotations

from typing import Any

from splatseg_ns.lift.solvers.evidence import Evidence as Evidence
from splatseg_ns.lift.solvers.evidence import Solution as Solution
from splatseg_ns.lift.solvers.evidence import Solver as Solver
from splatseg_ns.lift.solvers.flashsplat import FlashSplat as FlashSplat
from splatseg_ns.lift.solvers.gradient import Gradient as Gradient
from splatseg_ns.lift.solvers.robust import Robust as Robust

SOLVERS: dict[str, type[FlashSplat] | type[Gradient] | type[Robust]] = {
    "flashsplat": FlashSplat,
    "gradient": Gradient,
    "robust": Robust,
}

DEFAULT_SOLVER = "robust"


def solver_named(name: str, **options: Any) -> Solver:
    """The solver of a name with some of its options set, as a command line or a saved document states them."""
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}; choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name](**options)


def name_of(solver: Solver) -> str:
    """What a solver is registered as."""
    return next(name for name, kind in SOLVERS.items() if type(solver) is kind)
