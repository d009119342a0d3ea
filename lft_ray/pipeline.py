"""The pipeline: prepare -> profile -> search -> select -> export -> deploy, one function per stage.

In: an `Experiment`, or the `RunFolder` of one. Out: records, also written to the run folder. A stage reads only
records, so it can be rerun alone, on another machine. `run_search` runs the stages up to the report; `run_train` trains
a single configuration without a cluster; `plan` predicts the cost of a search; `status`, `leaderboard`, `report` and
`write_study` read a run and change none of its results. Never loops over rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lft_ray.candidates import Candidates
from lft_ray.cluster.environment import environment
from lft_ray.config import Experiment
from lft_ray.errors import InputError, NoWinnerError
from lft_ray.records import Bundle, Cascade, DatasetRecord, Endpoint, ProfileBook, Selection, TrialRecord
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, driver_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rich.console import Console

    from lft_ray.cluster.connect import ClusterHandle
    from lft_ray.export.build import ExportJob
    from lft_ray.plan.estimate import Estimate
    from lft_ray.report.costs import MoneySpecs
    from lft_ray.search.specs import StudySpecs

    Log = Callable[[str], None]

__all__ = [
    "Prepared", "cascade", "check", "deploy", "down", "export", "leaderboard", "plan", "prepare", "profile",
    "records_of", "report", "rollback", "run_search", "run_train", "search", "select", "status", "write_study",
]  # fmt: skip


def export(run: RunFolder, *, trial_id: str | None = None) -> Bundle:
    """Write the verified bundle of the winner, or of another finished trial.

    Raises:
        InputError: there is no such finished trial.
        NoWinnerError: no trial is named and the run has no winner.
        BundleError: the predictions of the bundle differ from those of the trained network.
    """
    from lft_ray.export.build import export_trial

    ledger, selection = Ledger(run.storage), run.selection()
    if run.dataset() is None or not ledger.records():
        raise InputError(f"{run.uri} has no finished trial", fix="`lft search ... --resume` continues it")
    if trial_id is None and selection is None:
        raise NoWinnerError(f"{run.uri} has no winner", fix="finish the search, or name a trial with --trial")
    chosen = trial_id or (selection.winner_seed_trial_id if selection else "")
    with run.stage("export"):
        record = ledger.ended(chosen)
        teacher = ledger.get(record.config.teacher)
        bundle = export_trial(record, _export_job(run, run.experiment()), teacher=teacher).replace(trial_id=chosen)
    run.put("bundle.json", bundle)
    return bundle


def cascade(run: RunFolder, small: str, large: str, *, experiment: Experiment | None = None) -> Cascade:
    """Combine two trials into a cascade, in ``cascade/``: the large model predicts where the small one is not
    confident.

    Args:
        run: the run folder.
        small: trial id or model size of the cheaper model.
        large: trial id or model size of the more expensive model.
        experiment: margin and utilisation to use; None: those of the run.

    Raises:
        InputError: there is no such trial, or the pair cannot form a cascade.
    """
    from lft_ray.export.make_cascade import CascadeJob, make_cascade

    experiment, book = experiment or run.experiment(), run.profiles()
    if book is None:
        raise InputError(f"{run.uri} has no profiles yet", fix="`lft search ... --resume` continues it")
    job = CascadeJob(
        export=_export_job(run, experiment),
        ledger=Ledger(run.storage),
        ingress=book.ingress,
        margin=experiment.selection.margin,
        utilisation=experiment.cost.utilisation,
        seed=experiment.search.seed,
    )
    with run.stage("cascade"):
        return make_cascade(run, small, large, job)


def _export_job(run: RunFolder, experiment: Experiment) -> "ExportJob":
    """Collect what an export reads from a run.

    Raises:
        InputError: the run has no data yet.
    """
    from lft_ray.export.build import ExportJob

    dataset = run.dataset()
    if dataset is None:
        raise InputError(f"{run.uri} has no data yet", fix="`lft search ... --resume` continues it")
    candidates = Candidates.of_run(run).priced(experiment.cost)
    if not candidates.revisions:
        # Runs of older versions did not record the revisions of their base models.
        candidates = candidates.with_weights(dataset)
    return ExportJob(experiment.name, candidates, dataset, run.selection(), run.storage, experiment.training.distill)


def deploy(
    run: RunFolder,
    *,
    trial_id: str | None = None,
    pair: tuple[str, str] | None = None,
    overrides: list[str] | None = None,
    address: str | None = None,
    foreground: bool = False,
) -> Endpoint:
    """Serve the run's bundle, or a cascade. A live endpoint of the run is promoted to it without downtime.

    Args:
        run: the run folder.
        trial_id: trial to export and serve; None: the winner, which is exported unless its bundle is there.
        pair: trial ids or model sizes of a cascade's small and large model.
        overrides: ``serve.b=c`` on the run's experiment.
        address: existing Ray cluster (``auto`` or host:port); None: a cluster of its own on this machine.
        foreground: block and serve until interrupted.
    """
    from lft_ray.serve.endpoint import changes, locks
    from lft_ray.serve.endpoint.deploy import deploy as start

    given = changes.check_given(overrides or [], with_cascade=pair is not None)
    experiment = run.experiment().with_overrides(overrides or [])
    with locks.one_command(run.storage, "lft deploy"):  # two exports at a time would write one folder
        if pair is not None:
            cascade(run, *pair, experiment=experiment)
            uri = run.storage.uri_of("cascade")
        else:
            uri = (None if trial_id else run.winner_bundle()) or export(run, trial_id=trial_id).uri
        with run.stage("deploy"):
            return start(run.uri, uri, experiment.serve, given=given, address=address, foreground=foreground)


def rollback(run: RunFolder) -> Endpoint:
    """Abort the canary of the run's endpoint; without a canary, go back to the previous bundle."""
    from lft_ray.serve.endpoint.deploy import rollback as roll_back

    return roll_back(run.uri)


def down(run: RunFolder) -> Endpoint | None:
    """Shut the run's endpoint down, and nothing else. Returns None if there is none."""
    from lft_ray.serve.endpoint.deploy import down as stop

    return stop(run.uri)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Output of ``prepare``, which all later stages read.

    Attributes:
        dataset: splits, labels and findings of the data check.
        candidates: model sizes and variants that may be trained and served.
        ledger: trials of the run; read from disk once, because only this driver writes.
    """

    dataset: DatasetRecord
    candidates: Candidates
    ledger: Ledger


def run_search(
    experiment: Experiment,
    *,
    resume: bool = False,
    replace: bool = False,
    console: "Console | None" = None,
    on_stage: "Log | None" = None,
) -> RunFolder:
    """Run the stages from labelled data to a chosen model: prepare, profile, search, select, report.

    Args:
        experiment: the resolved experiment.
        resume: continue the run of this name; finished work is not repeated.
        replace: delete the run of this name first.
        console: where progress is printed; None: silent.
        on_stage: called with the name of each stage when it starts, also for later stages of the returned run.

    Raises:
        InputError: experiment, data or models cannot be used; raised before the first trial.
        NoWinnerError: no finished trial satisfies the selection policy; the ledger keeps all measurements.
    """
    from lft_ray.cluster.connect import connect

    check(experiment)
    run = RunFolder.begin(experiment, resume=resume, replace=replace)
    run.on_stage = on_stage
    with driver_lock(run.storage):
        run.put_json("environment.json", environment())
        log = _printer(console)
        prepared = prepare(run, experiment, log)
        sharded = experiment.training.workers != 1
        with connect(
            experiment.cluster, object_store_mb=experiment.search.object_store_mb, needs_dashboard=sharded
        ) as cluster:
            experiment = fit(run, experiment, prepared, cluster, log)
            cluster.preflight(experiment.training, experiment.storage)
            profiles = profile(run, experiment, prepared, log)
            search(run, experiment, prepared, profiles, cluster, console)
        select(run, experiment, prepared)
        report(run, prepared.ledger)
    return run


def check(experiment: Experiment) -> None:
    """Refuse an experiment in which no trial could run, before a run folder is created.

    Raises:
        InputError: a name is unknown, a base model cannot be found, or no training method fits a model size.
    """
    from lft_ray.search.preflight import check_experiment

    candidates = Candidates.of(experiment)
    check_experiment(candidates, experiment.training)
    candidates.check_weights()


def plan(experiment: Experiment) -> "Estimate":
    """Predict cost and candidates of a search; trains nothing, starts no cluster, writes no run folder, works offline.

    Raises:
        InputError: the data or the models cannot be used.
    """
    from tempfile import TemporaryDirectory

    from lft_ray.cluster.connect import this_machine
    from lft_ray.data.prepare import prepare as read_data
    from lft_ray.plan.estimate import PlanJob, estimate
    from lft_ray.plan.history import load_history
    from lft_ray.plan.serving_costs import matmul_flops_per_core_s
    from lft_ray.run.storage import Storage
    from lft_ray.search.preflight import check_experiment

    check_experiment(Candidates.of(experiment), experiment.training)
    with TemporaryDirectory(prefix="lft-plan-") as folder:
        dataset = read_data(experiment.task, experiment.data, Storage(folder))
    job = PlanJob(
        name=experiment.name,
        candidates=Candidates.of(experiment, dataset),
        dataset=dataset,
        specs=_specs(experiment),
        cluster_address=experiment.cluster.address,
    )
    max_length = experiment.training.max_length
    earlier = load_history(experiment.run_uri, dataset, max_length=max_length, serve=experiment.serve)
    return estimate(job, this_machine(), earlier, matmul_flops_per_core_s)


def prepare(run: RunFolder, experiment: Experiment, log: "Log") -> Prepared:
    """Read, check and split the data, and resolve the candidates, once per run.

    A resumed run reuses its records; it refuses changed data files, and names that now resolve to something else.

    Raises:
        DataError: listing every problem with file and row.
        ConfigError: the run was started with other candidates.
    """
    dataset = _dataset(run, experiment, log)
    candidates = Candidates.of(experiment, dataset)
    found = run.find_record("candidates.json", Candidates)
    if found is None:
        candidates = candidates.with_weights(dataset)
    else:
        found.check_same(candidates, where=run.uri)
        # Prices may change on resume: costs are computed from measured seconds.
        candidates = found.priced(experiment.cost)
    run.put("candidates.json", candidates)
    return Prepared(dataset, candidates, Ledger(run.storage))


def _dataset(run: RunFolder, experiment: Experiment, log: "Log") -> DatasetRecord:
    from lft_ray.data.prepare import check_unchanged
    from lft_ray.data.prepare import prepare as read_data

    found = run.dataset()
    if found is not None:
        check_unchanged(found)
        return found
    with run.stage("prepare"):
        dataset = read_data(experiment.task, experiment.data, run.storage)
    for problem in dataset.problems:
        log(f"{problem.severity}: {problem.file}: {problem.message}")
    rows = ", ".join(f"{split.rows:,} {name}" for name, split in dataset.splits.items())
    carved = ", ".join(f"{share:.0%} for {name}" for name, share in dataset.carved.items())
    log(f"data: {rows} rows, {len(dataset.labels)} labels" + (f" (split off train: {carved})" if carved else ""))
    run.put("dataset.json", dataset)
    return dataset


def fit(run: RunFolder, experiment: Experiment, prepared: Prepared, cluster: "ClusterHandle", log: "Log") -> Experiment:
    """Resolve ``training.workers: auto`` and ``training.resources.gpu: auto`` from the memory that a trial needs.

    Raises:
        InputError: the largest model size does not fit on any number of workers of this cluster.
    """
    from lft_ray.search.resources import fitted

    training = fitted(experiment.training, prepared.candidates, cluster, run.storage)
    if training is experiment.training:
        return experiment
    log(f"resources per trial: {training.workers} x ({training.resources.cpu:g} CPU, {training.resources.gpu} GPU)")
    return experiment.replace(training=training)


def profile(run: RunFolder, experiment: Experiment, prepared: Prepared, log: "Log") -> ProfileBook:
    """Measure the serving cost of each candidate in a real Ray Serve replica, before any of them is trained."""
    from lft_ray.profile.measure import measure_profiles
    from lft_ray.profile.requests import profile_requests, skipped_lengths

    found = run.profiles()
    if found is not None:
        return found
    requests = profile_requests(prepared.candidates, prepared.dataset)
    for sentence in skipped_lengths(prepared.candidates, requests):
        log(sentence)
    log(f"profiling {len(requests)} variants in a Ray Serve replica")
    with run.stage("profile"):
        profiles = measure_profiles(requests, prepared.dataset, experiment.serve)
    for measured in profiles.profiles:
        if measured.warning:
            log(f"warning: {measured.model_size}: {measured.warning}")
    for variant, reason in profiles.refused.items():
        log(f"warning: {variant} is not offered: {reason}")
    run.put("profiles.json", profiles)
    return profiles


def search(
    run: RunFolder,
    experiment: Experiment,
    prepared: Prepared,
    profiles: ProfileBook,
    cluster: "ClusterHandle",
    console: "Console | None",
) -> list[TrialRecord]:
    """Run the trials, then repeat runs of the finalists with fresh seeds. Returns all records of the ledger."""
    from lft_ray.report.live import LiveTable
    from lft_ray.search.study import StudyJob, run_study
    from lft_ray.selection.finalists import finalists

    dataset, ledger, specs = prepared.dataset, prepared.ledger, _specs(experiment)
    job = StudyJob(ledger, prepared.candidates, dataset, profiles, specs)
    with LiveTable(
        specs.search.trials, console=console, minutes=specs.search.minutes, budget_usd=specs.search.budget_usd
    ) as live:
        for record in ledger.records():
            live.on_record(record)
        with run.stage("search"):
            records = run_study(job, cluster, live)
        if specs.selection.confirmation_fraction > 0:
            rows = dataset.splits["validation"].rows
            chosen = finalists(records, specs.selection, specs.cost, validation_rows=rows)
            with run.stage("confirm"):
                records = run_study(job.confirming(chosen), cluster, live)
    # Cached activations take gigabytes and are read by trials only; with a bucket each node evicts its own cache.
    run.storage.delete_folder("activations")
    return records


def select(run: RunFolder, experiment: Experiment, prepared: Prepared) -> Selection:
    """Choose the winner by the finalists' validation predictions, then evaluate it once on the test split.

    Raises:
        NoWinnerError: no finished trial satisfies the caps.
    """
    from lft_ray.selection.held_out import evaluate_held_out
    from lft_ray.selection.stage import choose_winner

    with run.stage("select"):
        ledger, dataset, task = prepared.ledger, prepared.dataset, prepared.candidates.task
        selection = choose_winner(
            ledger.records(),
            experiment.selection,
            experiment.cost,
            metric=task.metric,
            validation_rows=dataset.splits["validation"].rows,
            seed=experiment.search.seed,
        )
        judged = evaluate_held_out(ledger.ended(selection.winner_seed_trial_id), selection.winner, dataset, task)
        selection = selection.replace(**judged.model_dump())
    run.put("selection.json", selection)
    run.put_json("front.json", [point.model_dump(mode="json") for point in selection.front])
    return selection


def report(run: RunFolder, ledger: Ledger | None = None) -> str:
    """Write ``report.html`` from the run's records, read from disk unless a ledger is given. Returns its URI."""
    from lft_ray.report.html import ReportJob, render

    experiment, dataset, candidates = run.experiment(), run.dataset(), Candidates.of_run(run)
    if dataset is None:
        raise InputError(f"{run.uri} has no data yet", fix="`lft search ... --resume` continues it")
    html = render(
        ReportJob(
            name=experiment.name,
            run_uri=experiment.run_uri,
            candidates=candidates,
            money=_money(experiment, candidates),
            dataset=dataset,
            profiles=run.profiles(),
            records=ledger.records() if ledger is not None else records_of(run),
            selection=run.selection(),
            environment=run.json("environment.json"),
            stage_seconds=run.json("stages.json"),
            cascades=run.cascades(),
        )
    )
    return run.storage.put("report.html", html)


def status(run: RunFolder) -> dict[str, "Any"]:
    """State of a run as plain values; see `lft_ray.report.status`."""
    from lft_ray.report.status import status_of

    return status_of(run, Ledger(run.storage))


def leaderboard(run: RunFolder) -> dict[str, "Any"]:
    """The leaderboard of a run as plain values, also of a running search; ``break_even`` is None without a winner."""
    from lft_ray.cost.break_even import break_even_of
    from lft_ray.selection.leaderboard import leaderboard as build

    selection, records = run.selection(), records_of(run)
    month = _money(run.experiment(), Candidates.of_run(run)).month
    pays = break_even_of(month, run.profiles(), selection, records)
    return {**build(selection, records, run.cascades()), "break_even": pays.model_dump(mode="json") if pays else None}


def write_study(run: RunFolder, url: str) -> int:
    """Write a run's trials as an Optuna study into the database at ``url``. Returns the number of trials.

    Raises:
        InputError: ``url`` is not a database URL.
        UnreachableError: the database cannot be reached or written.
    """
    from lft_ray.report.optuna_study import write_study as write

    experiment = run.experiment()
    return write(experiment.name, experiment.task.metric, records_of(run), url)


def run_train(
    experiment: Experiment, *, size: str | None = None, replace: bool = False
) -> tuple[RunFolder, TrialRecord]:
    """Train the default configuration of one model size in this process, without a cluster.

    Args:
        experiment: lists and ranges of ``training`` are reduced to their default values.
        size: model size such as ``minilm:3``; None: the largest of the experiment.
        replace: delete the run of this name first; otherwise a trial is added to it.
    """
    from lft_ray.search.single import train_one

    check(experiment)
    run = RunFolder.begin(experiment, resume=not replace, replace=replace)
    with driver_lock(run.storage):
        run.put_json("environment.json", environment())
        prepared = prepare(run, experiment, _printer(None))
        candidates, dataset, ledger = prepared.candidates, prepared.dataset, prepared.ledger
        with run.stage("train"):
            record = train_one(candidates, dataset, ledger, experiment.training, size=size, seed=experiment.search.seed)
        run.storage.delete_folder("activations")
    return run, record


def records_of(run: RunFolder) -> list[TrialRecord]:
    """Records of all trials of a run that have ended, sorted by id."""
    return Ledger(run.storage).records()


def _printer(console: "Console | None") -> "Log":
    """Return a function that prints one line on the console, or nothing without one."""
    return lambda text: console.print(text, markup=False, soft_wrap=True) if console is not None else None


def _specs(experiment: Experiment) -> "StudySpecs":
    """The sections of an experiment that a study reads."""
    from lft_ray.search.specs import StudySpecs

    return StudySpecs(experiment.search, experiment.training, experiment.selection, experiment.cost)


def _money(experiment: Experiment, candidates: Candidates) -> "MoneySpecs":
    """Prices and budgets of a run, for the report."""
    from lft_ray.report.costs import MoneySpecs

    return MoneySpecs(candidates.price, experiment.cost, experiment.search, experiment.serve)
