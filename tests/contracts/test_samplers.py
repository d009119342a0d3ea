"""Every built-in sampler keeps the contract of `lft_ray.search.samplers.builtin`."""

import pytest

from lft_ray.plugins import resolve
from lft_ray.search import SAMPLERS
from lft_ray.search.samplers.priors import CostPrior
from lft_ray.testing.samplers import SamplerContract


def cost_prior() -> CostPrior:
    """What is known of the contract's own space: larger sizes cost more, and nothing has run."""
    return CostPrior(
        cost=lambda params: [(10 ** (-1.0 + 0.2 * params["model_size"]), 0.0)],
        train_usd=lambda params: 0.01 * (1 + params["model_size"]) * (1 + params["epochs"]),
        feasible=lambda params: True,
        centre=lambda params: {"learning_rate": 1e-4},
        positions={"model_size": [0.0, 1.0, 2.0, 3.0], "epochs": [0.0, 1.0, 2.0], "method": None},
    )


class TestBuiltInSamplers(SamplerContract):
    @pytest.fixture(params=sorted(SAMPLERS))
    def make_sampler(self, request):
        make = resolve(request.param, SAMPLERS, where="search.sampler")
        if request.param != "known_cost":
            return make
        return lambda seed, startup_trials: make(seed, startup_trials, cost_prior())
