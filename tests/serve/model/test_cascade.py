import numpy as np
import pytest

from lft_ray.export.cascade import CascadeSpec
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.cascade import Cascade
from lft_ray.serve.model.predictor import Predictor
from lft_ray.tasks.classification import Classification
from tests.serve.conftest import LABELS, CountingRunner, make_bundle, make_predictor

pytestmark = pytest.mark.anyio


class SportRunner(CountingRunner):
    """A model that is certain that every text is about sport."""

    max_length = 8

    def run(self, batch):
        return np.array([[0.0, 0.0, 50.0]] * len(batch), dtype=np.float32)


@pytest.fixture
def cascade():
    large_bundle = make_bundle("large").model_copy(update={"model_size": "minilm:12", "precision": "int8"})
    layout = ReplicaThreads(1)
    large = Predictor(
        large_bundle, SportRunner(), Classification(LABELS), layout=layout, limits=LIMITS, samples=["a", "b"]
    )
    spec = CascadeSpec(small_version="small", large_version="large", temperature=1.0, threshold=0.9)
    return Cascade("both", spec, make_predictor("small"), large)


async def test_only_texts_below_the_threshold_go_on_to_the_large_model(cascade):
    results = await cascade.predict(["b" * 9, "x", "s" * 9])
    # "s" counts for science and sport alike, so the small model is unsure of the last two texts.
    assert [scores[0].label for scores in results] == ["business", "sport", "sport"]
    assert cascade.info.large_share == pytest.approx(2 / 3)
    await cascade.retire()


async def test_tokens_add_up_and_truncation_is_that_of_the_deciding_model(cascade):
    results = await cascade.predict(["bbb " * 9, "x " * 9])
    assert list(results.tokens) == [9, 9 + 8]
    assert list(results.truncated) == [False, True]
    await cascade.retire()


async def test_options_apply_to_the_predictions_of_both_models(cascade):
    [small], [large] = await cascade.predict(["b" * 9, "x"], top_k=1, function="none")
    assert [(small.label, small.score), (large.label, large.score)] == [("business", 9.0), ("sport", 50.0)]
    await cascade.retire()


async def test_info_describes_both_models(cascade):
    info = cascade.info
    assert (info.model, info.version, info.max_length) == ("minilm:1 > minilm:12", "both", 32)
    assert (info.engine, info.precision, info.large_share) == ("torch", "fp32 > int8", None)
    assert cascade.samples == ["a", "b"]
    await cascade.retire()


async def test_run_samples_takes_the_same_path_as_predict(cascade):
    texts = ["b" * 9, "x"]
    samples = cascade.run_samples(texts)
    results = await cascade.predict(texts)
    assert [sample.bucket for sample in samples] == [scores[0].label for scores in results]
    await cascade.retire()
