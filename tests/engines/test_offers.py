"""Which variants an experiment offers."""

from lft_ray.config import Experiment
from lft_ray.engines.offers import Offer, offers_of
from lft_ray.models.base import model_sizes


def experiment(**export) -> Experiment:
    models = [{"base": "minilm", "layers": [2]}, {"base": "tfidf"}]
    return Experiment.model_validate({"name": "x", "data": {"train": "x.csv"}, "models": models, "export": export})


def offers(spec: Experiment, longest: int | None = None) -> dict[str, list[tuple[str, int]]]:
    found = {}
    for size in model_sizes(spec.models):
        found[size.name] = [(o.precision, o.max_length) for o in offers_of(spec, size, longest=longest)]
    return found


def test_the_reference_is_the_first_precision_at_the_trained_length():
    assert offers(experiment()) == {"minilm:2": [("fp32", 128)], "tfidf": [("fp32", 128)]}
    both = offers(experiment(precisions=["bf16", "fp32"], max_lengths=[32, 64]))
    assert both["minilm:2"] == [(p, n) for n in (128, 64, 32) for p in ("bf16", "fp32")]
    assert both["tfidf"] == [("fp32", 128)]


def test_a_precision_that_is_named_twice_is_offered_once():
    (network,) = (s for s in model_sizes(experiment().models) if not s.is_linear)
    assert offers_of(experiment(precisions=["fp32", "fp32"]), network) == [Offer("fp32", 128)]


def test_a_length_that_cuts_no_text_is_left_out_but_never_the_trained_one():
    spec = experiment(max_lengths=[64, 32, 16])
    assert offers(spec, longest=64)["minilm:2"] == [("fp32", 128), ("fp32", 32), ("fp32", 16)]
    assert offers(spec, longest=65)["minilm:2"][1] == ("fp32", 64)
    assert offers(spec, longest=5)["minilm:2"] == [("fp32", 128)]
