"""The story: experiment -> prepare -> profile -> search -> select -> export -> deploy -> predict, one function a stage.

Each stage reads records from the run folder and writes records to it, so any of them can run again alone, on another
machine. No loops over rows and no I/O details here: they live with the nouns that own them.
"""

from typing import TYPE_CHECKING

from lft_ray.config import Experiment
from lft_ray.decision import Selection
from lft_ray.environment import environment
from lft_ray.errors import InputError
from lft_ray.ledger import Ledger, driver_lock
from lft_ray.records import DatasetRecord, ProfileBook, TrialRecord
from lft_ray.run_folder import RunFolder
from lft_ray.shipping import cascade, deploy, down, export, rollback

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from lft_ray.cluster import ClusterHandle
    from lft_ray.search.estimate import Estimate

    Say = Callable[[str], None]

__all__ = [
    "cascade", "deploy", "down", "export", "plan", "prepare", "profile", "records_of", "report", "rollback",
    "run_search", "run_train", "search", "select",
]  # fmt: skip


def run_search(
    experiment: Experiment,
    *,
    resume: bool = False,
    replace: bool = False,
    console: "Console | None" = None,
    on_stage: "Say | None" = None,
) -> RunFolder:
    """From a labelled file to a chosen model: prepare, profile, search, select, report.

    Args:
        experiment: what to do.
        resume: continue the run of this name; nothing finished is done twice.
        replace: delete the run of this name first.
        console: where progress is shown; None is silent.
        on_stage: told the name of each stage as it begins, of those that follow on the returned run too.

    Raises:
        InputError: anything the user gave cannot be used; raised before a trial is paid for.
        NoWinnerError: no finished trial may be shipped; the ledger keeps what was measured.
    """
    from lft_ray.cluster import connect
    from lft_ray.search.usable import check_usable

    check_usable(experiment)
    run = RunFolder.begin(experiment, resume=resume, replace=replace)
    run.on_stage = on_stage
    with driver_lock(run.storage):
        run.put_json("environment.json", environment())
        say = _teller(console)
        dataset = prepare(run, experiment, say)
        sharded = experiment.training.workers != 1
        with connect(
            experiment.cluster, object_store_mb=experiment.search.object_store_mb, needs_dashboard=sharded
        ) as cluster:
            experiment = fit(run, experiment, dataset, cluster, say)
            cluster.preflight(experiment.training, experiment.storage)
            profiles = profile(run, experiment, dataset, say)
            search(run, experiment, dataset, profiles, cluster, console)
        select(run, experiment, dataset)
        report(run)
    return run


def plan(experiment: Experiment) -> "Estimate":
    """What a search would cost and offer: trains nothing, starts no cluster, writes no run folder, works offline."""
    from lft_ray.search.estimate import plan_search

    return plan_search(experiment)


def prepare(run: RunFolder, experiment: Experiment, say: "Say") -> DatasetRecord:
    """Read, check and split the data; a resumed run keeps what it has, and refuses files that changed.

    Raises:
        DataError: listing every problem with file and row.
    """
    from lft_ray.data.prepare import check_unchanged
    from lft_ray.data.prepare import prepare as read_data

    found = run.dataset()
    if found is not None:
        check_unchanged(found)
        return found
    with run.stage("prepare"):
        dataset = read_data(experiment.task, experiment.data, run.storage)
    for problem in dataset.problems:
        say(f"{problem.severity}: {problem.file}: {problem.message}")
    rows = ", ".join(f"{split.rows:,} {name}" for name, split in dataset.splits.items())
    carved = ", ".join(f"{share:.0%} for {name}" for name, share in dataset.carved.items())
    say(f"data: {rows} rows, {len(dataset.labels)} labels" + (f" (carved from train: {carved})" if carved else ""))
    run.put("dataset.json", dataset)
    return dataset


def fit(
    run: RunFolder, experiment: Experiment, dataset: DatasetRecord, cluster: "ClusterHandle", say: "Say"
) -> Experiment:
    """Decide ``training.workers: auto`` and ``training.resources.gpu: auto`` by the memory that a trial takes.

    Raises:
        InputError: the largest size fits no number of workers of this cluster.
    """
    from lft_ray.search.fitting import fitted

    decided = fitted(experiment, cluster, run.storage, dataset)
    if decided is not experiment:
        training = decided.training
        say(f"a trial holds {training.workers} x ({training.resources.cpu:g} CPU, {training.resources.gpu} GPU)")
    return decided


def profile(run: RunFolder, experiment: Experiment, dataset: DatasetRecord, say: "Say") -> ProfileBook:
    """Measure what each candidate would cost to serve, in one real replica, before any of them is trained."""
    from lft_ray.serve.candidates import profile_requests, skipped_lengths
    from lft_ray.serve.profile import measure_profiles

    found = run.profiles()
    if found is not None:
        return found
    requests = profile_requests(experiment, dataset)
    for sentence in skipped_lengths(experiment, requests):
        say(sentence)
    say(f"profiling {len(requests)} variants in a Ray Serve replica")
    with run.stage("profile"):
        profiles = measure_profiles(requests, dataset, experiment.serve)
    for measured in profiles.profiles:
        if measured.warning:
            say(f"warning: {measured.model_size}: {measured.warning}")
    for variant, reason in profiles.refused.items():
        say(f"warning: {variant} is not offered: {reason}")
    run.put("profiles.json", profiles)
    return profiles


def search(
    run: RunFolder,
    experiment: Experiment,
    dataset: DatasetRecord,
    profiles: ProfileBook,
    cluster: "ClusterHandle",
    console: "Console | None",
) -> list[TrialRecord]:
    """Run the trials, then the finalists again with fresh seeds. Returns the whole ledger."""
    from lft_ray.report.live import LiveTable
    from lft_ray.search.study import StudyJob, run_study
    from lft_ray.selection.decide import finalists

    job = StudyJob(run_uri=run.uri, experiment=experiment, dataset=dataset, profiles=profiles)
    search_spec = experiment.search
    with LiveTable(
        search_spec.trials, console=console, minutes=search_spec.minutes, budget_usd=search_spec.budget_usd
    ) as live:
        for record in records_of(run):
            live.on_record(record)
        with run.stage("search"):
            records = run_study(job, cluster, live)
        if experiment.selection.confirm_share > 0:
            chosen = finalists(
                records,
                experiment.selection,
                experiment.cost,
                validation_rows=dataset.splits["validation"].rows,
            )
            with run.stage("confirm"):
                records = run_study(job.confirming(chosen), cluster, live)
    # What frozen layers answered is gigabytes that only trials read; a bucket's nodes bound their own.
    run.storage.delete_folder("activations")
    return records


def select(run: RunFolder, experiment: Experiment, dataset: DatasetRecord) -> Selection:
    """Decide on what the finalists answered on validation, then look at the test split once, with the winner only.

    Raises:
        NoWinnerError: no finished trial satisfies the caps.
    """
    from lft_ray.export.judge import judge
    from lft_ray.export.rounding import choose_winner

    with run.stage("select"):
        ledger, spec, cost = Ledger(run.storage), experiment.selection, experiment.cost
        rows, metric = dataset.splits["validation"].rows, experiment.task.metric
        selection = choose_winner(
            ledger.records(), spec, cost, metric=metric, validation_rows=rows, seed=experiment.search.seed
        )
        winner = ledger.ended(selection.winner_seed_trial_id)
        judged = judge(winner, selection.winner, dataset, metric=metric)
        selection = selection.model_copy(update=judged.model_dump())
    run.put("selection.json", selection)
    run.put_json("front.json", [point.model_dump(mode="json") for point in selection.front])
    return selection


def report(run: RunFolder) -> str:
    """Write ``report.html`` from the run's records. Returns its URI."""
    from lft_ray.report.html import render

    dataset = run.dataset()
    if dataset is None:
        raise InputError(f"{run.uri} has no data yet", fix="`lft search ... --resume` continues it")
    html = render(
        experiment=run.experiment(),
        dataset=dataset,
        profiles=run.profiles(),
        records=records_of(run),
        selection=run.selection(),
        environment=run.json("environment.json"),
        stage_seconds=run.json("stages.json"),
        cascades=run.cascades(),
    )
    return run.storage.put("report.html", html)


def run_train(
    experiment: Experiment, *, size: str | None = None, replace: bool = False
) -> tuple[RunFolder, TrialRecord]:
    """Train the default configuration of one model size in this process, without a cluster.

    Args:
        experiment: lists and ranges of ``training`` are reduced to their defaults.
        size: such as ``minilm:3``; the largest of the experiment when None.
        replace: delete the run of this name first; else a trial is added to it.
    """
    from lft_ray.search.single import train_one
    from lft_ray.search.usable import check_usable

    check_usable(experiment)
    run = RunFolder.begin(experiment, resume=not replace, replace=replace)
    with driver_lock(run.storage):
        run.put_json("environment.json", environment())
        dataset = prepare(run, experiment, _teller(None))
        with run.stage("train"):
            record = train_one(experiment, dataset, Ledger(run.storage), size=size)
        run.storage.delete_folder("activations")
    return run, record


def records_of(run: RunFolder) -> list[TrialRecord]:
    """Every ended trial of a run, by id."""
    return Ledger(run.storage).records()


def _teller(console: "Console | None") -> "Say":
    """What says one line on the console, or nothing."""
    return lambda text: console.print(text, markup=False, soft_wrap=True) if console is not None else None
