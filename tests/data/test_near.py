"""Near-duplicates: what is paired, what is not, and bounds where all texts are alike."""

import random

import numpy as np
import pytest

from lft_ray.data import near
from lft_ray.data.keys import text_keys
from lft_ray.data.near import NearPair, near_duplicates

WORDS = [f"w{number}" for number in range(500)]


def pairs_of(texts: list[str]) -> list[NearPair]:
    return near_duplicates(texts, text_keys(texts)[0])


def sentence(seed: int, words: int = 30) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def test_one_changed_word_is_near_and_other_texts_are_not():
    texts = [" ".join(sentence(seed)) for seed in range(200)]
    changed = sentence(7)
    changed[12] = "other"
    texts.append(" ".join(changed))
    (pair,) = pairs_of(texts)
    assert (pair.row, pair.earlier) == (200, 7)
    assert pair.similarity == pytest.approx(27 / 31)


def test_exactly_equal_texts_are_left_to_the_ordinary_check():
    text = " ".join(sentence(1))
    assert pairs_of([text, text.upper(), f"  {text}"]) == []


def test_punctuation_alone_does_not_tell_texts_apart():
    assert [(pair.row, pair.earlier, pair.similarity) for pair in pairs_of(["great", "bad", "great!"])] == [(2, 0, 1.0)]


def test_texts_without_words_and_no_texts():
    assert pairs_of([]) == []
    assert pairs_of(["?!", "...", "--"]) == []


def test_opposite_short_texts_are_no_duplicates():
    assert pairs_of(["I love this product very much", "I hate this product very much"]) == []


def test_chinese_is_compared_by_characters():
    text = "中国政府今天宣布了新的经济政策以促进出口和投资并且降低税收"
    assert [(pair.row, pair.earlier) for pair in pairs_of([text, "完全不同的一句话", f"{text}了"])] == [(2, 0)]


def test_every_pair_is_found_that_comparing_all_texts_finds():
    generator = random.Random(3)
    texts = []
    for seed in range(60):
        words = sentence(seed, 25)
        texts.append(" ".join(words))
        for _ in range(generator.randrange(3)):
            edited = list(words)
            for _ in range(generator.randrange(1, 4)):
                edited[generator.randrange(len(edited))] = generator.choice(WORDS)
            texts.append(" ".join(edited))
    sets = [near._pairs(text) for text in texts]
    expected = {
        row
        for row in range(len(texts))
        if any(len(sets[row] & sets[other]) / len(sets[row] | sets[other]) >= 0.8 for other in range(row))
    }
    found = {pair.row for pair in pairs_of(texts)}
    assert found <= expected
    assert len(found) >= 0.97 * len(expected) > 10


def test_texts_that_are_all_alike_are_compared_a_bounded_number_of_times(monkeypatch):
    compared = []
    whole = near._pairs
    monkeypatch.setattr(near, "_pairs", lambda text: compared.append(text) or whole(text))
    start = " ".join(sentence(0, 40))
    texts = [f"{start} {number}" for number in range(500)]
    assert len(pairs_of(texts)) == 499
    assert len(compared) <= 500 * (1 + near._CHECKED)


def test_chunks_do_not_change_the_pairs(monkeypatch):
    texts = [" ".join(sentence(seed % 40)) + f" tail{seed}" for seed in range(80)]
    whole = pairs_of(texts)
    monkeypatch.setattr(near, "_CHUNK_WORDS", 50)
    assert pairs_of(texts) == whole
    assert len(whole) == 40


def test_a_long_text_is_compared_by_its_start():
    long = " ".join(sentence(5, 2 * near.MAX_WORDS))
    assert [pair.row for pair in pairs_of([long, f"{long} and an end of its own"])] == [1]
    assert np.isclose(pairs_of([long, f"{long} end"])[0].similarity, 1.0)
