"""How a base's tokenizer reads texts."""

import pytest

from lft_ray.config import ModelSpec
from lft_ray.data import fit as module
from lft_ray.data.fit import FIT_CODES, TokenFit, fit_problems, script_problems, token_fit, token_fits


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
    monkeypatch.setattr(module, "_folder", lambda spec: tmp_path if spec.base == "tiny" else None)
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
    assert fit.instead == "multilingual-e5-small"
    [problem] = fit_problems([fit])
    assert problem.code == "unknown_tokens"
    assert "'电影'" in problem.message


def test_a_few_unknown_tokens_are_no_warning(base):
    assert fit_problems([token_fit(["good film"] * 20 + ["good x"], base, 64)]) == []


def test_bases_without_a_tokenizer_here_are_left_out(base):
    models = [ModelSpec(base="tfidf"), base, ModelSpec(base="tiny", layers=[1]), ModelSpec(base="absent")]
    assert [fit.base for fit in token_fits(["good"], models, 64)] == ["tiny"]
    assert token_fit([], base, 64) is None


def pieces(tmp_path, monkeypatch, words: list[str], *, byte_level: bool = False) -> ModelSpec:
    """A base of word pieces as BERT has them, or of bytes as GPT-2 has them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    if byte_level:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        vocabulary = {word: i for i, word in enumerate(["[UNK]", *words])}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(module, "_folder", lambda spec: tmp_path if spec.base == "tiny" else None)
    return ModelSpec(base="tiny")


def codes(fit: TokenFit | None) -> list[str]:
    assert fit is not None
    found = fit_problems([fit])
    assert all(problem.severity == "warning" and problem.code in FIT_CODES for problem in found)
    assert all("multilingual-e5-small" in problem.fix for problem in found)
    return [problem.code for problem in found]


def test_words_in_single_letters_are_a_warning(tmp_path, monkeypatch):
    letters = "\u0434\u043e\u0440\u0433\u0438"
    base = pieces(tmp_path, monkeypatch, [*letters, *(f"##{letter}" for letter in letters), "road", "##s"])
    fit = token_fit(["\u0434\u043e\u0440\u043e\u0433\u0438"], base, 64)
    assert (fit.unknown_share, fit.spelled_share) == (0.0, 1.0)
    assert codes(fit) == ["spelled_out"]
    assert "100% of the letters spelled out" in fit.sentence
    assert codes(token_fit(["roads", "road road"], base, 64)) == []


def test_bytes_are_no_reading_of_chinese(tmp_path, monkeypatch):
    base = pieces(tmp_path, monkeypatch, [], byte_level=True)
    fit = token_fit(["\u4e2d\u6587\u62a5\u7eb8"], base, 64)
    assert (fit.unknown_share, fit.spelled_share, fit.tokens["max"]) == (0.0, 1.0, 12.0)
    assert codes(fit) == ["spelled_out"]


def test_single_chinese_characters_are_what_a_chinese_vocabulary_has(tmp_path, monkeypatch):
    base = pieces(tmp_path, monkeypatch, list("\u4e2d\u6587\u62a5\u7eb8"))
    fit = token_fit(["\u4e2d\u6587\u62a5\u7eb8"], base, 64)
    assert (fit.spelled_share, fit.reads, codes(fit)) == (0.0, True, [])


def test_short_pieces_of_latin_words_are_a_warning(tmp_path, monkeypatch):
    base = pieces(tmp_path, monkeypatch, ["wa", "##hr", "##he", "##it", "the", "truth"])
    fit = token_fit(["Wahrheit"], base, 64)
    assert (fit.pieces_per_word, fit.letters_per_piece, fit.cuts_words) == (4.0, 2.0, True)
    assert codes(fit) == ["words_cut"]
    assert codes(token_fit(["the truth"], base, 64)) == []


def test_dropped_marks_are_a_warning(tmp_path, monkeypatch):
    base = pieces(tmp_path, monkeypatch, ["ma", "me", "cafe"])
    fit = token_fit(["m\u00e1 m\u1ea1 m\u1ebf"], base, 64)
    # Three of six letters lose four marks; a few accents are no warning.
    assert fit.dropped_share == pytest.approx(4 / 6)
    assert codes(fit) == ["marks_dropped"]
    assert codes(token_fit(["caf\u00e9 " + "cafe " * 9], base, 64)) == []


def test_the_mark_between_two_texts_is_no_unknown_token(base):
    fit = token_fit(["good film \u241f bad film"] * 9, base, 64)
    assert (fit.unknown_share, fit.tokens["max"]) == (0.0, 6.0)


def test_the_blank_of_sentencepiece_is_no_piece_of_a_word(tmp_path, monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["\u2581", "\uc704\uc6d0", "\ud68c\ub294", "hel", "lo"]
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), *((word, -3.0) for word in words)], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(module, "_folder", lambda spec: tmp_path if spec.base == "tiny" else None)
    base = ModelSpec(base="tiny")
    assert token_fit(["\uc704\uc6d0\ud68c\ub294 \uc704\uc6d0"], base, 64).spelled_share == 0.0
    fit = token_fit(["hello hello"], base, 64)
    assert (fit.pieces_per_word, fit.letters_per_piece) == (2.0, 2.5)


def test_a_base_that_is_not_here_is_judged_by_the_script():
    chinese = ["\u4e2d\u6587\u62a5\u7eb8 CCTV"] * 5
    models = [ModelSpec(base=name) for name in ("tfidf", "bert-base-uncased", "multilingual-e5-small", "owner/name")]
    [problem] = script_problems(chinese, models, [])
    assert (problem.code, problem.severity) == ("other_script", "warning")
    assert "bert-base-uncased" in problem.message
    assert "multilingual-e5-small" in problem.fix
    assert script_problems(["plain English with a \u4e2d", "caf\u00e9"], models, []) == []
    assert script_problems(["123"], models, []) == []
