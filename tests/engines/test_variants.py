"""Which variants an experiment offers."""

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.records import Variant


def candidates(longest: int | None = None, **export) -> Candidates:
    models = [{"base": "minilm", "layers": [2]}, {"base": "tfidf"}]
    tree = {"name": "x", "data": {"train": "x.csv"}, "models": models, "export": export}
    found = Candidates.of(Experiment.model_validate(tree))
    return found if longest is None else found.replace(longest_tokens={"minilm": longest})


def offered(found: Candidates) -> dict[str, list[tuple[str, int]]]:
    return {size.name: [(v.precision, v.max_length) for v in found.distinct_variants(size)] for size in found.sizes}


def test_the_reference_is_the_first_precision_at_the_trained_length():
    assert offered(candidates()) == {"minilm:2": [("fp32", 128)], "tfidf": [("fp32", 2048)]}
    both = offered(candidates(precisions=["bf16", "fp32"], max_lengths=[32, 64]))
    assert both["minilm:2"] == [(p, n) for n in (128, 64, 32) for p in ("bf16", "fp32")]
    assert both["tfidf"] == [("fp32", 2048)]


def test_a_precision_that_is_named_twice_is_offered_once():
    found = candidates(precisions=["fp32", "fp32"])
    assert found.variants["minilm:2"] == [Variant(precision="fp32", max_length=128)]


def test_a_length_that_cuts_no_text_is_left_out_but_never_the_trained_one():
    lengths = [64, 32, 16]
    assert offered(candidates(64, max_lengths=lengths))["minilm:2"] == [("fp32", 128), ("fp32", 32), ("fp32", 16)]
    assert offered(candidates(65, max_lengths=lengths))["minilm:2"][1] == ("fp32", 64)
    assert offered(candidates(5, max_lengths=lengths))["minilm:2"] == [("fp32", 128)]
