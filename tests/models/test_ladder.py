"""The ladder: its entries, their pinned revisions and published sizes."""

import pytest

from lft_ray.config import ModelSpec
from lft_ray.models.ladder import LADDER, rows
from lft_ray.models.sizes import check_lengths, model_sizes


def test_the_ladder_holds_all_24_miniatures():
    names = [f"bert-l{layers}-h{hidden}" for layers in (2, 4, 6, 8, 10, 12) for hidden in (128, 256, 512, 768)]
    assert set(names) <= set(LADDER)
    assert LADDER["bert-l4-h256"].hub_id == "google/bert_uncased_L-4_H-256_A-4"
    assert {"minilm", "tfidf", "distilbert-base-uncased", "bert-base-uncased", "distilgpt2", "gpt2"} <= set(LADDER)


@pytest.mark.parametrize("name", sorted(LADDER))
def test_revisions_are_commits_or_main(name):
    revision = LADDER[name].revision
    assert revision in {"", "main"} or (len(revision) == 40 and set(revision) <= set("0123456789abcdef"))


@pytest.mark.parametrize(
    ("name", "millions"),
    # Published sizes of the networks without pooler and language-model head.
    [
        ("bert-l2-h128", 4.4),
        ("bert-l4-h256", 11.1),
        ("bert-l4-h512", 28.5),
        ("bert-l8-h512", 41.1),
        ("bert-base-uncased", 108.9),
        ("distilbert-base-uncased", 66.4),
        ("gpt2", 124.4),
        ("distilgpt2", 81.9),
        ("multilingual-e5-small", 117.5),
        ("bge-small-en", 33.2),
        ("mmbert-small", 140.5),
        ("modernbert-base", 149.0),
        ("t5-small", 35.3),
        ("smollm2-135m", 134.5),
        ("smollm2-360m", 361.8),
        ("qwen3-0.6b", 596.0),
    ],
)
def test_parameter_counts_are_the_published_ones(name, millions):
    assert LADDER[name].params / 1e6 == pytest.approx(millions, abs=0.06)


def test_rows_for_display_have_equal_keys():
    table = rows()
    assert len(table) == len(LADDER)
    assert len({tuple(row) for row in table}) == 1


OTHERS = [name for name, entry in LADDER.items() if entry.config is not None]
SMALL = {"ettin-17m", "flan-t5-small"}


@pytest.mark.parametrize("name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in OTHERS])
def test_what_the_ladder_says_of_other_architectures_is_counted(name):
    entry, [size] = LADDER[name], model_sizes([ModelSpec(base=name)])
    assert (size.params, size.layers, size.hidden) == (entry.params, entry.layers, entry.hidden)
    assert (size.family, size.pooling, size.licence) == (entry.family, entry.pooling, entry.licence)
    assert (size.max_tokens is None) == (size.family == "t5")
    check_lengths([size], 512)


def test_other_architectures_are_listed_without_transformers():
    shown = {row["name"]: row for row in rows()}
    assert (shown["ettin-17m"]["layers"], shown["ettin-17m"]["hidden"]) == (7, 256)
    assert (shown["t5-small"]["layers"], shown["t5-small"]["params_millions"]) == (6, 35.3)
    assert (LADDER["flan-t5-small"].heads, LADDER["qwen3-0.6b"].vocab) == (6, 151_936)


def test_bases_of_many_languages_are_marked():
    marked = [name for name, entry in LADDER.items() if entry.is_multilingual]
    assert marked == ["multilingual-e5-small", "mmbert-small"]
