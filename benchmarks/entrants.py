"""The solvers that are measured."""

from __future__ import annotations

from splatseg_ns.lift import FlashSplat, Gradient, Robust, Solver

ABLATIONS: dict[str, Solver] = {
    "robust": Robust(),
    "robust, one round": Robust(rounds=1),
    "robust, edges stay": Robust(reach=0.0),
    "robust, no blind zones": Robust(blind_zones=False),
    "robust, no renaming": Robust(rename=False),
    "robust, views vouch for themselves": Robust(leave_one_out=False),
    "robust, rejection alone": Robust(reach=0.0, rename=False),
}
"""The default solver, and it with one part after the other left out."""

SOLVERS: dict[str, Solver] = {
    "flashsplat L1": FlashSplat(),
    "flashsplat L1, gamma -.4": FlashSplat(-0.4),
    "flashsplat L1, gamma +.4": FlashSplat(0.4),
    "flashsplat L2": FlashSplat(norm="l2"),
    "flashsplat L2, gamma -.4": FlashSplat(-0.4, "l2"),
    "flashsplat L2, gamma +.4": FlashSplat(0.4, "l2"),
    "gradient": Gradient(),
    "gradient, binary": Gradient("binary"),
    "gradient, projection": Gradient("projection"),
    **ABLATIONS,
}

ARGMAX = FlashSplat()
"""What every solver is compared with."""
