"""Does the bound of a loss hold, and how optimistic is a pick? On simulated data whose true macro-F1 is known.

python benchmarks/selection_coverage.py            # minutes on one core: tables, then one JSON line
python benchmarks/selection_coverage.py --cases 100
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.selection.evidence import Evidence, Scorer
from lft_ray.tasks.classification import Classification

SHARES = (0.5, 0.3, 0.15, 0.05)
NORMAL = NormalDist()
SCORER = Scorer(Classification([str(number) for number in range(len(SHARES))]), "macro_f1")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Texts with one of four labels, unevenly frequent, and runs that err on them.

    A run of skill a with seed effect d answers a text of hardness h rightly if a + d + h + e > 0, with h and e standard
    normal; otherwise it gives any of the three other labels.

    Attributes:
        seed_spread: standard deviation of d. 0.05 moves macro-F1 by about 0.8 points at F1 0.9.
        base: skill of the best model.
    """

    seed_spread: float = 0.05
    base: float = 2.0

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[Ints, Floats]:
        """Labels [n] and hardness [n]."""
        return rng.choice(len(SHARES), rows, p=SHARES), rng.normal(size=rows)

    def run(
        self, rng: np.random.Generator, truth: Ints, hardness: Floats, skill: float, seed_spread: float | None = None
    ) -> Ints:
        """Answers [n] of one run with a new seed."""
        effect = rng.normal(0, self.seed_spread if seed_spread is None else seed_spread)
        right = skill + effect + hardness + rng.normal(size=len(truth)) > 0
        other = (truth + rng.integers(1, len(SHARES), len(truth))) % len(SHARES)
        return np.where(right, truth, other)

    def true_f1(self, skill: float, seed_spread: float | None = None) -> float:
        """Macro-F1 over all texts and seeds, by quadrature over the seed effect."""
        spread = self.seed_spread if seed_spread is None else seed_spread
        nodes, weights = self._nodes
        return float(np.dot([self._f1(skill + spread * node) for node in nodes], weights))

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        nodes, weights = np.polynomial.hermite_e.hermegauss(15)
        return nodes, weights / weights.sum()

    def _f1(self, skill: float) -> float:
        right = NORMAL.cdf(skill / math.sqrt(2))
        given = [share * right + (1 - share) * (1 - right) / (len(SHARES) - 1) for share in SHARES]
        return sum(2 * s * right / (s + g) for s, g in zip(SHARES, given, strict=True)) / len(SHARES)


def coverage(  # noqa: PLR0913 - one argument a column of the table
    population: Population,
    *,
    cases: int,
    rows: int,
    seeds: int,
    replicates: int,
    seed: int,
    gap: float = 0.06,
    margin: float = 0.01,
    other_spread: float | None = None,
) -> dict[str, float]:
    """Shares of cases in which the 95% bound of a loss holds, and in which a loss above the margin passes for proven.

    Two models, the second worse by up to twice ``gap`` in skill (0.06: about 0.9 points of macro-F1), and, where
    ``other_spread`` is given, with another spread of its seeds than the pooled estimate supposes.
    """
    rng = np.random.default_rng(seed)
    held = naive = proven = above = 0
    half_widths = []
    for case in range(cases):
        skill = population.base - rng.uniform(0, 2 * gap)
        truth, hardness = population.draw(rng, rows)
        best = [population.run(rng, truth, hardness, population.base) for _ in range(seeds)]
        other = [population.run(rng, truth, hardness, skill, other_spread) for _ in range(seeds)]
        runs = {(str(number), "fp32", 0): run for number, run in enumerate([*best, *other])}
        keys = list(runs)
        sample = Evidence(SCORER, truth, runs, case).resample([keys[:seeds], keys[seeds:]], replicates=replicates)
        found = sample.difference(1, 0)
        loss = population.true_f1(population.base) - population.true_f1(skill, other_spread)
        upper = found.upper()
        half_widths.append(upper - found.loss)
        held += upper >= loss
        naive += found.loss >= loss
        above += loss > margin
        proven += loss > margin and upper <= margin
    return {
        "covered": held / cases,
        "naive_covered": naive / cases,
        "falsely_proven": proven / max(1, above),
        "half_width_points": 100 * float(np.mean(half_widths)),
    }


def optimism(
    population: Population, *, searches: int, trials: int, rows: int, seeds: int, seed: int, spread: float = 0.1
) -> dict[str, float]:
    """Mean of (reported - true) macro-F1 of two picks, and what each loses against the best of the search.

    naive: the best search score. fresh: of the five best, each run again on the same rows, the best mean of its fresh
    seeds, as in the product. What is left of the optimism is luck with the rows, which new seeds do not take away.
    """
    rng = np.random.default_rng(seed)
    naive, fresh, naive_regret, fresh_regret = [], [], [], []
    for _ in range(searches):
        truth, hardness = population.draw(rng, rows)
        skills = population.base - np.abs(rng.normal(0, spread, trials))
        true = np.array([population.true_f1(s) for s in skills])
        found = SCORER.scores(truth, [population.run(rng, truth, hardness, s) for s in skills])
        first = int(found.argmax())
        finalists = np.argsort(-found)[:5]
        again = []
        for i in finalists:
            runs = [population.run(rng, truth, hardness, skills[i]) for _ in range(seeds)]
            again.append(float(SCORER.scores(truth, runs).mean()))
        best = int(np.argmax(again))
        naive.append(found[first] - true[first])
        fresh.append(again[best] - true[finalists[best]])
        naive_regret.append(true.max() - true[first])
        fresh_regret.append(true.max() - true[finalists[best]])
    columns = {"naive": naive, "fresh": fresh, "naive_regret": naive_regret, "fresh_regret": fresh_regret}
    return {name: float(np.mean(values)) for name, values in columns.items()}


COVERAGE = [
    {"rows": rows, "seeds": seeds, "seed_spread": spread}
    for rows in (300, 1000, 4000)
    for seeds, spread in ((3, 0.0), (3, 0.05), (3, 0.1), (2, 0.05), (5, 0.05))
] + [{"rows": 1000, "seeds": 3, "seed_spread": 0.02, "other_spread": 0.08}]


def main() -> None:
    """Print both tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="simulated cases a row of the first table")
    parser.add_argument("--searches", type=int, default=200, help="simulated searches a row of the second table")
    options = parser.parse_args()
    started = time.perf_counter()
    result: dict[str, Any] = {"cases": options.cases, "searches": options.searches, "coverage": [], "optimism": []}
    print("  rows seeds spread other | bound holds  observed holds  falsely proven  half-width, points")
    for number, row in enumerate(COVERAGE):
        other = row.get("other_spread")
        found = coverage(
            Population(seed_spread=float(row["seed_spread"])),
            cases=options.cases, rows=int(row["rows"]), seeds=int(row["seeds"]), replicates=1000, seed=number,
            other_spread=None if other is None else float(other),
        )  # fmt: skip
        result["coverage"].append(row | {key: round(value, 4) for key, value in found.items()})
        print(
            f"{row['rows']:6} {row['seeds']:5} {row['seed_spread']:6} {other or '':>5} | {found['covered']:11.1%} "
            f"{found['naive_covered']:15.1%} {found['falsely_proven']:15.1%} {found['half_width_points']:19.2f}"
        )
    print("\ntrials  rows | optimism in points: best search score, fresh seeds | regret in points: the same")
    for trials in (20, 60):
        for rows in (1000, 4000):
            population = Population(seed_spread=0.05)
            bias = optimism(population, searches=options.searches, trials=trials, rows=rows, seeds=3, seed=trials)
            points = {key: round(100 * value, 3) for key, value in bias.items()}
            result["optimism"].append({"trials": trials, "rows": rows} | points)
            print(
                f"{trials:6} {rows:5} | {points['naive']:22.2f} {points['fresh']:26.2f} | "
                f"{points['naive_regret']:16.2f} {points['fresh_regret']:8.2f}"
            )
    result["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
