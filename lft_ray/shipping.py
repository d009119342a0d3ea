"""From a finished search to an endpoint: bundle, cascade, deployment. In: a run folder. Out: records, and what serves.

Called through `lft_ray.pipeline`, whose last stages these are.
"""

from typing import TYPE_CHECKING

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.delivery import Bundle, Cascade, Endpoint
from lft_ray.errors import InputError, NoWinnerError
from lft_ray.ledger import Ledger
from lft_ray.run_folder import RunFolder

if TYPE_CHECKING:
    from lft_ray.export.stage import ExportJob

__all__ = ["cascade", "deploy", "down", "export", "rollback"]


def export(run: RunFolder, *, trial_id: str | None = None) -> Bundle:
    """Write the verified bundle of the winner, or of a finished trial.

    Raises:
        InputError: there is no such finished trial.
        NoWinnerError: no trial is named and the run has no winner.
        BundleError: the bundle's answers differ from the trainer's.
    """
    from lft_ray.export.stage import export_trial

    ledger, selection = Ledger(run.storage), run.selection()
    if run.dataset() is None or not ledger.records():
        raise InputError(f"{run.uri} has no finished trial", fix="`lft search ... --resume` continues it")
    if trial_id is None and selection is None:
        raise NoWinnerError(f"{run.uri} has no winner", fix="finish the search, or name a trial with --trial")
    chosen = trial_id or (selection.winner_seed_trial_id if selection else "")
    with run.stage("export"):
        record = ledger.ended(chosen)
        teacher = ledger.get(record.config.teacher)
        bundle = export_trial(record, _export_job(run, run.experiment()), teacher=teacher)
    run.put("bundle.json", bundle)
    return bundle


def cascade(run: RunFolder, small: str, large: str, *, experiment: Experiment | None = None) -> Cascade:
    """Make two trials one, in ``cascade/``: the small one answers where it is sure, the large one the rest.

    Raises:
        InputError: there is no such trial, or the pair makes no cascade.
    """
    from lft_ray.export.pairing import CascadeJob, make_cascade

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
    """What an export reads of a run.

    Raises:
        InputError: the run has no data yet.
    """
    from lft_ray.export.stage import ExportJob

    dataset = run.dataset()
    if dataset is None:
        raise InputError(f"{run.uri} has no data yet", fix="`lft search ... --resume` continues it")
    candidates = Candidates.of_run(run).priced(experiment.cost)
    if not candidates.revisions:
        # A run of an older version, which did not write down what was found.
        candidates = candidates.with_weights(dataset)
    return ExportJob(experiment.name, candidates, dataset, run.selection(), run.storage, experiment.training.distil)


def deploy(
    run: RunFolder,
    *,
    trial_id: str | None = None,
    pair: tuple[str, str] | None = None,
    overrides: list[str] | None = None,
    address: str | None = None,
    foreground: bool = False,
) -> Endpoint:
    """Serve the run's bundle (made first where it is missing) or a `cascade`; a live endpoint is promoted to it."""
    from lft_ray.serve.deploy import deploy as start

    experiment = run.experiment().with_overrides(overrides or [])
    if pair is not None:
        cascade(run, *pair, experiment=experiment)
        uri = run.storage.uri_of("cascade")
    else:
        bundle = run.bundle()
        if bundle is None or trial_id is not None or not run.storage.exists("bundle"):
            bundle = export(run, trial_id=trial_id)
        uri = bundle.uri
    with run.stage("deploy"):
        return start(run.uri, uri, experiment.serve, address=address, foreground=foreground)


def rollback(run: RunFolder) -> Endpoint:
    """End the canary of the run's endpoint; without one, let it go back to the bundle that it served before."""
    from lft_ray.serve.deploy import rollback as go_back

    return go_back(run.uri)


def down(run: RunFolder) -> Endpoint | None:
    """Stop the run's endpoint: exactly its process. None when there is none."""
    from lft_ray.serve.deploy import down as stop

    return stop(run.uri)
