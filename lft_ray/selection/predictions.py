"""Read validation predictions saved by trials. In: trial records, or a URI. Out: `Evidence`, or truth and logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lft_ray.errors import DamagedFileError, InputError, first_line
from lft_ray.records import ScoredVariant, TrialRecord, TrialStatus
from lft_ray.run.checksums import RESTORE, check_bytes
from lft_ray.run.ledger import trial_order
from lft_ray.run.storage import Storage
from lft_ray.selection.evidence import Evidence, Key

__all__ = ["decoded", "load_evidence", "load_saved", "read_predictions", "saved_predictions"]


def load_evidence(records: Sequence[TrialRecord], keys: Sequence[Key], *, seed: int) -> Evidence | None:
    """Read the predictions of the runs named by ``keys``.

    Args:
        records: trial records of the ledger.
        keys: (trial id, precision, max length).
        seed: random seed of the bootstrap.

    Returns:
        None if a run saved no predictions, or if the files are of different rows: then no loss can be bounded.

    Raises:
        DamagedFileError: a file that a record names is missing, unreadable or not the one that the trial wrote.
    """
    evidence = _load(records, keys, seed, skip_damaged=False)
    return evidence if evidence is not None and len(evidence.predictions) == len(set(keys)) else None


def load_saved(records: Sequence[TrialRecord], *, seed: int = 0) -> Evidence | None:
    """Read the predictions of every variant of every finished run that can be read; None if there are none.

    A file of other rows than those of the confirmation runs, which decide, is left out.
    """
    done = [record for record in records if record.status is TrialStatus.DONE]
    ordered = sorted(done, key=lambda r: (r.role != "confirm", trial_order(r.trial_id)))
    keys = [(r.trial_id, v.precision, v.max_length) for r in ordered for v in r.variants]
    return _load(records, keys, seed, skip_damaged=True)


def _load(records: Sequence[TrialRecord], keys: Sequence[Key], seed: int, *, skip_damaged: bool) -> Evidence | None:
    saved = {
        (record.trial_id, variant.precision, variant.max_length): variant
        for record in records
        for variant in record.variants
        if variant.predictions_uri
    }
    truth: NDArray[Any] | None = None
    predictions = {}
    for key in keys:
        if key not in saved:
            continue
        try:
            target, prediction = _read(saved[key])
        except DamagedFileError:
            if not skip_damaged:
                raise
            continue
        truth = target if truth is None else truth
        if np.array_equal(truth, target):
            predictions[key] = prediction
    return None if truth is None else Evidence(truth=truth, predictions=predictions, seed=seed)


def _read(
    variant: ScoredVariant,
) -> tuple[NDArray[np.int64] | NDArray[np.bool_], NDArray[np.int64] | NDArray[np.bool_]]:
    """Truth and predictions, ordered by row id: int64 [n] for one label per text, bool [n, c] for several."""
    # Workers write rows in batch order; sorting makes files of different trials comparable row by row.
    return decoded(*_columns(saved_predictions(variant).sort_by("row_id")))


def decoded(target: NDArray[Any], logits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth and predictions of the built-in tasks: int64 [n] for one label per text, bool [n, c] for several."""
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
