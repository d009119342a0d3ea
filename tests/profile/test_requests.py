"""Which variants are profiled, and which lengths are skipped."""

from lft_ray.config import ExportSpec
from lft_ray.models.tokens import TextTokenizer
from lft_ray.models.words import MAX_WORDS
from lft_ray.profile.requests import profile_requests, skipped_lengths
from tests.handed_down import candidates

ENGINES = {"fp32": "onnxruntime", "int8": "onnxruntime", "bf16": "torch"}


def test_profile_requests_lists_every_variant_once(experiment, dataset):
    requested = [
        (r.size.layers, r.precision, r.engine) for r in profile_requests(candidates(experiment, dataset), dataset)
    ]
    assert sorted(requested, key=str) == sorted(
        [(None, "fp32", "sklearn"), *((n, p, e) for n in (1, 2) for p, e in ENGINES.items())], key=str
    )


def test_profile_requests_has_shorter_lengths_only_where_they_truncate_a_text(experiment, dataset, tiny_bert):
    longest = max(len(ids) for ids in TextTokenizer(tiny_bert).encode(dataset.sample_texts, 32))
    assert 8 < longest < 32

    def requested(length: int) -> tuple[list[tuple[int | None, int]], int]:
        export = ExportSpec(precisions=["fp32"], max_lengths=[8, length])
        spec = experiment.model_copy(update={"export": export})
        found = candidates(spec, dataset)
        requests = profile_requests(found, dataset)
        return [(r.size.layers, r.max_length) for r in requests], len(skipped_lengths(found, requests))

    assert requested(longest) == ([(None, MAX_WORDS), (1, 32), (1, 8), (2, 32), (2, 8)], 1)
    cut = longest - 1
    assert requested(cut) == ([(None, MAX_WORDS), (1, 32), (1, cut), (1, 8), (2, 32), (2, cut), (2, 8)], 0)


def test_skipped_lengths_explains_a_length_beyond_all_texts(experiment, dataset, tiny_bert):
    spec = experiment.model_copy(update={"export": ExportSpec(precisions=["fp32"], max_lengths=[16])})
    short = dataset.model_copy(update={"sample_texts": ["bank", "goal"]})
    found = candidates(spec, short)
    requests = profile_requests(found, short)
    assert {r.max_length for r in requests} == {32, MAX_WORDS}
    assert skipped_lengths(found, requests) == [
        f"export.max_lengths: 16 is skipped for {tiny_bert}: no sample text is longer, so it would change nothing"
    ]
