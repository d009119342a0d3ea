"""List what to profile: each variant of each candidate. In: candidates and data. Out: `ProfileRequest`s.

A maximum length that truncates no sample text is skipped: its profile would equal that of the next longer one.
"""

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lft_ray.candidates import Candidates, TaskRecord
from lft_ray.profile.replica import ProfileRequest
from lft_ray.records import DatasetRecord

__all__ = ["profile_requests", "skipped_lengths"]

_ROWS_FOR_TFIDF = 5000
"""Train rows that TF-IDF is fitted on for its profile."""


def profile_requests(candidates: Candidates, dataset: DatasetRecord) -> list[ProfileRequest]:
    """One request per architecture of the candidates: model size x precision x maximum length.

    Args:
        candidates: models, variants and, if shorter lengths are offered, the token count of the longest sample text.
        dataset: prepared data. TF-IDF is fitted on part of its train split, because the vocabulary determines the cost.
    """
    task = candidates.task
    return [
        ProfileRequest(
            size=size,
            model=candidates.model_of(size.base),
            precision=variant.precision,
            max_length=variant.max_length,
            task_kind=task.kind,
            facts=json.dumps(task.facts),
            head=task.head,
            outputs=task.outputs,
            segments=task.segments,
            files=_fitted(dataset, task, size.family, variant.max_length) if size.is_linear else (),
        )
        for size in candidates.sizes
        for variant in candidates.distinct_variants(size)
    ]


def skipped_lengths(candidates: Candidates, requests: Sequence[ProfileRequest]) -> list[str]:
    """A message for each base model and maximum length of the candidates without a request."""
    requested = {(request.size.base, request.max_length) for request in requests}
    return [
        f"export.max_lengths: {length} is skipped for {base}: no sample text is longer, so it would change nothing"
        for base in candidates.bases
        for length in candidates.max_lengths
        if (base, length) not in requested
    ]


def _fitted(dataset: DatasetRecord, task: TaskRecord, family: str, max_length: int) -> tuple[tuple[str, bytes], ...]:
    from lft_ray.data.store import load_split
    from lft_ray.models.floors import floor_model

    split = load_split(dataset, "train")
    rows = min(len(split), _ROWS_FOR_TFIDF)
    chosen = sorted(random.Random(0).sample(range(len(split)), rows))
    texts, targets = [split.texts[row] for row in chosen], split.targets[chosen]
    model = floor_model(family).fit(texts, targets, task.make(), 0, max_length=max_length)
    with tempfile.TemporaryDirectory(prefix="lft-profile-") as folder:
        model.save(Path(folder))
        return tuple((path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir()))
