"""The bundles of a run: ``bundle/`` is what it serves, ``exports/<trial>/`` are trials that were asked for by name.

In: a run folder. Out: its `Bundle`, written where needed, with its record beside it.
"""

import hashlib
from typing import TYPE_CHECKING

from lft_ray.candidates import Candidates
from lft_ray.config import CostSpec, DistillSpec
from lft_ray.errors import InputError, NoWinnerError
from lft_ray.export.build import ExportJob, export_trial
from lft_ray.export.bundle import MANIFEST
from lft_ray.records import Bundle, Selection, TrialRecord
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, check_winner
from lft_ray.run.lock import exclusive
from lft_ray.run.storage import Storage
from lft_ray.run.trouble import naming_storage_errors

if TYPE_CHECKING:
    from lft_ray.export.litert import LiteRt

__all__ = ["BUNDLE", "current_bundle", "export_job", "export_run", "export_run_as_litert", "folder_of"]

BUNDLE = "bundle"


def export_run(run: RunFolder, trial_id: str | None) -> Bundle:
    """Export the winner, or another finished trial by its id; see `lft_ray.pipeline.export`."""
    ledger, selection, record = _asked(run, trial_id)
    name = folder_of(record.trial_id, selection)
    # The candidate and the bundle.
    needed = 2 * Storage(record.checkpoint_uri).bytes() if record.checkpoint_uri else None
    with naming_storage_errors(run.uri, needed_bytes=needed), exclusive(run.storage, "export"):
        with run.stage("export"):
            teacher, experiment = ledger.get(record.config.teacher), run.experiment()
            job = export_job(run, experiment.name, experiment.cost, experiment.training.distill)
            bundle = export_trial(record, job, teacher=teacher, name=name)
        run.put(f"{name}.json", bundle)
    return bundle


def export_run_as_litert(run: RunFolder, trial_id: str | None) -> "tuple[LiteRt, str]":
    """Export the winner, or another finished trial, for LiteRT. Returns its card, and the URI of the folder.

    Raises:
        InputError: there is no such trial, it is no network, or the converter is not installed.
        BundleError: the converted network predicts something else.
    """
    from lft_ray.export.litert import export_litert

    _, selection, record = _asked(run, trial_id)
    dataset = run.dataset()
    assert dataset is not None
    length = record.config.max_length
    if selection is not None and record.trial_id == selection.winner_seed_trial_id:
        length = selection.winner.max_length
    name = f"exports/{record.trial_id}-litert"
    with naming_storage_errors(run.uri), exclusive(run.storage, "export"):
        card = export_litert(record, dataset, run.storage, name, length)
    return card, run.storage.uri_of(name)


def _asked(run: RunFolder, trial_id: str | None) -> tuple[Ledger, Selection | None, TrialRecord]:
    """The ledger, the selection, and the trial to export: the winner where none is named."""
    ledger, selection = Ledger(run.storage), run.selection()
    if trial_id is None:
        check_winner(selection, ledger)
    if run.dataset() is None:
        raise InputError(
            f"{run.uri} has no dataset.json", fix="restore it, or start again with `lft search ... --replace`"
        )
    if not ledger.records():
        raise InputError(f"{run.uri} has no finished trial", fix="`lft search ... --resume` continues it")
    if trial_id is None:
        if selection is None:
            raise NoWinnerError(f"{run.uri} has no winner", fix="finish the search, or name a trial with --trial")
        trial_id = selection.winner_seed_trial_id
    return ledger, selection, ledger.ended(trial_id)


def export_job(run: RunFolder, name: str, cost: CostSpec, distill: DistillSpec) -> ExportJob:
    """Collect what an export reads from a run.

    Raises:
        InputError: the run has no data yet.
    """
    dataset = run.dataset()
    if dataset is None:
        raise InputError(f"{run.uri} has no dataset.json yet", fix="`lft search ... --resume` continues it")
    candidates = Candidates.of_run(run).priced(cost)
    if not candidates.revisions:
        # Runs of older versions did not record the revisions of their base models.
        candidates = candidates.with_weights(dataset)
    return ExportJob(name, candidates, dataset, run.selection(), run.storage, distill)


def folder_of(trial_id: str, selection: Selection | None) -> str:
    """Folder for the bundle of a trial: ``bundle`` for the winner, and in a run that has selected none.

    Another trial gets a folder of its own, so that the winner remains what the run serves.
    """
    is_served = selection is None or trial_id == selection.winner_seed_trial_id
    return BUNDLE if is_served else f"exports/{trial_id}"


def current_bundle(run: RunFolder) -> Bundle | None:
    """The bundle in ``bundle/`` if it is the winner's, or any in a run that has selected none; else None.

    Bundles of 0.2.0 and earlier do not say which trial they contain, and are no winner's for certain.
    """
    bundle, selection = run.bundle(), run.selection()
    if bundle is None or not run.storage.exists(f"{BUNDLE}/{MANIFEST}"):
        return None
    # The version is a hash of the manifest: a folder that was exchanged is not the bundle of the record.
    if hashlib.sha256(run.storage.get(f"{BUNDLE}/{MANIFEST}")).hexdigest()[:12] != bundle.version:
        return None
    if selection is not None:
        won, asked = selection.winner, bundle.asked
        if bundle.trial_id != selection.winner_seed_trial_id or asked is None:
            return None
        if (asked.precision, asked.max_length) != (won.precision, won.max_length):
            return None
    return bundle.replace(uri=run.storage.uri_of(BUNDLE))
