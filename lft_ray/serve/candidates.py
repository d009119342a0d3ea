"""What is profiled: each variant that an experiment offers. In: experiment and data. Out: `ProfileRequest`s.

A text length that cuts no sample text is not asked for: the replica would do the same work twice.
"""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lft_ray.config import Experiment, ModelSpec
from lft_ray.engines.offers import offers_of
from lft_ray.models.base import model_sizes
from lft_ray.records import DatasetRecord
from lft_ray.serve.probe import ProfileRequest

__all__ = ["profile_requests", "skipped_lengths"]

_ROWS_FOR_TFIDF = 5000


def profile_requests(experiment: Experiment, dataset: DatasetRecord) -> list[ProfileRequest]:
    """Every architecture that the experiment's variants can have: model size x precision x text length.

    Args:
        experiment: models, export.precisions, export.max_lengths, training.max_length.
        dataset: labels and sample texts; TF-IDF is fitted on a part of its train split, for its vocabulary decides what
            it costs.
    """
    longest = _longest(experiment, dataset)
    found = []
    for size in model_sizes(experiment.models):
        for offer in offers_of(experiment, size, longest=longest.get(size.base)):
            request = ProfileRequest(
                size=size,
                model=_spec(experiment, size.base),
                precision=offer.precision,
                max_length=offer.max_length,
                task_kind=dataset.task_kind,
                labels=tuple(dataset.labels),
                files=_fitted(dataset, offer.max_length) if size.is_linear else (),
            )
            found.append(request)
    return found


def skipped_lengths(experiment: Experiment, requests: Sequence[ProfileRequest]) -> list[str]:
    """A sentence for each base model and length of the experiment that is not among the requests."""
    asked = {(request.size.base, request.max_length) for request in requests}
    return [
        f"export.max_lengths: {length} is not offered for {base}: no sample text is longer, so it would change nothing"
        for base in _networks(experiment)
        for length in experiment.max_lengths
        if (base, length) not in asked
    ]


def _longest(experiment: Experiment, dataset: DatasetRecord) -> dict[str, int]:
    """Tokens of the longest sample text by base model; empty where one length is offered, and nothing depends on it."""
    from lft_ray.models.resolve import find_base
    from lft_ray.models.tokens import TextTokenizer

    if len(experiment.max_lengths) == 1:
        return {}
    found: dict[str, int] = {}
    for base in _networks(experiment):
        tokenizer = TextTokenizer(find_base(_spec(experiment, base)).folder)
        encoded = tokenizer.encode(dataset.sample_texts, experiment.training.max_length)
        found[base] = max(map(len, encoded), default=0)
    return found


def _networks(experiment: Experiment) -> list[str]:
    """Base models that are not linear, each once."""
    return list(dict.fromkeys(size.base for size in model_sizes(experiment.models) if not size.is_linear))


def _spec(experiment: Experiment, base: str) -> ModelSpec:
    return next(spec for spec in experiment.models if spec.base == base)


def _fitted(dataset: DatasetRecord, max_length: int) -> tuple[tuple[str, bytes], ...]:
    from lft_ray.data.store import load_split
    from lft_ray.models.tfidf import TfidfModel
    from lft_ray.plugins import resolve
    from lft_ray.tasks import TASKS

    split = load_split(dataset, "train")
    rows = min(len(split), _ROWS_FOR_TFIDF)
    chosen = sorted(random.Random(0).sample(range(len(split)), rows))
    task = resolve(dataset.task_kind, TASKS, where="task.kind")(dataset.labels)
    model = TfidfModel.fit([split.texts[row] for row in chosen], split.targets[chosen], task, 0, max_length=max_length)
    with tempfile.TemporaryDirectory(prefix="lft-profile-") as folder:
        model.save(Path(folder))
        return tuple((path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir()))
