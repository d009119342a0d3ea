"""Token ids for serving follow the length policy of the training data."""

import random
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lft_ray.errors import BundleError
from lft_ray.models.tokens import TextTokenizer, Truncated, Unread

TEXTS = ["the team won the match", "stocks fell", "x", "a new phone with a faster chip was shown by the company", "é"]


def test_a_cut_text_keeps_its_end_token(tiny_bert):
    tokenizer = TextTokenizer(tiny_bert)
    whole, short = tokenizer.encode(TEXTS, 512), tokenizer.encode(TEXTS, 6)
    assert tokenizer.end_id is not None
    for long, cut in zip(whole, short, strict=True):
        assert len(cut) == min(6, len(long))
        assert cut[-1] == tokenizer.end_id
        assert cut[:-1] == long[: len(cut) - 1]


def test_without_an_end_token_the_first_ids_stay(tiny_gpt):
    tokenizer = TextTokenizer(tiny_gpt)
    assert tokenizer.end_id is None
    assert tokenizer.encode(TEXTS, 3) == [ids[:3] for ids in tokenizer.encode(TEXTS, 512)]


def test_no_text_is_without_a_token(tiny_gpt):
    assert TextTokenizer(tiny_gpt).encode([""], 5) == [[0]]


@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_gpt"])
@pytest.mark.parametrize("max_length", [4, 9, 128])
def test_serving_reads_what_training_read(fixture, max_length, request, tmp_path):
    from lft_ray.config import DataSpec, SplitSpec, TaskSpec
    from lft_ray.data.encode import encode_split
    from lft_ray.data.prepare import prepare
    from lft_ray.data.store import load_split
    from lft_ray.run.storage import Storage

    folder = request.getfixturevalue(fixture)
    rows = [f"{text} {number},{'ab'[number % 2]}" for number, text in enumerate(TEXTS[i % 4] for i in range(60))]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(row.replace(", ", " ") for row in rows) + "\n")
    spec = DataSpec(train=str(tmp_path / "rows.csv"), split=SplitSpec(validation=0.1, test=0.1))
    record = prepare(TaskSpec(), spec, Storage(tmp_path / "run"))
    tokens = encode_split(record, "train", folder, tmp_path / "tokens")
    texts = [str(text) for text in load_split(record, "train").texts]
    trained = [ids.tolist() for ids in tokens.gather(np.arange(len(texts)), max_length)]
    assert TextTokenizer(folder).encode(texts, max_length) == trained


WORDS = ["the", "team", "won", "Straße", "汉字测试", ",", ".", "a\x1fb", "x\u200by", "😀😀", "ก็ภาษา", "unbelievably"]


@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_gpt"])
def test_a_long_text_is_cut_before_it_is_tokenised_without_other_tokens(fixture, request):
    tokenizer = TextTokenizer(request.getfixturevalue(fixture))
    dice = random.Random(0)
    for max_length in (4, 16, 100):
        for separators in ([" "], ["", "  ", "\n", " \t "], [""]):
            for _ in range(20):
                count = dice.randrange(1, 900)
                text = "".join(dice.choice(WORDS) + dice.choice(separators) for _ in range(count))
                # No word is longer than a word piece may be, so nothing hides how many tokens there are.
                text = re.sub(r"(\w{20})", r"\1.", text)
                whole = tokenizer._truncate(tokenizer._tokenizer.encode(text).ids, max_length)
                [read] = tokenizer.encode([text], max_length)
                assert (type(read), list(read)) == (type(whole), list(whole)), (max_length, text)


@pytest.mark.parametrize("unit", ["a", "汉", "😀", "!", "\u200b", " ", "ab1,", "the team "])
@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_gpt"])
def test_a_text_of_a_mebibyte_is_not_tokenised_whole(fixture, unit, request):
    tokenizer = TextTokenizer(request.getfixturevalue(fixture))
    text = (unit * 2**20)[: 2**20 // len(unit.encode())]
    asked = []
    ids = tokenizer._ids
    tokenizer._ids = lambda texts: asked.extend(map(len, texts)) or ids(texts)
    [read] = tokenizer.encode([text], 64)
    # At most the characters of the longest token, for each token; and each look four times the one before it.
    assert sum(asked) <= 1.34 * (64 * tokenizer._longest_token + 64) + 64
    assert isinstance(read, Truncated | Unread)
    assert len(read) <= 64


def test_a_text_without_tokens_of_its_own_is_marked(tiny_bert, tiny_gpt):
    bert, gpt = TextTokenizer(tiny_bert), TextTokenizer(tiny_gpt)
    marked = [isinstance(ids, Unread) for ids in bert.encode(["\u200b\u200d", "\x00\x00", "x", "\u200bx"], 16)]
    assert marked == [True, True, False, False]
    assert isinstance(gpt.encode([""], 16)[0], Unread)


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_a_damaged_tokenizer_is_refused(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(BundleError, match="cannot be read as a tokenizer"):
        TextTokenizer(tmp_path)


@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_gpt"])
def test_any_text_in_any_form_has_tokens(fixture, request):
    tokenizer = TextTokenizer(request.getfixturevalue(fixture))

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(st.text(st.characters(exclude_categories=[])), st.integers(4, 40))
    def check(text, length):
        [ids] = tokenizer.encode([text], length)
        assert 1 <= len(ids) <= length
        for form in ("NFC", "NFD"):
            assert tokenizer.encode([unicodedata.normalize(form, text)], length) == [ids]

    check()
