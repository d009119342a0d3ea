"""Data whose true F1 is known: models that err on hard rows, seeds that move them. For tests and the benchmark."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from lft_ray.selection.significance import resample, scores

SHARES = (0.5, 0.3, 0.15, 0.05)
PROBIT = NormalDist()


@dataclass(frozen=True)
class Population:
    """Texts of four labels, unevenly frequent. A run of skill a with seed effect d answers a text of hardness h rightly
    if a + d + h + e > 0, with h and e standard normal; otherwise it gives any of the three other labels.

    Attributes:
        seed_spread: standard deviation of d. 0.05 moves macro-F1 by about 0.6 points at F1 0.9.
        base: skill of the best model.
    """

    seed_spread: float = 0.05
    base: float = 2.0

    def draw(self, rng, rows):
        """Labels [n] and hardness [n]."""
        return rng.choice(len(SHARES), rows, p=SHARES), rng.normal(size=rows)

    def run(self, rng, truth, hardness, skill):
        """Answers [n] of one run with a new seed."""
        effect = rng.normal(0, self.seed_spread) if self.seed_spread else 0.0
        right = skill + effect + hardness + rng.normal(size=len(truth)) > 0
        return np.where(right, truth, (truth + rng.integers(1, len(SHARES), len(truth))) % len(SHARES))

    def true_f1(self, skill):
        """Macro-F1 over all texts and seeds, by quadrature over the seed effect."""
        if not self.seed_spread:
            return self._f1(skill)
        nodes, weights = self._nodes
        values = [self._f1(skill + self.seed_spread * node) for node in nodes]
        return float(np.dot(values, weights))

    @cached_property
    def _nodes(self):
        nodes, weights = np.polynomial.hermite_e.hermegauss(15)
        return nodes, weights / weights.sum()

    def _f1(self, skill):
        right = PROBIT.cdf(skill / math.sqrt(2))
        given = [share * right + (1 - share) * (1 - right) / (len(SHARES) - 1) for share in SHARES]
        return sum(2 * s * right / (s + g) for s, g in zip(SHARES, given, strict=True)) / len(SHARES)


def coverage(population, *, cases, rows, seeds, replicates, seed, gap=0.06, margin=0.02, metric="macro_f1"):
    """Shares of cases in which the bound of a loss holds, and in which a loss above the margin passes for proven.

    Two models, the second worse by up to twice ``gap`` in skill; 0.06 is about 0.7 points of macro-F1.
    """
    rng = np.random.default_rng(seed)
    held = naive = proven = above = 0
    for case in range(cases):
        skill = population.base - rng.uniform(0, 2 * gap)
        truth, hardness = population.draw(rng, rows)
        runs = [[population.run(rng, truth, hardness, s) for _ in range(seeds)] for s in (population.base, skill)]
        found = resample(truth, runs, metric=metric, replicates=replicates, seed=case).difference(1, 0)
        loss = population.true_f1(population.base) - population.true_f1(skill)
        held += found.upper() >= loss
        naive += found.loss >= loss
        above += loss > margin
        proven += loss > margin and found.upper() <= margin
    return {
        "covered": held / cases,
        "naive_covered": naive / cases,
        "falsely_proven": proven / max(1, above),
        "cases_above_margin": above,
    }


def optimism(population, *, searches, trials, rows, seeds, seed, spread=0.1):
    """Mean of (reported - true) macro-F1 of the pick: the best search score, and the best mean of fresh seeds.

    The five best of each search run again with fresh seeds, on the same rows, as in the product.
    """
    rng = np.random.default_rng(seed)
    naive, fresh, naive_regret, fresh_regret = [], [], [], []
    for _ in range(searches):
        truth, hardness = population.draw(rng, rows)
        skills = population.base - np.abs(rng.normal(0, spread, trials))
        true = np.array([population.true_f1(s) for s in skills])
        found = scores(truth, [population.run(rng, truth, hardness, s) for s in skills], "macro_f1")
        first = int(found.argmax())
        finalists = np.argsort(-found)[:5]
        again = []
        for i in finalists:
            runs = [population.run(rng, truth, hardness, skills[i]) for _ in range(seeds)]
            again.append(float(scores(truth, runs, "macro_f1").mean()))
        best = int(np.argmax(again))
        naive.append(found[first] - true[first])
        fresh.append(again[best] - true[finalists[best]])
        naive_regret.append(true.max() - true[first])
        fresh_regret.append(true.max() - true[finalists[best]])
    return {
        "naive": float(np.mean(naive)),
        "fresh": float(np.mean(fresh)),
        "naive_regret": float(np.mean(naive_regret)),
        "fresh_regret": float(np.mean(fresh_regret)),
    }
