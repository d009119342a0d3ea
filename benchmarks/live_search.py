"""Live searches on one data set, ours and stock Ray Tune's in turns, equal minutes on equal workers: fronts and regret.

python benchmarks/live_search.py --train FILE --test FILE [--minutes 5] [--rounds 3] [--quick]

Ours: the product's study with its defaults. Stock: `tune.Tuner` with `OptunaSearch` (F1 and cost) and `ASHAScheduler`
(F1), its function trainable being the product's own trial code, so that only the search differs. Both search the same
sizes, rates, epochs and batches, begin with the same start table, and know the same serving profile. A search's front
is chosen on validation; each model on it is then scored on the same test rows. Regret: 1 - area / area of the best
front over all searches, both by test F1. Draws the fronts (benchmarks/live_search.svg) and prints one JSON object on
the last line.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draw_front import draw_fronts
from publishing import RESULTS, publish

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import connect
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.profile.measure import measure_profiles
from lft_ray.profile.requests import profile_requests
from lft_ray.records import DatasetRecord, FrontPoint, ProfileBook, TrialConfig, TrialRecord, TrialResult
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.search.budget.pricing import Pricing
from lft_ray.search.space import start_table
from lft_ray.search.specs import StudySpecs
from lft_ray.search.study import StudyJob, run_study
from lft_ray.selection.front import front, hypervolume, points_of
from lft_ray.selection.held_out import evaluate_held_out
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

REPO = Path(__file__).resolve().parent.parent
PICTURE = REPO / "benchmarks" / "live_search.svg"
TEST_ROWS = 1000
BELOW = 0.10
"""F1 of the reference point, below that of the worst shipped model."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What both searches share: experiment, data, serving costs, and where runs are written."""

    experiment: Experiment
    dataset: DatasetRecord
    profiles: ProfileBook
    folder: Path
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class Searched:
    """One search: its ended trials, how many it began, and its wall seconds."""

    records: list[TrialRecord]
    begun: int
    wall_s: float


def ours(ground: Ground, cluster: Any, seed: int) -> Searched:
    """The product's study."""
    search = ground.experiment.search.model_copy(update={"seed": seed})
    experiment = ground.experiment.model_copy(update={"search": search})
    began = time.monotonic()
    specs = StudySpecs(search, experiment.training, experiment.selection, experiment.cost)
    ledger = Ledger(Storage(ground.folder / f"ours-{seed}"))
    records = run_study(StudyJob(ledger, ground.candidates, ground.dataset, ground.profiles, specs), cluster)
    return Searched(records, len(records), time.monotonic() - began)


def stock(ground: Ground, seed: int) -> Searched:
    """Ray Tune with its own searcher and scheduler."""
    import optuna
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    experiment, training = ground.experiment, ground.experiment.training
    pricing = Pricing.of(ground.candidates, ground.profiles, utilisation=experiment.cost.utilisation)
    sizes = ground.candidates.sizes
    costs = {size.name: pricing.cost(size.name) for size in sizes}
    space = {
        "model_size": tune.choice(list(costs)),
        "learning_rate": tune.loguniform(training.learning_rate.low, training.learning_rate.high),
        "epochs": tune.choice(training.epochs),
        "batch_size": tune.choice(training.batch_size),
    }
    start = start_table(sorted(sizes, key=lambda size: costs[size.name]), training, seed=0)
    seen = _Seen()
    minutes = experiment.search.minutes
    assert minutes is not None, "both searches need the same clock"
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(_trainable(ground, str(ground.folder / f"stock-{seed}"), costs), {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(
                    metric=["f1", "cost"],
                    mode=["max", "min"],
                    points_to_evaluate=[{name: getattr(config, name) for name in space} for config in start],
                    seed=seed,
                ),
                scheduler=ASHAScheduler(metric="f1", mode="max", max_t=training.evaluations),
                num_samples=-1,
                time_budget_s=minutes * 60,
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0, callbacks=[seen.callback()]),
        ).fit()
    results = [TrialResult.model_validate_json(text) for text in seen.results]
    return Searched([_priced(r, costs) for r in results], len(seen.begun), time.monotonic() - began)


def _trainable(ground: Ground, run_uri: str, costs: dict[str, float]) -> Any:
    from ray import tune

    experiment = ground.experiment
    dataset = ground.dataset

    def train(config: dict[str, Any]) -> None:
        cost = costs[config["model_size"]]

        def report(point: dict[str, Any]) -> None:
            # The probe is not an iteration; the last point is reported when the checkpoint is written.
            if 0.0 < point["fraction"] < 1.0:
                tune.report({"f1": point["f1"], "cost": cost})

        name = tune.get_context().get_trial_id()
        chosen = TrialConfig(**config, max_length=experiment.training.max_length)
        job = TrialJob.of(ground.candidates, dataset, experiment.training, run_uri)
        result = run_trial(job.replace(trial_id=name, config=chosen), report)
        f1 = result.variants[0].f1 if result.variants else 0.0
        tune.report({"f1": f1, "cost": cost, "result": result.model_dump_json()})

    return train


class _Seen:
    """What a Tune callback saw: trials begun, results of those that ended."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.results: list[str] = []

    def callback(self) -> Any:
        """The callback that fills it."""
        from ray import tune

        seen = self

        class Notes(tune.Callback):
            def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
                seen.begun.add(trial.trial_id)

            def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
                if "result" in result:
                    seen.results.append(result["result"])

        return Notes()


def _priced(result: TrialResult, costs: dict[str, float]) -> TrialRecord:
    usd = costs[result.config.model_size]
    fields = {name: getattr(result, name) for name in TrialResult.model_fields if name != "variants"}
    variants = [v.model_copy(update={"usd_per_million_predictions": usd}) for v in result.variants]
    return TrialRecord(**fields, variants=variants, role="search")


def shipped(ground: Ground, searched: Searched) -> list[FrontPoint]:
    """The search's own front, each point with the F1 that its checkpoint has on the test rows."""
    by_id = {record.trial_id: record for record in searched.records}
    found = []
    for point in front(points_of(searched.records)):
        judged = evaluate_held_out(by_id[point.trial_id], point, ground.dataset, ground.candidates.task)
        found.append(point.model_copy(update={"f1": judged.test_f1}))
    return found


def regrets(fronts: dict[str, list[list[FrontPoint]]]) -> dict[str, list[float]]:
    """1 - area / best area, of every search of every method."""
    everything = [point for runs in fronts.values() for run in runs for point in run]
    if not everything:
        raise SystemExit("no trial ended within the minutes of any search: raise --minutes")
    costs = [point.usd_per_million_predictions for point in everything]
    bounds: dict[str, Any] = {
        "usd_bounds": (min(costs), 1.2 * max(costs)),
        "f1_bounds": (min(point.f1 for point in everything) - BELOW, 1.0),
    }
    best = hypervolume(everything, **bounds)
    return {name: [1.0 - hypervolume(run, **bounds) / best for run in runs] for name, runs in fronts.items()}


def ground_of(arguments: argparse.Namespace, folder: Path) -> Ground:
    """Prepare the data and measure the serving profile, once for all searches. Needs a connected cluster."""
    experiment = Experiment.load(
        REPO / "experiments" / "news.yaml",
        [
            f"data={{train: {arguments.train}, test: {cut_test(arguments.test, folder)}, max_rows: 2000,"
            " split: {validation: 0.25, seed: 0}}",
            "models=[{base: minilm, layers: [1, 2, 3, 4, 5, 6]}]",
            "training.learning_rate={low: 1.0e-5, high: 1.0e-3, log: true}", "training.batch_size=[16, 32, 64]",
            "training.epochs=[1, 2]", "training.evaluations=3", "training.max_length=128", "export.precisions=[fp32]",
            f"search={{trials: 1000, minutes: {arguments.minutes}, sampler: {arguments.sampler},"
            f" scheduler: {arguments.scheduler}}}",
        ],
    )  # fmt: skip
    dataset = prepare(experiment.task, experiment.data, Storage(str(folder)))
    candidates = Candidates.of(experiment, dataset).with_weights(dataset)
    profiles = measure_profiles(profile_requests(candidates, dataset), dataset, experiment.serve)
    return Ground(experiment, dataset, profiles, folder, candidates)


def cut_test(file: Path, folder: Path) -> Path:
    """A seeded sample of the test rows: six searches' fronts are scored on it."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    rows = np.sort(np.random.default_rng(0).permutation(len(table))[:TEST_ROWS])
    pq.write_table(table.take(rows), folder / "test.parquet")
    return folder / "test.parquet"


def show(name: str, seed: int, searched: Searched, points: Sequence[FrontPoint]) -> None:
    """Print one search."""
    models = ", ".join(f"{p.model_size} {p.f1:.4f} ${p.usd_per_million_predictions:.3f}" for p in points)
    done = sum(record.status == "done" for record in searched.records)
    print(
        f"{name:8} seed {seed}: {done} of {searched.begun} trials done, {searched.wall_s:.0f} s; {models}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0, help="of each search")
    parser.add_argument("--rounds", type=int, default=3, help="searches a method")
    parser.add_argument("--sampler", default=None, help="of ours; default: the product's")
    parser.add_argument("--scheduler", default=None, help="of ours; default: the product's")
    parser.add_argument("--quick", action="store_true", help="one search a method, of 1.5 minutes")
    arguments = parser.parse_args()
    from lft_ray.config import SearchSpec

    arguments.sampler = arguments.sampler or SearchSpec().sampler
    arguments.scheduler = arguments.scheduler or SearchSpec().scheduler
    arguments.train, arguments.test = arguments.train.resolve(), arguments.test.resolve()
    if arguments.quick:
        arguments.minutes, arguments.rounds = 1.5, 1
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    fronts: dict[str, list[list[FrontPoint]]] = {"lft_ray": [], "stock Ray": []}
    trials: dict[str, list[list[int]]] = {name: [] for name in fronts}
    with tempfile.TemporaryDirectory() as name:
        experiment = Experiment.load(REPO / "experiments" / "news.yaml", [f"data.train={arguments.train}"])
        with connect(experiment.cluster) as cluster:
            ground = ground_of(arguments, Path(name))
            for seed in range(arguments.rounds):
                for method in fronts:
                    searched = ours(ground, cluster, seed) if method == "lft_ray" else stock(ground, seed)
                    fronts[method].append(shipped(ground, searched))
                    done = sum(record.status == "done" for record in searched.records)
                    trials[method].append([searched.begun, done])
                    show(method, seed, searched, fronts[method][-1])
    found = regrets(fronts)
    for method, values in found.items():
        print(f"{method:10} regret {statistics.mean(values):.4f}  {[round(v, 4) for v in values]}")
    if not arguments.quick:
        PICTURE.write_text(draw_fronts(fronts), encoding="utf-8")
    row = {
        "regret": {method: [round(v, 4) for v in values] for method, values in found.items()},
        "trials_begun_and_done": trials, "minutes": arguments.minutes, "sampler": arguments.sampler,
        "scheduler": arguments.scheduler, "quick": arguments.quick,
        "fronts": {m: [[[p.model_size, p.f1, p.usd_per_million_predictions] for p in run] for run in runs]
                   for m, runs in fronts.items()},
    }  # fmt: skip
    publish(row, RESULTS / "live_search.jsonl")


if __name__ == "__main__":
    main()
