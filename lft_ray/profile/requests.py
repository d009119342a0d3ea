"""What is profiled: each variant of each candidate. In: candidates and data. Out: `ProfileRequest`s.

A text length that cuts no sample text is not asked for: the replica would do the same work twice.
"""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lft_ray.candidates import Candidates, TaskRecord
from lft_ray.profile.replica import ProfileRequest
from lft_ray.records import DatasetRecord

__all__ = ["profile_requests", "skipped_lengths"]

_ROWS_FOR_TFIDF = 5000


def profile_requests(candidates: Candidates, dataset: DatasetRecord) -> list[ProfileRequest]:
    """Every architecture that the candidates' variants can have: model size x precision x text length.

    Args:
        candidates: with the tokens of the longest sample text where shorter lengths are offered.
        dataset: sample texts; TF-IDF is fitted on a part of its train split, for its vocabulary decides what it costs.
    """
    task = candidates.task
    return [
        ProfileRequest(
            size=size,
            model=candidates.model_of(size.base),
            precision=variant.precision,
            max_length=variant.max_length,
            task_kind=task.kind,
            labels=tuple(task.labels),
            files=_fitted(dataset, task, variant.max_length) if size.is_linear else (),
        )
        for size in candidates.sizes
        for variant in candidates.distinct_variants(size)
    ]


def skipped_lengths(candidates: Candidates, requests: Sequence[ProfileRequest]) -> list[str]:
    """A sentence for each base model and length of the candidates that is not among the requests."""
    asked = {(request.size.base, request.max_length) for request in requests}
    return [
        f"export.max_lengths: {length} is not offered for {base}: no sample text is longer, so it would change nothing"
        for base in candidates.bases
        for length in candidates.max_lengths
        if (base, length) not in asked
    ]


def _fitted(dataset: DatasetRecord, task: TaskRecord, max_length: int) -> tuple[tuple[str, bytes], ...]:
    from lft_ray.data.store import load_split
    from lft_ray.models.tfidf import TfidfModel

    split = load_split(dataset, "train")
    rows = min(len(split), _ROWS_FOR_TFIDF)
    chosen = sorted(random.Random(0).sample(range(len(split)), rows))
    texts, targets = [split.texts[row] for row in chosen], split.targets[chosen]
    model = TfidfModel.fit(texts, targets, task.make(), 0, max_length=max_length)
    with tempfile.TemporaryDirectory(prefix="lft-profile-") as folder:
        model.save(Path(folder))
        return tuple((path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir()))
