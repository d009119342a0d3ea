"""Read validation predictions saved by trials. In: trial records, or a variant. Out: `Evidence`, or head outputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lft_ray.data.store import target_array
from lft_ray.errors import DamagedFileError, first_line
from lft_ray.records import ScoredVariant, TrialRecord, TrialStatus
from lft_ray.run.checksums import RESTORE, check_bytes
from lft_ray.run.ledger import trial_order
from lft_ray.run.storage import Storage
from lft_ray.selection.evidence import Evidence, Key, Scorer
from lft_ray.tasks.judging import Answers

__all__ = ["load_evidence", "load_saved", "read_outputs", "saved_predictions"]


def load_evidence(records: Sequence[TrialRecord], keys: Sequence[Key], scorer: Scorer, *, seed: int) -> Evidence | None:
    """Read the predictions of the runs named by ``keys``.

    Args:
        records: trial records of the ledger.
        keys: (trial id, precision, max length).
        scorer: the task and its metric.
        seed: random seed of the bootstrap.

    Returns:
        None if a run saved no predictions, or if the files are of different rows: then no loss can be bounded.

    Raises:
        DamagedFileError: a file that a record names is missing, unreadable or not the one that the trial wrote.
    """
    evidence = _load(records, keys, scorer, seed, skip_damaged=False)
    return evidence if evidence is not None and len(evidence.answers) == len(set(keys)) else None


def load_saved(records: Sequence[TrialRecord], scorer: Scorer, *, seed: int = 0) -> Evidence | None:
    """Read the predictions of every variant of every finished run that can be read; None if there are none.

    A file of other rows than those of the confirmation runs, which decide, is left out.
    """
    done = [record for record in records if record.status is TrialStatus.DONE]
    ordered = sorted(done, key=lambda r: (r.role != "confirm", trial_order(r.trial_id)))
    keys = [(r.trial_id, v.precision, v.max_length) for r in ordered for v in r.variants]
    return _load(records, keys, scorer, seed, skip_damaged=True)


def _load(
    records: Sequence[TrialRecord], keys: Sequence[Key], scorer: Scorer, seed: int, *, skip_damaged: bool
) -> Evidence | None:
    saved = {
        (record.trial_id, variant.precision, variant.max_length): variant
        for record in records
        for variant in record.variants
        if variant.predictions_uri
    }
    targets: NDArray[Any] | None = None
    answers: dict[Key, Answers] = {}
    for key in keys:
        if key not in saved:
            continue
        try:
            found, outputs = read_outputs(saved[key])
        except DamagedFileError:
            if not skip_damaged:
                raise
            continue
        targets = found if targets is None else targets
        if np.array_equal(targets, found):
            answers[key] = scorer.task.answers(outputs)
    if targets is None or not scorer.can_weigh(targets, next(iter(answers.values()))):
        return None
    return Evidence(scorer, targets, answers, seed)


def read_outputs(variant: ScoredVariant) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Targets of a variant's rows, and the head outputs for them, ordered by row id.

    Returns:
        Targets as the task encodes them, and float32 [n, outputs].

    Raises:
        DamagedFileError: the file is missing, unreadable or not the one that the trial wrote.
    """
    # Workers write rows in batch order; sorting makes files of different trials comparable row by row.
    targets, outputs = _columns(saved_predictions(variant).sort_by("row_id"))
    return targets, outputs.astype(np.float32)


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


def _columns(table: pa.Table) -> tuple[NDArray[Any], NDArray[Any]]:
    return _matrix(table["target"]), _matrix(table["logits"])


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    values = column.combine_chunks()
    if pa.types.is_struct(values.type):
        return target_array(values)
    if not pa.types.is_list(values.type):
        plain: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return plain
    flat: NDArray[Any] = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), -1)
