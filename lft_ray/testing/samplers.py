"""Contract of samplers for ``search.sampler``, as `lft_ray.search.samplers.proposer` uses them.

In: your factory ``(seed, startup_trials) -> optuna.samplers.BaseSampler``. Out: passed or failed tests. Never trains.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

__all__ = ["SamplerContract"]

STARTUP = 4
Proposal = dict[str, Any]
Make = Callable[[int, int], "BaseSampler"]


def space() -> dict[str, Any]:
    """Return a search space like that of a study: indices of ordered lists, a learning rate, unordered methods."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    return {
        "model_size": IntDistribution(0, 3),
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "epochs": IntDistribution(0, 2),
        "method": CategoricalDistribution(["full", "lora"]),
    }


def finished(count: int) -> list["FrozenTrial"]:
    """Return finished trials with both objectives: larger sizes cost more and have a lower error."""
    import numpy as np
    from optuna.trial import TrialState, create_trial

    rng, trials = np.random.default_rng(0), []
    for number in range(count):
        rate = float(np.exp(rng.uniform(np.log(1e-5), np.log(1e-3))))
        params: dict[str, Any] = {
            "model_size": number % 4,
            "learning_rate": rate,
            "epochs": int(rng.integers(0, 3)),
            "method": ["full", "lora"][number % 2],
        }
        error = 0.3 - 0.05 * params["model_size"] + 0.02 * abs(np.log10(rate) + 4.0)
        values = [-1.0 + 0.2 * params["model_size"], float(np.log10(error))]
        trials.append(create_trial(state=TrialState.COMPLETE, values=values, params=params, distributions=space()))
    return trials


class SamplerContract:
    """Subclass it with a fixture ``make_sampler``."""

    @pytest.fixture
    def make_sampler(self) -> Make:
        """Your factory, called as ``make_sampler(seed, startup_trials)``."""
        pytest.fail("a subclass of SamplerContract needs a fixture make_sampler: your factory")

    def propose(self, make_sampler: Make, seed: int, known: list["FrozenTrial"]) -> Proposal:
        """Return one proposal of an in-memory study with a new sampler, as the search requests it."""
        import optuna

        sampler = make_sampler(seed, STARTUP)
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        study.add_trials(known)
        return study.ask(space()).params

    @pytest.mark.parametrize("count", [0, 1, STARTUP, 12])
    def test_a_proposal_lies_in_the_space(self, make_sampler: Make, count: int) -> None:
        proposal = self.propose(make_sampler, 0, finished(count))
        assert set(proposal) == set(space())
        for name, distribution in space().items():
            assert distribution._contains(distribution.to_internal_repr(proposal[name])), (name, proposal[name])

    @pytest.mark.parametrize("count", [0, 12])
    def test_the_same_seed_and_trials_give_the_same_proposal(self, make_sampler: Make, count: int) -> None:
        """Samplers are not saved: a resumed search must propose the same configurations as an uninterrupted one."""
        first, second = (self.propose(make_sampler, 7, finished(count)) for _ in range(2))
        assert first == second

    def test_different_seeds_give_different_proposals(self, make_sampler: Make) -> None:
        proposals = [self.propose(make_sampler, seed, []) for seed in range(8)]
        assert any(proposal != proposals[0] for proposal in proposals)

    def test_failed_trials_are_accepted(self, make_sampler: Make) -> None:
        from optuna.trial import TrialState, create_trial

        failed = create_trial(state=TrialState.FAIL, params=finished(1)[0].params, distributions=space())
        assert set(self.propose(make_sampler, 0, [*finished(6), failed])) == set(space())
