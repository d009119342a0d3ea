"""Searches replayed over recorded learning curves: regret against training dollars, ours beside what people use today.

python benchmarks/replay.py [--quick] [--tune-on TASK] [--report-on A,B,C]      recorded tables, benchmarks/tables
python benchmarks/replay.py --simulate 8                                        synthetic tasks

Workers and clock are simulated (two workers, an event queue on recorded seconds); the searches are real: the product's
dispatcher, proposer, samplers and stop rules, Ray's OptunaSearch and ASHAScheduler, Syne Tune's MOASHA (named by
SYNE_TUNE_PYTHON, a Python that has it). Settings are chosen on the simulator and the --tune-on task; only the other
tasks are reported. Prints a table per task and over tasks and, on the last line, one JSON object. Definitions:
`replaying/score.py` (regret, wrong stops) and `replaying/summary.py` (ratios, intervals).
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from publishing import RESULTS, publish
from replaying.methods import BASELINES, EXPENSIVE, OURS, RAY_DEFAULT, is_available, needs_library
from replaying.run import SIMULATED, Job, OutcomeCache, run_jobs, scale_of, table_of
from replaying.score import BUDGETS, Outcome
from replaying.seed_ratio import best_sizes
from replaying.summary import Curves, curves_of, method_rows, ratio, worse_than

from lft_ray.errors import InputError

REPO = Path(__file__).resolve().parent.parent
TABLES = REPO / "benchmarks" / "tables"
QUICK_SEEDS = 5


def sources_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Task -> where its table is."""
    if arguments.simulate:
        return {f"sim{number}": f"{SIMULATED}{number}" for number in range(arguments.simulate)}
    wanted = [*(arguments.report_on or []), *([arguments.tune_on] if arguments.tune_on else [])]
    found: dict[str, str] = {}
    for folder in sorted(path.parent for path in arguments.tables.glob("*/runs.parquet")):
        if arguments.report_on and folder.name not in wanted:
            continue
        try:
            table_of(str(folder))
            found[folder.name] = str(folder)
        except (OSError, ValueError) as problem:
            why = f"{Path(problem.filename).name} is missing" if isinstance(problem, FileNotFoundError) else problem
            print(f"left out: task {folder.name} ({why})")
    missing = [name for name in wanted if name not in found]
    if missing or not set(found) - {arguments.tune_on}:
        raise InputError(
            f"no recorded task {', '.join(missing) or 'to report'} under {arguments.tables}",
            fix="record it with benchmarks/record_table.py, or use --simulate 8",
        )
    return found


def gather(jobs: list[Job], arguments: argparse.Namespace) -> tuple[list[Outcome], dict[str, list[str]]]:
    """Outcomes of all jobs, and the dates of those that an earlier run made, by method."""
    kept = OutcomeCache(arguments.curves)
    outcomes: list[Outcome] = []
    dates: dict[str, set[str]] = {}
    missing: list[Job] = []
    for job in jobs:
        may_reuse = arguments.resume or (arguments.quick and job.method in EXPENSIVE)
        if may_reuse and (found := kept.find(job)) is not None:
            outcomes.append(found[0])
            dates.setdefault(job.method, set()).add(found[1][:10])
        elif arguments.quick and job.method in EXPENSIVE:
            continue
        else:
            missing.append(job)
    began = time.monotonic()
    for count, (job, one) in enumerate(run_jobs(missing, processes=arguments.processes), start=1):
        if arguments.keeps:
            kept.add(job, one)
        outcomes.append(one)
        if count % 20 == 0 or count == len(missing):
            print(f"... {count} of {len(missing)} replays, {time.monotonic() - began:.0f} s", flush=True)
    return outcomes, {method: sorted(days) for method, days in dates.items()}


def whole(outcomes: list[Outcome], tasks: list[str], seeds: int) -> tuple[list[Outcome], list[str]]:
    """Outcomes of the methods that ran on every task with every seed, and the methods that did not."""
    counts: dict[str, int] = {}
    for one in outcomes:
        counts[one.method] = counts.get(one.method, 0) + 1
    partial = [method for method, count in counts.items() if count < len(tasks) * seeds]
    return [one for one in outcomes if one.method not in partial], partial


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print one table."""
    heads = "".join(f"{'@' + str(units):>8}" for units in BUDGETS)
    print(f"\n{title}\n{'method':24}{heads}   se@20  spend  trials  stops  wrong  off-grid  s/proposal")
    for row in rows:
        regrets = "".join(f"{row[f'regret_{units}']:8.3f}" for units in BUDGETS)
        spent = "-" if row["spend_units"] is None else f"{'>' if row['censored'] else ''}{row['spend_units']:.1f}"
        print(
            f"{row['method']:24}{regrets}{row['se_20']:8.3f}{spent:>7}{row['trials']:8.0f}{row['stops']:7d}"
            f"{row['wrong_stops']:7d}{row['interpolated_share']:9.0%}{row['suggestion_s']:11.4f}"
        )


def start_units(source: str, reference_cost: float) -> float:
    """What the start table costs, in units: the least that any method spends before its first own proposal."""
    given, scale = scale_of(source, reference_cost)
    return round(given.start_usd / scale.unit_usd, 2)


def show_sizes(rows: list[dict[str, Any]]) -> None:
    """Print how well parameters over the root of train rows told the best size."""
    print("\nM = parameters / sqrt(train rows), in thousands; predicted: the size whose M is nearest that of the")
    print("other tasks' best sizes (geometric mean). Losses: F1 points below the best size, each at its best setting.")
    print("task              rows  best        M  predicted   loss  largest loss")
    for row in rows:
        predicted = f"{row['predicted'] or '-':10}{_points(row['loss_predicted'])}"
        print(
            f"{row['task']:16}{row['train_rows']:6d}  {row['best']:8}{row['m_best'] / 1e3:6.0f}  {predicted}"
            f"{_points(row['loss_largest']):>14}"
        )


def _points(loss: float | None) -> str:
    return "     -" if loss is None else f"{100 * loss:6.2f}"


def choose(outcomes: list[Outcome], curves: Curves, task: str, ours: list[str]) -> str:
    """The method of ours with the least mean regret over the budgets, on the tuning task."""
    rows = {row["method"]: row for row in method_rows(outcomes, curves, tasks=[task])}
    return min(ours, key=lambda name: sum(rows[name][f"regret_{units}"] for units in BUDGETS))


def headline(outcomes: list[Outcome], curves: Curves, ours: str, peers: list[str]) -> dict[str, Any]:
    """The figures that are quoted. Ratios: ours over theirs, below 1 is cheaper."""
    rows = {row["method"]: row for row in method_rows(outcomes, curves, tasks=list(curves))}
    best_peer = min(peers, key=lambda name: (rows[name]["spend_units"], rows[name]["regret_20"]))
    against_ray, against_peer = ratio(curves, ours, RAY_DEFAULT), ratio(curves, ours, best_peer)
    against_all = ratio(curves, ours)
    stops = rows[ours]["stops"]
    return {
        "method": ours,
        "ratio_direction": "training dollars of ours / theirs to stock Ray's 20-unit quality; below 1 is cheaper",
        "spend_ratio_vs_ray_default": round(against_ray.value, 3),
        "spend_ratio_vs_ray_default_interval_95": [round(against_ray.low, 3), round(against_ray.high, 3)],
        "spend_ratio_vs_ray_default_censored": against_ray.censored,
        "spend_ratio_vs_all_20_units": round(against_all.value, 3),
        "spend_ratio_vs_all_20_units_interval_95": [round(against_all.low, 3), round(against_all.high, 3)],
        "best_peer": best_peer,
        "spend_ratio_vs_best_peer": round(against_peer.value, 3),
        "spend_ratio_vs_best_peer_interval_95": [round(against_peer.low, 3), round(against_peer.high, 3)],
        "spend_ratio_vs_best_peer_censored": against_peer.censored,
        "spend_ratios": {name: ratio(curves, name, RAY_DEFAULT).as_row() for name in rows if name != RAY_DEFAULT},
        "stops": stops,
        "wrong_stop_share": round(rows[ours]["wrong_stops"] / stops, 4) if stops else None,
        "worse_than_random": worse_than(curves, ours, "random") if "random" in rows else None,
        "suggestion_s": {name: round(row["suggestion_s"], 4) for name, row in rows.items()},
        "regret": {n: {u: round(row[f"regret_{u}"], 4) for u in BUDGETS} for n, row in rows.items()},
        "wrong_stops": {n: [row["wrong_stops"], row["stops"]] for n, row in rows.items() if row["stops"]},
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of recorded tasks")
    parser.add_argument("--simulate", type=int, metavar="N", default=0, help="N synthetic tasks instead")
    parser.add_argument("--tune-on", metavar="TASK", help="choose among our methods here; it is not reported")
    parser.add_argument("--report-on", type=names, metavar="A,B", help="tasks to report; default: all others")
    parser.add_argument("--methods", type=names, default=[*BASELINES, *OURS], help="what is run, joined by commas")
    parser.add_argument("--ours", default="", help="the method that ratios speak of; default: chosen on --tune-on")
    parser.add_argument("--seeds", type=int, default=0, help=f"replays a task and method (20; quick {QUICK_SEEDS})")
    parser.add_argument("--workers", type=int, default=2, help="simulated trials at a time")
    parser.add_argument("--reference-cost", type=float, default=1.2, help="as a multiple of the most expensive size's")
    parser.add_argument("--results", type=Path, default=RESULTS / "replay.jsonl")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--curves", type=Path, default=None, help="keep outcomes in this file")
    parser.add_argument("--resume", action="store_true", help="take what --curves has of these tables, run the rest")
    parser.add_argument("--quick", action="store_true", help="fewer seeds; GPSampler from the committed full run")
    arguments = parser.parse_args()
    arguments.seeds = arguments.seeds or (QUICK_SEEDS if arguments.quick else 20)
    # --quick reads the committed curves and leaves them as they are.
    arguments.keeps = arguments.curves is not None or not arguments.quick
    if arguments.curves is None and not arguments.simulate:
        arguments.curves = TABLES / "replay_curves.jsonl"
    return arguments


def main() -> None:
    arguments = parse()
    try:
        row = report(arguments)
    except InputError as problem:
        print(f"replay: {problem}", file=sys.stderr)
        raise SystemExit(problem.exit_code) from None
    publish(row, arguments.results)


def report(arguments: argparse.Namespace) -> dict[str, Any]:
    """Replay, print, and return the row of figures."""
    sources = sources_of(arguments)
    names = list(dict.fromkeys([*arguments.methods, *([arguments.ours] if arguments.ours else [])]))
    absent = {name: why for name in names if (why := is_available(name))}
    if arguments.ours in absent:
        raise InputError(f"--ours {arguments.ours}: {absent[arguments.ours]}")
    for name, why in absent.items():
        print(f"left out: {name} ({why})")
    methods = [name for name in names if name not in absent]
    library = sources.get(arguments.tune_on, "")
    jobs = [
        Job(source, method, seed, arguments.workers, arguments.reference_cost, library if needs_library(method) else "")
        for source in sources.values()
        for method in methods
        for seed in range(arguments.seeds)
    ]
    outcomes, dates = gather(jobs, arguments)
    outcomes, partial = whole(outcomes, list(sources), arguments.seeds)
    for name in partial:
        absent[name] = "no curves of every task and seed, and too slow for --quick"
    curves = curves_of(outcomes)
    tasks = [task for task in sources if task != arguments.tune_on]
    for task in sources:
        tuned = " (settings were chosen here)" if task == arguments.tune_on or arguments.simulate else ""
        show(f"{task}{tuned}", method_rows(outcomes, curves, tasks=[task]))
    show(f"mean over {', '.join(tasks)}", method_rows(outcomes, curves, tasks=tasks))
    starts = {task: start_units(source, arguments.reference_cost) for task, source in sources.items()}
    print("start table, in units:", ", ".join(f"{task} {units:.1f}" for task, units in starts.items()))
    sizes = best_sizes([table_of(source) for source in sources.values()])
    show_sizes(sizes)
    reported = {task: curves[task] for task in tasks}
    ours = [name for name in dict.fromkeys(one.method for one in outcomes) if name not in BASELINES]
    row: dict[str, Any] = {
        "tasks": tasks, "tune_on": arguments.tune_on or ("simulator" if arguments.simulate else None),
        "tables": {task: table_of(source).digest for task, source in sources.items()}, "seeds": arguments.seeds,
        "workers": arguments.workers, "reference_cost": arguments.reference_cost, "quick": arguments.quick,
        "start_table_units": starts, "left_out": absent, "curves_from_earlier_runs": dates, "best_sizes": sizes,
    }  # fmt: skip
    peers = [name for name in BASELINES if name in reported[tasks[0]] and name != RAY_DEFAULT]
    if ours and peers and RAY_DEFAULT in reported[tasks[0]]:
        chosen = arguments.ours or (choose(outcomes, curves, arguments.tune_on, ours) if arguments.tune_on else ours[0])
        row |= headline([one for one in outcomes if one.task in tasks], reported, chosen, peers)
    return row


if __name__ == "__main__":
    main()
