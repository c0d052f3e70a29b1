"""Training with gsplat's densification, which reads what ``render`` leaves in ``info``."""

from __future__ import annotations

import pytest
import torch
from gsplat.strategy import DefaultStrategy

from splatseg_ns.raster.interface import Rasterizer
from splatseg_ns.scene import Splats
from tests.raster.engines import GPU, make_engine
from tests.raster.scenes import camera, cloud

STEPS = 24


@pytest.fixture(params=["cpu", GPU])
def training_engine(request: pytest.FixtureRequest) -> Rasterizer:
    """The engines that train, in float32 as the strategy expects."""
    return make_engine(request.param)


@pytest.mark.parametrize("absgrad", [False, True], ids=["grad", "absgrad"])
def test_default_strategy_grows_and_prunes_while_the_loss_falls(training_engine: Rasterizer, absgrad: bool):
    torch.manual_seed(0)
    device = training_engine.device
    views = [camera(48, 40, focal=(30.0, 30.0), turn=turn).to(device) for turn in (-0.2, 0.2)]
    with torch.no_grad():
        goals = [training_engine.render(cloud(120, 1, size=0.2).to(device), view).colors for view in views]
    start = cloud(60, 2, size=0.2)
    start.logit_opacities[:5] = -8.0
    names = {
        "means": "means",
        "quats": "raw_quats",
        "scales": "log_scales",
        "opacities": "logit_opacities",
        "features": "sh",
    }
    params = torch.nn.ParameterDict(
        {name: torch.nn.Parameter(getattr(start, field).to(device)) for name, field in names.items()}
    )
    optimizers = {name: torch.optim.Adam([{"params": params[name], "lr": 0.01, "name": name}]) for name in names}
    strategy = DefaultStrategy(
        absgrad=absgrad,
        grow_grad2d=1e-4,
        refine_start_iter=4,
        refine_every=10,
        reset_every=1000,
        refine_scale2d_stop_iter=STEPS,
    )
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state(scene_scale=10.0)
    losses, counts = [], []
    for step in range(1, STEPS + 1):
        splats = Splats(**{field: params[name] for name, field in names.items()})
        picture = training_engine.render(splats, views[step % 2], absgrad=absgrad)
        strategy.step_pre_backward(params, optimizers, state, step, picture.info)
        loss = (picture.colors - goals[step % 2]).square().mean()
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        strategy.step_post_backward(params, optimizers, state, step, picture.info, packed=False)
        losses.append(float(loss.detach()))
        counts.append(len(params["means"]))
        if step == 9:
            # Before the first refinement: the sums have a row for each Gaussian, and some were seen.
            assert state["grad2d"].shape == (60,) and float(state["grad2d"].max()) > 0.0
            assert int(state["count"].max()) == 9 and float(state["radii"].max()) > 0.0
            assert counts[-1] == 60
    assert counts[9] > 60
    assert float(params["opacities"].detach().min()) > -8.0
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    assert all(bool(tensor.isfinite().all()) for tensor in params.values())
