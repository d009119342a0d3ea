"""Propose the next configuration. In: observed trials and pending configurations. Out: one configuration. Stateless.

Every call builds an in-memory Optuna study from its arguments, with a sampler seeded by (seed, n): equal arguments give
the same proposal in any process, so a resumed search needs no saved sampler. Never calls Ray, never writes.
"""

import inspect
import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lft_ray.plugins import resolve
from lft_ray.records import PricedVariant, ScoredVariant, TrialConfig, TrialRecord, TrialStatus
from lft_ray.search import SAMPLERS
from lft_ray.search.samplers.priors import EXPECTED_VALUE, CostPrior, expected_f1, log_error, variant_offsets
from lft_ray.search.samplers.teachers import or_in_full
from lft_ray.search.space import SearchSpace

__all__ = ["Proposer"]

T = TypeVar("T")

RESAMPLES = 3
"""Sampler calls before random draws are tried: each costs a fit, and a confident model repeats its proposal."""
DRAWS = 256
"""Random draws before the space counts as exhausted."""
RATE = "learning_rate"


class Proposer:
    """Proposes configurations with an Optuna sampler on two objectives, serving cost and F1.

    Args:
        space: search space.
        sampler: a key of `SAMPLERS` or ``package.module:Name``.
        seed: seed of the search.
        known_cost: dollars per million predictions of a configuration's reference variant (see
            `TrialRecord.reference_variant`), measured before training.
        startup_trials: finished trials before the sampler uses a model; random until then.
        variants: returns the priced variants of a configuration that meet the caps; default: the reference variant. If
            there are none, the configuration is not proposed.
        train_usd: predicted training dollars of a configuration; default: equal for all.
        default_rate: learning rate known to work for a configuration's size, or None.
        options: keyword arguments of the sampler's factory.

    The functions must not depend on the learning rate or seed of a configuration: results are cached across these.
    """

    def __init__(  # noqa: PLR0913
        self,
        space: SearchSpace,
        sampler: str,
        seed: int,
        known_cost: Callable[[TrialConfig], float],
        startup_trials: int | None = None,
        *,
        variants: Callable[[TrialConfig], Sequence[PricedVariant]] | None = None,
        train_usd: Callable[[TrialConfig], float] | None = None,
        default_rate: Callable[[TrialConfig], float | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.space = space
        self.sampler = sampler
        self.seed = seed
        self.known_cost = known_cost
        # One more trial than dimensions: the minimum that determines a linear model.
        self.startup_trials = startup_trials or len(space.dimensions) + 1
        self.variants = variants or self._reference_alone
        self.train_usd = train_usd or (lambda config: 1.0)
        self.default_rate = default_rate or (lambda config: None)
        self.options = dict(options or {})
        self._make_sampler = resolve(sampler, SAMPLERS, where="search.sampler")
        self._takes_cost_prior = "cost_prior" in inspect.signature(self._make_sampler).parameters

    def warm_up(self) -> None:
        """Import and compile the sampler's dependencies (3-5 s for the GP: torch, SciPy) while the first trials run."""
        if self.space.is_empty:
            return
        configs = [self.space.draw(random.Random(i)) for i in range(self.startup_trials + 1)]
        records = [
            TrialRecord(
                trial_id=f"t{i:03d}",
                attempt=1,
                config=config,
                status=TrialStatus.DONE,
                variants=[ScoredVariant(precision="", max_length=1, f1=i / (self.startup_trials + 1))],
            )
            for i, config in enumerate(configs)
        ]
        self._sample(0, records, [])

    def propose(
        self,
        n: int,
        observed: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """Return the n-th proposal, or None when no configuration is left to try.

        Args:
            n: number of the trial, from 0.
            observed: ended trials, in the order in which the sampler sees them.
            pending: started configurations without an observed result: running, or ended too late to be seen.
            fits: constraint on proposals, such as fitting the budget; default: none.
        """
        if self.space.is_empty:
            return None
        taken = {_key(config) for config in (*(r.config for r in observed), *pending)}
        for attempt in range(RESAMPLES):
            for config in or_in_full(self._sample(_seed(self.seed, n, attempt), observed, pending, fits)):
                if _key(config) not in taken and (fits is None or fits(config)):
                    return config
        return self._draw(n, taken, fits)

    def _draw(self, n: int, taken: set[TrialConfig], fits: Callable[[TrialConfig], bool] | None) -> TrialConfig | None:
        rng = random.Random(_seed(self.seed, n, RESAMPLES))
        if self.space.count is None or self.space.count > DRAWS:
            candidates = [self.space.draw(rng) for _ in range(DRAWS)]
        else:
            candidates = self.space.all()
            rng.shuffle(candidates)
        return next((c for c in candidates if _key(c) not in taken and (fits is None or fits(c))), None)

    def _sample(
        self,
        seed: int,
        observed: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        known = {"cost_prior": self._cost_prior(observed, pending, fits)} if self._takes_cost_prior else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = self._make_sampler(seed, self.startup_trials, **known, **self.options)
            study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
            distributions = self.space.distributions()
            for trial in self._trials(observed, pending, distributions):
                study.add_trial(trial)
            return self.space.decode(study.ask(distributions).params)

    def _cost_prior(
        self,
        observed: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None,
    ) -> CostPrior:
        decode = self.space.decode
        offsets = variant_offsets(observed)
        taken = {_key(config) for config in (*(r.config for r in observed), *pending)}
        is_affordable = _cached_across_rates(decode, fits or (lambda config: True))

        def variants(config: TrialConfig) -> list[tuple[float, float]]:
            return [
                (v.usd_per_million_predictions, offsets.get((config.model_size, v.precision, v.max_length), 0.0))
                for v in self.variants(config)
            ]

        def centre(config: TrialConfig) -> dict[str, float]:
            rate = self.default_rate(config)
            return {} if rate is None else {RATE: math.log10(rate) if self._is_rate_log else rate}

        return CostPrior(
            cost=_cached_across_rates(decode, variants),
            train_usd=_cached_across_rates(decode, self.train_usd),
            feasible=lambda params: is_affordable(params) and _key(decode(params)) not in taken,
            centre=_cached_across_rates(decode, centre),
            positions=self._positions(),
            families=self._families(),
            baselines=[
                (v.usd_per_million_predictions, log_error(v.f1))
                for record in observed
                if self._score(record) is not None and self.space.encode(record.config) is None
                for v in record.variants
                if v.usd_per_million_predictions is not None
            ],
        )

    def _reference_alone(self, config: TrialConfig) -> list[PricedVariant]:
        usd = self.known_cost(config)
        return [PricedVariant(precision="", max_length=config.max_length, usd_per_million_predictions=usd)]

    @property
    def _is_rate_log(self) -> bool:
        return all(d.range is None or d.range.log for d in self.space.dimensions if d.field == RATE)

    def _positions(self) -> dict[str, Sequence[float] | None]:
        """Position of discrete values on their axis: log cost for sizes, log for numbers; methods have none."""
        positions: dict[str, Sequence[float] | None] = {}
        for dimension in self.space.dimensions:
            if dimension.range is not None:
                continue
            if dimension.field == "model_size":
                positions["model_size"] = [self._log_cost(TrialConfig(model_size=name)) for name in dimension.values]
            elif all(isinstance(value, int | float) for value in dimension.values):
                positions[dimension.field] = [math.log10(value) for value in dimension.values]
            else:
                positions[dimension.field] = None
        return positions

    def _families(self) -> dict[str, Sequence[str]]:
        """The base model of every size, if there are several: equal costs do not make two base models similar."""
        bases = [n.rpartition(":")[0] for d in self.space.dimensions if d.field == "model_size" for n in d.values]
        return {"model_size": bases} if len(set(bases)) > 1 else {}

    def _trials(
        self, observed: Sequence[TrialRecord], pending: Sequence[TrialConfig], distributions: dict[str, Any]
    ) -> list[Any]:
        from optuna.trial import TrialState, create_trial

        finished = [r for r in observed if self._score(r) is not None]
        worst = max((score[1] for r in finished if (score := self._score(r))), default=0.0)
        trials = []
        for record in observed:
            params = self._params(record.config)
            if params is None:
                continue
            attributes: dict[str, Any] = {}
            values = self._score(record)
            if record.status is TrialStatus.STOPPED:
                # The F1 of a stopped trial is not its final one. Samplers that read user attributes get the expected
                # final F1; Optuna's GP uses only COMPLETE and RUNNING trials and ignores stopped ones.
                if (f1 := expected_f1(record, finished)) is not None:
                    attributes[EXPECTED_VALUE] = log_error(f1)
            elif values is None:
                # Diverged or failed: scored like the worst trial, so that the model avoids the region.
                values = (self._log_cost(record.config), worst)
            trials.append(
                create_trial(
                    state=TrialState.PRUNED if values is None else TrialState.COMPLETE,
                    params=params,
                    distributions={name: distributions[name] for name in params},
                    values=values,
                    user_attrs=attributes,
                )
            )
        for config in pending:
            if (params := self._params(config)) is not None:
                own = {name: distributions[name] for name in params}
                trials.append(create_trial(state=TrialState.RUNNING, params=params, distributions=own))
        return trials

    def _params(self, config: TrialConfig) -> dict[str, Any] | None:
        """Sampled values of a configuration; Optuna's own samplers need every parameter in every trial."""
        return self.space.encode(config, fills=not self._takes_cost_prior)

    def _score(self, record: TrialRecord) -> tuple[float, float] | None:
        """(log10 dollars, log10 error) of a finished trial's reference variant."""
        reference = record.reference_variant
        return None if reference is None else (self._log_cost(record.config), log_error(reference.f1))

    def _log_cost(self, config: TrialConfig) -> float:
        return math.log10(max(self.known_cost(config), 1e-12))


def _key(config: TrialConfig) -> TrialConfig:
    """Key of a proposal: configurations that differ only in seed or teacher are the same proposal."""
    return config.replace(seed=0, teacher="")


def _seed(*parts: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence(parts).generate_state(1)[0]) % 2**31


def _cached_across_rates(
    decode: Callable[[dict[str, Any]], TrialConfig], function: Callable[[TrialConfig], T]
) -> Callable[[dict[str, Any]], T]:
    """Wrap a function of a configuration as a function of sampled parameters, cached across learning rates."""
    cache: dict[tuple[Any, ...], T] = {}

    def cached(params: dict[str, Any]) -> T:
        key = tuple(value for name, value in params.items() if name != RATE)
        if key not in cache:
            cache[key] = function(decode(params))
        return cache[key]

    return cached
