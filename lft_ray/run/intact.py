"""Check that the files of a run are those that were written. In: its records. Out: nothing, or a named error."""

from lft_ray.records import DatasetRecord, TrialRecord
from lft_ray.run.checksums import check_file, check_folder
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage

__all__ = ["check_intact", "check_trial"]


def check_intact(run: RunFolder, ledger: Ledger, dataset: DatasetRecord) -> None:
    """Check splits, predictions and checkpoints of a run before work is based on them.

    Reads every file once, at 0.9 GB/s on one core: a study of 24 trials of 90 MB takes two to three seconds.

    Raises:
        DamagedFileError: naming the first file that is missing, or is not what was written.
    """
    for split in dataset.splits.values():
        if split.sha256:
            _check_uri(split.uri, split.sha256)
    for record in ledger.records():
        check_trial(record)


def check_trial(record: TrialRecord) -> None:
    """Check the checkpoint and the predictions of one trial.

    Raises:
        DamagedFileError: naming the first file that is missing, or is not what was written.
    """
    for variant in record.variants:
        if variant.predictions_sha256:
            _check_uri(variant.predictions_uri, variant.predictions_sha256)
    if record.checkpoint_sha256:
        check_folder(record.checkpoint_uri, record.checkpoint_sha256)


def _check_uri(uri: str, expected: str) -> None:
    folder, _, name = uri.rpartition("/")
    check_file(Storage(folder), name, expected)
