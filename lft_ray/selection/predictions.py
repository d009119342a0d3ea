"""Read validation predictions saved by trials. In: trial records, or a URI. Out: `Evidence`, or truth and logits."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lft_ray.errors import DamagedFileError, InputError, first_line
from lft_ray.records import ScoredVariant, TrialRecord
from lft_ray.run.checksums import RESTORE, check_bytes
from lft_ray.run.storage import Storage
from lft_ray.selection.decide import Evidence
from lft_ray.selection.finalists import Key

__all__ = ["load_evidence", "read_predictions", "saved_predictions"]


def load_evidence(records: Sequence[TrialRecord], keys: Sequence[Key], *, seed: int) -> Evidence | None:
    """Read the predictions of the runs named by ``keys``.

    Args:
        records: trial records of the ledger.
        keys: (trial id, precision, max length), as returned by `lft_ray.selection.decide.runs_compared`.
        seed: random seed of the bootstrap.

    Returns:
        None if a run saved no predictions, or if the files are of different rows: then no loss can be bounded.

    Raises:
        DamagedFileError: a file that a record names is missing, unreadable or not the one that the trial wrote.
    """
    saved = {
        (record.trial_id, variant.precision, variant.max_length): variant
        for record in records
        for variant in record.variants
        if variant.predictions_uri
    }
    truth: NDArray[np.int64] | NDArray[np.bool_] | None = None
    predictions = {}
    for key in keys:
        if key not in saved:
            return None
        target, prediction = _read(saved[key])
        if truth is not None and not np.array_equal(truth, target):
            return None
        truth, predictions[key] = target, prediction
    return None if truth is None else Evidence(truth=truth, predictions=predictions, seed=seed)


def _read(
    variant: ScoredVariant,
) -> tuple[NDArray[np.int64] | NDArray[np.bool_], NDArray[np.int64] | NDArray[np.bool_]]:
    """Truth and predictions, ordered by row id: int64 [n] for one label per text, bool [n, c] for several."""
    # Workers write rows in batch order; sorting makes files of different trials comparable row by row.
    target, logits = _columns(saved_predictions(variant).sort_by("row_id"))
    if target.ndim == 1:
        return target.astype(np.int64), logits.argmax(axis=1).astype(np.int64)
    # The decision threshold, a probability of 0.5, is a logit of 0.
    return target >= 0.5, logits >= 0.0


def read_predictions(variant: ScoredVariant) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Truth and logits, ordered by row id: int64 [n] and float64 [n, c], of a task with one label per text.

    Raises:
        DamagedFileError: the file is missing, unreadable or not the one that the trial wrote.
        InputError: the task has several labels per text.
    """
    target, logits = _columns(saved_predictions(variant).sort_by("row_id"))
    if target.ndim != 1:
        raise InputError(
            "a cascade needs a task with one label per text: with several labels there is no single confidence"
        )
    return target.astype(np.int64), logits


def saved_predictions(variant: ScoredVariant) -> pa.Table:
    """Columns row_id, target and logits of a variant, in the order in which they were written.

    Raises:
        DamagedFileError: the file is missing, unreadable or not the one that the trial wrote.
    """
    uri = variant.predictions_uri
    folder, _, name = uri.rpartition("/")
    try:
        data = Storage(folder).get(name)
        check_bytes(data, variant.predictions_sha256, uri)
        table = pq.read_table(pa.BufferReader(data), columns=["row_id", "target", "logits"])
        _columns(table)
    except FileNotFoundError:
        raise DamagedFileError(f"the predictions {uri} are missing, their record names them", fix=RESTORE) from None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DamagedFileError(f"the predictions {uri} cannot be read: {first_line(error)}", fix=RESTORE) from None
    return table


def _columns(table: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _matrix(table["target"]), _matrix(table["logits"])


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = column.combine_chunks()
    if not pa.types.is_list(values.type):
        plain: NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
        return plain
    flat: NDArray[np.float64] = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), -1)
