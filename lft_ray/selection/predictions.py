"""Read validation predictions saved by trials. In: trial records, or a URI. Out: `Evidence`, or truth and logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lft_ray.errors import InputError
from lft_ray.records import TrialRecord, TrialStatus
from lft_ray.run.ledger import trial_order
from lft_ray.run.storage import Storage
from lft_ray.selection.evidence import Evidence, Key

__all__ = ["decoded", "load_evidence", "load_saved", "read_predictions"]


def load_evidence(records: Sequence[TrialRecord], keys: Sequence[Key], *, seed: int) -> Evidence | None:
    """Read the predictions of the runs named by ``keys``.

    Args:
        records: trial records of the ledger.
        keys: (trial id, precision, max length).
        seed: random seed of the bootstrap.

    Returns:
        None if a file is missing or unreadable, or if the files are of different rows: then no loss can be bounded.
    """
    evidence = _load(records, keys, seed)
    return evidence if evidence is not None and len(evidence.predictions) == len(set(keys)) else None


def load_saved(records: Sequence[TrialRecord], *, seed: int = 0) -> Evidence | None:
    """Read the predictions of every variant of every finished run that can be read; None if there are none.

    A file of other rows than those of the confirmation runs, which decide, is left out.
    """
    done = [record for record in records if record.status is TrialStatus.DONE]
    ordered = sorted(done, key=lambda r: (r.role != "confirm", trial_order(r.trial_id)))
    return _load(records, [(r.trial_id, v.precision, v.max_length) for r in ordered for v in r.variants], seed)


def _load(records: Sequence[TrialRecord], keys: Sequence[Key], seed: int) -> Evidence | None:
    uris = {
        (record.trial_id, variant.precision, variant.max_length): variant.predictions_uri
        for record in records
        for variant in record.variants
    }
    truth: NDArray[Any] | None = None
    predictions = {}
    for key in keys:
        try:
            target, prediction = _read(uris.get(key, ""))
        except (OSError, pa.ArrowException, KeyError, ValueError):
            continue
        truth = target if truth is None else truth
        if np.array_equal(truth, target):
            predictions[key] = prediction
    return None if truth is None else Evidence(truth=truth, predictions=predictions, seed=seed)


def _read(uri: str) -> tuple[NDArray[np.int64] | NDArray[np.bool_], NDArray[np.int64] | NDArray[np.bool_]]:
    """Truth and predictions, ordered by row id: int64 [n] for one label per text, bool [n, c] for several.

    Raises:
        OSError, ArrowException, KeyError, ValueError: the file is missing or is not a predictions file.
    """
    return decoded(*_table(uri))


def decoded(target: NDArray[Any], logits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth and predictions of the built-in tasks: int64 [n] for one label per text, bool [n, c] for several."""
    if target.ndim == 1:
        return target.astype(np.int64), logits.argmax(axis=1).astype(np.int64)
    # The decision threshold, a probability of 0.5, is a logit of 0.
    return target >= 0.5, logits >= 0.0


def read_predictions(uri: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Truth and logits, ordered by row id: int64 [n] and float64 [n, c], of a task with one label per text.

    Raises:
        InputError: the file is missing or is not a predictions file, or the task has several labels per text.
    """
    try:
        target, logits = _table(uri)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise InputError(f"the predictions {uri or 'of a trial'} cannot be read: {error}") from None
    if target.ndim != 1:
        raise InputError(
            "a cascade needs a task with one label per text: with several labels there is no single confidence"
        )
    return target.astype(np.int64), logits


def _table(uri: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    folder, _, name = uri.rpartition("/")
    # Workers write rows in batch order; sorting makes files of different trials comparable row by row.
    table = pq.read_table(pa.BufferReader(Storage(folder).get(name))).sort_by("row_id")
    return _matrix(table["target"]), _matrix(table["logits"])


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = column.combine_chunks()
    if not pa.types.is_list(values.type):
        plain: NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
        return plain
    flat: NDArray[np.float64] = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), -1)
