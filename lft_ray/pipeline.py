"""The pipeline: prepare -> profile -> search -> select -> export -> deploy, one function per stage.

In: an `Experiment`, or the `RunFolder` of one. Out: records, also written to the run folder. A stage reads only
records, so it can be rerun alone, on another machine. `run_search` runs the stages up to the report; `run_train` trains
a single configuration without a cluster; `plan` predicts the cost of a search; `status`, `leaderboard`, `report` and
`write_study` read a run and change none of its results. Never loops over rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lft_ray.candidates import Candidates
from lft_ray.causes import named_faults
from lft_ray.cluster.environment import environment
from lft_ray.config import Experiment
from lft_ray.errors import InputError
from lft_ray.records import Bundle, Cascade, DatasetRecord, Endpoint, ProfileBook, Selection, TrialRecord
from lft_ray.run.finished import is_finished, mark_finished
from lft_ray.run.folder import RunFolder
from lft_ray.run.intact import check_intact
from lft_ray.run.ledger import Ledger, check_winner
from lft_ray.run.lock import exclusive
from lft_ray.run.storage import Storage
from lft_ray.run.trouble import naming_storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rich.console import Console

    from lft_ray.cluster.connect import ClusterHandle
    from lft_ray.plan.estimate import Estimate
    from lft_ray.report.costs import MoneySpecs
    from lft_ray.search.specs import StudySpecs

    Log = Callable[[str], None]

__all__ = [
    "Prepared", "bundle_of", "cascade", "check", "deploy", "down", "export", "leaderboard", "plan", "prepare",
    "profile", "records_of", "report", "rollback", "run_search", "run_train", "search", "select", "status",
    "write_study",
]  # fmt: skip


def export(run: RunFolder, *, trial_id: str | None = None) -> Bundle:
    """Write the verified bundle of the winner to ``bundle/``, or of another finished trial to ``exports/<trial>/``.

    Raises:
        InputError: there is no such finished trial.
        NoWinnerError: no trial is named and the run has no winner.
        DamagedFileError: a file of the trial is missing or was changed.
        BundleError: the predictions of the bundle differ from those of the trained network.
    """
    from lft_ray.export.of_run import export_run

    return export_run(run, trial_id)


def bundle_of(run: RunFolder) -> Bundle:
    """The bundle that a run serves: the winner's, exported first where it is missing or of another trial.

    Raises:
        NoWinnerError: the run has neither a winner nor a bundle.
    """
    from lft_ray.export.of_run import current_bundle

    return current_bundle(run) or export(run)


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
    from lft_ray.export.of_run import export_job

    experiment, book = experiment or run.experiment(), run.profiles()
    if book is None:
        raise InputError(f"{run.uri} has no profiles yet", fix="`lft search ... --resume` continues it")
    job = CascadeJob(
        export=export_job(run, experiment.name, experiment.cost, experiment.training.distill),
        ledger=Ledger(run.storage),
        ingress=book.ingress,
        margin=experiment.selection.margin,
        utilisation=experiment.cost.utilisation,
        seed=experiment.search.seed,
    )
    with naming_storage_errors(run.uri), exclusive(run.storage, "export"), run.stage("cascade"):
        return make_cascade(run, small, large, job)


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
        trial_id: trial to export and serve; None: the winner, which is exported first where needed.
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
            uri = (export(run, trial_id=trial_id) if trial_id is not None else bundle_of(run)).uri
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
    retry_failed: bool = False,
    console: "Console | None" = None,
    on_stage: "Log | None" = None,
) -> RunFolder:
    """Run the stages from labelled data to a chosen model: prepare, profile, search, select, report.

    Args:
        experiment: the resolved experiment.
        resume: continue the run of this name; finished work is not repeated.
        replace: delete the run of this name first.
        retry_failed: continue the run, and run the trials again whose records say that they failed.
        console: where progress is printed; None: silent.
        on_stage: called with the name of each stage when it starts, also for later stages of the returned run.

    Raises:
        InputError: experiment, data or models cannot be used; raised before the first trial.
        NoWinnerError: no finished trial satisfies the selection policy; the ledger keeps all measurements.
        StorageError, UnreachableError: the disk, the bucket or the Ray cluster failed; resume it later.
    """
    from lft_ray.cluster.connect import connect
    from lft_ray.search.budget.precheck import check_start
    from lft_ray.search.retry import retry_failed as reopened

    check(experiment)
    log = _printer(console)
    with (
        named_faults(experiment.run_uri),
        RunFolder.driven(experiment, resume=resume or retry_failed, replace=replace, log=log) as run,
    ):
        run.on_stage = on_stage
        experiment = run.experiment()
        given = experiment.to_yaml()
        prepared = prepare(run, experiment, log)
        experiment = prepared.candidates.usable(experiment)
        check_intact(run, prepared.ledger, prepared.dataset)
        if retry_failed:
            log(reopened(prepared.ledger))
        elif resume and is_finished(run, given, prepared.ledger):
            log(f"{run.uri} is finished: every trial has ended and a winner is selected")
            report(run, prepared.ledger)
            return run
        owned = experiment.cluster.address is None
        check_start(_specs(experiment), prepared.candidates, prepared.dataset, prepared.ledger, log, owned=owned)
        sharded, store_mb = experiment.training.workers != 1, experiment.search.object_store_mb
        with connect(experiment.cluster, object_store_mb=store_mb, needs_dashboard=sharded) as cluster:
            experiment = fit(run, experiment, prepared, cluster, log)
            cluster.preflight(experiment.training, experiment.storage)
            run.settle()
            run.note_environment(environment())
            profiles = profile(run, experiment, prepared, log)
            search(run, experiment, prepared, profiles, cluster, console)
        select(run, experiment, prepared)
        report(run, prepared.ledger)
        mark_finished(run, given, prepared.ledger)
    return run


def check(experiment: Experiment) -> None:
    """Refuse an experiment in which no trial could run, before a run folder is created.

    Raises:
        InputError: a name is unknown, a base model cannot be found, or no training method fits a model size.
    """
    _checked(experiment).check_weights()


def _checked(experiment: Experiment) -> Candidates:
    from lft_ray.search.preflight import check_experiment, check_plugins

    candidates = Candidates.of(experiment)
    check_plugins(experiment.search, experiment.selection.policy)
    check_experiment(candidates, experiment.training)
    return candidates


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

    experiment = _checked(experiment).usable(experiment)
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
    labels = f", {len(dataset.labels)} labels" if dataset.labels else ""
    log(f"data: {rows} rows{labels}" + (f" (split off train: {carved})" if carved else ""))
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
    from lft_ray.profile.measure import is_current, measure_profiles, warnings_of
    from lft_ray.profile.requests import profile_requests, skipped_lengths

    kept, has_ended = run.profiles(), bool(prepared.ledger.records())
    if kept is not None and is_current(kept, experiment.serve, keeps=has_ended, log=log):
        return kept
    requests = profile_requests(prepared.candidates, prepared.dataset)
    for sentence in skipped_lengths(prepared.candidates, requests):
        log(sentence)
    log(f"profiling {len(requests)} variants in a Ray Serve replica")
    with run.stage("profile"):
        profiles = measure_profiles(requests, prepared.dataset, experiment.serve)
    for sentence in warnings_of(profiles):
        log(f"warning: {sentence}")
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
    from lft_ray.selection.stage import finalists_of

    dataset, ledger, specs = prepared.dataset, prepared.ledger, _specs(experiment)
    job, limits = StudyJob(ledger, prepared.candidates, dataset, profiles, specs), specs.search
    with LiveTable(limits.trials, console=console, minutes=limits.minutes, budget_usd=limits.budget_usd) as live:
        for record in ledger.records():
            live.on_record(record)
        with run.stage("search"):
            records = run_study(job, cluster, live)
        if specs.selection.confirmation_fraction > 0:
            task, rows = prepared.candidates.task, dataset.splits["validation"].rows
            chosen = finalists_of(records, specs.selection, specs.cost, task=task, validation_rows=rows)
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
    from lft_ray.report.board import coverage_of_run
    from lft_ray.selection.held_out import tested
    from lft_ray.selection.stage import choose_winner

    with run.stage("select"):
        ledger, dataset, task = prepared.ledger, prepared.dataset, prepared.candidates.task
        selection = choose_winner(
            ledger.records(),
            experiment.selection,
            experiment.cost,
            task=task,
            validation_rows=dataset.splits["validation"].rows,
            seed=experiment.search.seed,
            coverage=coverage_of_run(run, prepared.candidates, ledger, _specs(experiment), is_over=True),
        )
        selection = tested(run, selection, ledger, dataset, task, seed=experiment.search.seed)
    run.put("selection.json", selection)
    run.put_json("front.json", [point.model_dump(mode="json") for point in selection.front])
    return selection


def report(run: RunFolder, ledger: Ledger | None = None) -> str:
    """Write ``report.html`` from the run's records, read from disk unless a ledger is given. Returns its URI."""
    from lft_ray.report.board import html_of_run

    experiment, dataset, candidates = run.experiment(), run.dataset(), Candidates.of_run(run)
    if dataset is None:
        raise InputError(f"{run.uri} has no dataset.json yet", fix="`lft search ... --resume` continues it")
    ledger = ledger or Ledger(run.storage)
    check_winner(run.selection(), ledger)
    specs, money, names = _specs(experiment), _money(experiment, candidates), (experiment.name, experiment.run_uri)
    html = html_of_run(run, candidates, dataset, ledger, specs, money, names)
    with naming_storage_errors(run.uri, needed_bytes=len(html.encode())):
        return run.storage.put("report.html", html)


def status(run: RunFolder) -> dict[str, "Any"]:
    """State of a run as plain values; see `lft_ray.report.status`."""
    from lft_ray.report.status import status_of

    return status_of(run, Ledger(run.storage))


def leaderboard(run: RunFolder) -> dict[str, "Any"]:
    """The leaderboard of a run as plain values, also of a running search; ``break_even`` is None without a winner."""
    from lft_ray.report.board import board_of_run

    experiment, candidates, ledger = run.experiment(), Candidates.of_run(run), Ledger(run.storage)
    check_winner(run.selection(), ledger)
    return board_of_run(run, candidates, ledger, _specs(experiment), _money(experiment, candidates))


def write_study(run: RunFolder, url: str) -> int:
    """Write a run's trials as an Optuna study into the database at ``url``. Returns the number of trials.

    Raises:
        InputError: ``url`` is not a database URL.
        UnreachableError: the database cannot be reached or written.
    """
    from lft_ray.report.optuna_study import write_study as write

    experiment = run.experiment()
    return write(experiment.name, Candidates.of_run(run).task.metric, records_of(run), url)


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
    with (
        named_faults(experiment.run_uri),
        RunFolder.driven(experiment, resume=not replace, replace=replace) as run,
    ):
        experiment = run.experiment()
        prepared = prepare(run, experiment, _printer(None))
        experiment = prepared.candidates.usable(experiment)
        run.settle()
        run.note_environment(environment())
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
    from lft_ray.search.specs import StudySpecs

    return StudySpecs(experiment.search, experiment.training, experiment.selection, experiment.cost)


def _money(experiment: Experiment, candidates: Candidates) -> "MoneySpecs":
    from lft_ray.report.costs import MoneySpecs

    return MoneySpecs(candidates.price, experiment.cost, experiment.search, experiment.serve)
