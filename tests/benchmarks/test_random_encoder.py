"""A base of random weights around a given vocabulary is a base like any other."""

import importlib
from pathlib import Path

from lft_ray.config import ModelSpec
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.models.tokens import TextTokenizer

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_what_is_written_is_a_base(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("random_encoder")
    count = script.write(tiny_bert, tmp_path / "base", layers=2, hidden=64, positions=32, seed=0)
    spec = ModelSpec(base=str(tmp_path / "base"), layers=[1, 2])
    [one, two] = model_sizes([spec])
    assert (two.params, two.max_tokens, two.hidden) == (count, 32, 64)
    assert one.params < two.params
    texts = ["the team won"]
    assert TextTokenizer(find_base(spec).folder).encode(texts, 9) == TextTokenizer(tiny_bert).encode(texts, 9)
