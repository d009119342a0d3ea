"""Propose the next configuration. Stateless: told records and pending configurations in, one configuration out.

Every call builds an Optuna study in memory from what it is given, with a sampler seeded by (seed, n): equal arguments,
equal proposal, in any process, so that a resumed search needs no saved sampler. Never calls Ray, never writes.
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
"""Proposals asked of the sampler before plain draws are tried: each costs a fit, and a sure model says the same."""
DRAWS = 256
RATE = "learning_rate"


class Proposer:
    """Asks an Optuna sampler where to look next on the cost-F1 plane.

    Args:
        space: what is searched.
        sampler: a key of `SAMPLERS` or ``package.module:Name``.
        seed: of the search.
        known_cost: dollars per million predictions of a configuration's reference variant (see
            `TrialRecord.reference_variant`), measured before it is trained.
        startup_trials: finished trials before the sampler models anything; uniform until then.
        variants: every priced variant of a configuration that the caps admit; the reference variant alone when left
            out. None of them: the configuration is not proposed.
        train_usd: predicted training dollars of a configuration; all alike when left out.
        default_rate: a learning rate known to work for a configuration's size, or None.
        options: passed on to the sampler's factory.

    What is known of a configuration must not depend on its learning rate or seed: it is asked once for all of them.
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
        # One trial more than dimensions: the fewest from which a line through them all can be told from a plane.
        self.startup_trials = startup_trials or len(space.dimensions) + 1
        self.variants = variants or self._reference_alone
        self.train_usd = train_usd or (lambda config: 1.0)
        self.default_rate = default_rate or (lambda config: None)
        self.options = dict(options or {})
        self._make_sampler = resolve(sampler, SAMPLERS, where="search.sampler")
        self._takes_cost_prior = "cost_prior" in inspect.signature(self._make_sampler).parameters

    def warm_up(self) -> None:
        """Have the sampler load and compile what it needs (3-5 s for the GP: torch, SciPy), while trials run anyway."""
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
        self._ask(0, records, [])

    def propose(
        self,
        n: int,
        told: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """Return the n-th proposal, or None when no configuration is left to try.

        Args:
            n: number of the trial, from 0.
            told: ended trials, in the order in which they are told.
            pending: configurations that were started and are not told: running, or finished after a cut-off.
            fits: a proposal must satisfy this (it may still be paid for); all do when left out.
        """
        if self.space.is_empty:
            return None
        taken = {_key(config) for config in (*(r.config for r in told), *pending)}
        for attempt in range(RESAMPLES):
            for config in or_in_full(self._ask(_seed(self.seed, n, attempt), told, pending, fits)):
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

    def _ask(
        self,
        seed: int,
        told: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        known = {"cost_prior": self._cost_prior(told, pending, fits)} if self._takes_cost_prior else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = self._make_sampler(seed, self.startup_trials, **known, **self.options)
            study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
            distributions = self.space.distributions()
            for trial in self._trials(told, pending, distributions):
                study.add_trial(trial)
            return self.space.decode(study.ask(distributions).params)

    def _cost_prior(
        self,
        told: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None,
    ) -> CostPrior:
        decode = self.space.decode
        offsets = variant_offsets(told)
        taken = {_key(config) for config in (*(r.config for r in told), *pending)}
        fits_at_all = _for_any_rate(decode, fits or (lambda config: True))

        def variants(config: TrialConfig) -> list[tuple[float, float]]:
            return [
                (v.usd_per_million_predictions, offsets.get((config.model_size, v.precision, v.max_length), 0.0))
                for v in self.variants(config)
            ]

        def centre(config: TrialConfig) -> dict[str, float]:
            rate = self.default_rate(config)
            return {} if rate is None else {RATE: math.log10(rate) if self._is_rate_log else rate}

        return CostPrior(
            cost=_for_any_rate(decode, variants),
            train_usd=_for_any_rate(decode, self.train_usd),
            feasible=lambda params: fits_at_all(params) and _key(decode(params)) not in taken,
            centre=_for_any_rate(decode, centre),
            places=self._places(),
            kinds=self._kinds(),
            rivals=[
                (v.usd_per_million_predictions, log_error(v.f1))
                for record in told
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

    def _places(self) -> dict[str, Sequence[float] | None]:
        """Where values stand: sizes at their cost, numbers at their logarithm; methods have no order."""
        places: dict[str, Sequence[float] | None] = {}
        for dimension in self.space.dimensions:
            if dimension.range is not None:
                continue
            if dimension.field == "model_size":
                places["model_size"] = [self._log_cost(TrialConfig(model_size=name)) for name in dimension.values]
            elif all(isinstance(value, int | float) for value in dimension.values):
                places[dimension.field] = [math.log10(value) for value in dimension.values]
            else:
                places[dimension.field] = None
        return places

    def _kinds(self) -> dict[str, Sequence[str]]:
        """The base of every size, where there are several: equal costs do not make two bases alike."""
        bases = [n.rpartition(":")[0] for d in self.space.dimensions if d.field == "model_size" for n in d.values]
        return {"model_size": bases} if len(set(bases)) > 1 else {}

    def _trials(
        self, told: Sequence[TrialRecord], pending: Sequence[TrialConfig], distributions: dict[str, Any]
    ) -> list[Any]:
        from optuna.trial import TrialState, create_trial

        finished = [r for r in told if self._score(r) is not None]
        worst = max((score[1] for r in finished if (score := self._score(r))), default=0.0)
        trials = []
        for record in told:
            params = self._params(record.config)
            if params is None:
                continue
            attributes: dict[str, Any] = {}
            values = self._score(record)
            if record.status is TrialStatus.STOPPED:
                # Half-trained: its F1 says nothing of its final one. Samplers that read attributes hear what it was on
                # its way to; Optuna's GP reads COMPLETE and RUNNING only, and never hears of it.
                if (f1 := expected_f1(record, finished)) is not None:
                    attributes[EXPECTED_VALUE] = log_error(f1)
            elif values is None:
                # Diverged or failed: told as bad as the worst, so that the region is learned and not asked for again.
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
        """What the sampler is told of a configuration; Optuna's own need every parameter in every trial."""
        return self.space.encode(config, fills=not self._takes_cost_prior)

    def _score(self, record: TrialRecord) -> tuple[float, float] | None:
        """(log10 dollars, log10 error) of a finished trial's reference variant."""
        reference = record.reference_variant
        return None if reference is None else (self._log_cost(record.config), log_error(reference.f1))

    def _log_cost(self, config: TrialConfig) -> float:
        return math.log10(max(self.known_cost(config), 1e-12))


def _key(config: TrialConfig) -> TrialConfig:
    """Two configurations that differ in the seed or the teacher alone are one proposal."""
    return config.replace(seed=0, teacher="")


def _seed(*parts: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence(parts).generate_state(1)[0]) % 2**31


def _for_any_rate(
    decode: Callable[[dict[str, Any]], TrialConfig], function: Callable[[TrialConfig], T]
) -> Callable[[dict[str, Any]], T]:
    """The function of a configuration as one of sampled parameters, called once for all learning rates."""
    answers: dict[tuple[Any, ...], T] = {}

    def answer(params: dict[str, Any]) -> T:
        key = tuple(value for name, value in params.items() if name != RATE)
        if key not in answers:
            answers[key] = function(decode(params))
        return answers[key]

    return answer
