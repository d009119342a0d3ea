"""How a base's tokenizer reads texts."""

import pytest

from lft_ray.config import ModelSpec
from lft_ray.data import fit as module
from lft_ray.data.fit import fit_problems, token_fit, token_fits


@pytest.fixture
def base(tmp_path, monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(module, "_folder", lambda spec: None if spec.base in {"tfidf", "absent"} else tmp_path)
    return ModelSpec(base="tiny")


def test_lengths_and_truncation(base):
    fit = token_fit(["good film", "bad film good film bad"], base, 4)
    assert (fit.tokens["max"], fit.tokens["mean"], fit.truncated_share, fit.unknown_share) == (7.0, 5.5, 0.5, 0.0)
    [problem] = fit_problems([fit])
    assert (problem.code, problem.severity) == ("truncated", "warning")
    assert "50.0% of the texts are cut at 4" in fit.sentence


def test_unknown_tokens_are_counted_and_shown(base):
    fit = token_fit(["good 电影", "bad film"], base, 64)
    assert (fit.unknown_share, fit.unknown_example) == (0.25, "电影")
    assert fit.instead == "distilgpt2"
    [problem] = fit_problems([fit])
    assert problem.code == "unknown_tokens"
    assert "'电影'" in problem.message


def test_a_few_unknown_tokens_are_no_warning(base):
    assert fit_problems([token_fit(["good film"] * 20 + ["good x"], base, 64)]) == []


def test_bases_without_a_tokenizer_here_are_left_out(base):
    models = [ModelSpec(base="tfidf"), base, ModelSpec(base="tiny", layers=[1]), ModelSpec(base="absent")]
    assert [fit.base for fit in token_fits(["good"], models, 64)] == ["tiny"]
    assert token_fit([], base, 64) is None
