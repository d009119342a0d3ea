import pytest

from lft_ray.config import Experiment
from lft_ray.errors import ConfigError
from lft_ray.serve.model.base import ReplicaThreads, ScoredTexts
from lft_ray.wire import LabelScore


def test_cores_are_workers_or_threads():
    layouts = [
        ReplicaThreads(4, "throughput"),
        ReplicaThreads(4, "latency"),
        ReplicaThreads(1, "throughput"),
        ReplicaThreads(1, "latency"),
    ]
    assert [(layout.workers, layout.threads) for layout in layouts] == [(4, 1), (1, 4), (1, 1), (1, 1)]


def test_an_unknown_preset_is_refused_by_the_configuration():
    with pytest.raises(ConfigError, match=r"serve\.preset"):
        Experiment.parse(
            {"name": "x", "data": {"train": "x.csv"}, "models": [{"base": "tfidf"}], "serve": {"preset": "fast"}}
        )


def test_scored_texts_are_plain_predictions_with_attributes():
    predictions = [[LabelScore(label="a", score=1.0)]]
    scored = ScoredTexts(predictions, tokens=[3], truncated=[True])
    assert scored == predictions
    assert (scored.tokens, scored.truncated) == ([3], [True])
