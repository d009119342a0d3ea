"""Run failed trials again on request. In: the ledger. Out: the names of the trials. Loses no charge and no record."""

from lft_ray.run.ledger import Ledger
from lft_ray.train.device.usage_notes import STATE, replace_notes

__all__ = ["retry_failed"]


def retry_failed(ledger: Ledger) -> str:
    """Make failed trials unfinished, so that the search runs them again. Returns a line for the user.

    What they used stays charged to them, as the usage of an earlier session of the same trial.
    """
    reopened = ledger.reopen_failed()
    for record in reopened:
        state = ledger.storage.child("trials", record.trial_id, STATE)
        replace_notes(state, record.usage, session=f"failed-{record.attempt}")
    return f"failed trials that run again: {', '.join(record.trial_id for record in reopened) or 'none'}"
