"""The ladder: its entries, their pinned revisions and published sizes."""

import pytest

from lft_ray.models.ladder import LADDER, rows


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
    ],
)
def test_parameter_counts_are_the_published_ones(name, millions):
    assert LADDER[name].params / 1e6 == pytest.approx(millions, abs=0.06)


def test_rows_for_display_have_equal_keys():
    table = rows()
    assert len(table) == len(LADDER)
    assert len({tuple(row) for row in table}) == 1
