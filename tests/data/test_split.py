"""Splits are stratified, keep equal texts together, and hardly move when rows are added."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lft_ray.data.keys import text_keys
from lft_ray.data.split import carve, sample

SHARES = {"validation": 0.1, "test": 0.2}

rows_of_texts = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), min_size=1, max_size=200)


def keys_of(texts: list[str]) -> np.ndarray:
    return text_keys(texts)[0]


@settings(max_examples=60, deadline=None)
@given(rows_of_texts, st.integers(0, 5))
def test_every_row_once_and_equal_texts_together(rows, seed):
    keys = keys_of([f"text {number}" for number, _ in rows])
    parts = carve(keys, [label for _, label in rows], shares=SHARES, seed=seed)
    assert list(parts) == ["train", "validation", "test"]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(rows)))
    homes = [set(keys[part].tolist()) for part in parts.values()]
    assert sum(map(len, homes)) == len(set.union(*homes))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 150), min_size=1), st.integers(0, 5))
def test_shares_are_met_in_every_class(counts, seed):
    strata = [label for label, count in counts.items() for _ in range(count)]
    parts = carve(keys_of([f"text {i}" for i in range(len(strata))]), strata, shares=SHARES, seed=seed)
    for label, count in counts.items():
        for name, share in SHARES.items():
            got = sum(strata[row] == label for row in parts[name])
            if count >= 3:
                assert max(1, int(share * count + 0.5)) == got
        assert any(strata[row] == label for row in parts["train"])


def test_added_rows_move_few_others():
    texts = [f"text {i}" for i in range(5000)]
    strata = ["ab"[i % 2] for i in range(5000)]

    def homes(count: int) -> list[str]:
        parts = carve(keys_of(texts[:count]), strata[:count], shares=SHARES, seed=1)
        result = [""] * count
        for name, rows in parts.items():
            for row in rows:
                result[row] = name
        return result

    before, after = homes(4000), homes(4400)
    moved = sum(a != b for a, b in zip(before, after, strict=False))
    assert moved < 0.02 * 4000


def test_order_of_rows_does_not_matter_and_the_seed_does():
    texts = [f"text {i}" for i in range(300)]
    parts = carve(keys_of(texts), ["a"] * 300, shares=SHARES, seed=0)
    turned = carve(keys_of(texts[::-1]), ["a"] * 300, shares=SHARES, seed=0)
    assert {texts[i] for i in parts["test"]} == {texts[::-1][i] for i in turned["test"]}
    other = carve(keys_of(texts), ["a"] * 300, shares=SHARES, seed=1)
    assert set(parts["test"]) != set(other["test"])


def test_train_is_never_empty():
    parts = carve(
        keys_of([f"text {i}" for i in range(10)]), ["a"] * 10, shares={"validation": 0.5, "test": 0.5}, seed=0
    )
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 1, "validation": 5, "test": 4}


def test_large_groups_of_equal_texts():
    keys = keys_of(["same"] * 50 + ["other"] * 50 + ["third"] * 50)
    parts = carve(keys, ["a"] * 150, shares=SHARES, seed=0)
    assert [len(part) for part in parts.values()] == [50, 50, 50]


@settings(max_examples=60, deadline=None)
@given(rows_of_texts, st.integers(1, 120))
def test_sample_is_no_larger_than_requested(rows, wanted):
    keys = keys_of([f"text {number}" for number, _ in rows])
    kept = sample(keys, [label for _, label in rows], rows=wanted, minimum=3, seed=0)
    assert len(set(kept.tolist())) == len(kept)
    if wanted >= len(rows):
        assert len(kept) == len(rows)


def test_sample_is_stratified_and_nested():
    strata = ["a"] * 900 + ["b"] * 90 + ["c"] * 10
    keys = keys_of([f"text {i}" for i in range(1000)])
    kept = sample(keys, strata, rows=100, minimum=3, seed=0)
    counts = {name: sum(strata[row] == name for row in kept) for name in "abc"}
    assert counts == {"a": 88, "b": 9, "c": 3}
    larger = sample(keys, strata, rows=200, minimum=3, seed=0)
    assert set(kept) <= set(larger)
