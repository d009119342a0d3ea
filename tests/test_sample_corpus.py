"""The cheap facts that README claims of the shipped corpus; `benchmarks/corpus_cv.py` measures the dear ones."""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from lft_ray.models.tfidf import TfidfModel
from lft_ray.tasks.classification import Classification

CORPUS = Path(__file__).resolve().parent.parent / "experiments" / "data" / "news.csv"
TOPICS = ["business", "health", "politics", "science", "sport", "technology"]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with CORPUS.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_six_topics_of_equal_size(rows):
    assert Counter(row["label"] for row in rows) == dict.fromkeys(TOPICS, 280)
    assert all(set(row) == {"text", "label"} for row in rows)


def test_every_row_is_a_sentence_of_its_own(rows):
    normal = Counter(re.sub(r"[^a-z0-9]+", " ", row["text"].lower()).strip() for row in rows)
    assert normal.most_common(1)[0][1] == 1
    words = [len(row["text"].split()) for row in rows]
    assert min(words) >= 4
    assert max(words) <= 40
    # Rows of a template share their beginning: no five first words stand more than twice.
    assert Counter(" ".join(text.split()[:5]) for text in normal).most_common(1)[0][1] <= 2


def test_a_bag_of_words_does_not_solve_it(rows):
    """Measured 0.801 in five folds by `benchmarks/corpus_cv.py`, one of them here. Above 0.92 no search were needed."""
    task = Classification(TOPICS)
    texts, targets = np.array([row["text"] for row in rows]), task.encode({"label": [[row["label"]] for row in rows]})
    train, held_out = next(StratifiedKFold(5, shuffle=True, random_state=0).split(texts, targets))
    model = TfidfModel.fit(list(texts[train]), targets[train], task, 0)
    logits = np.asarray(model.logits(list(texts[held_out])), np.float32)
    assert 0.65 < task.metrics(targets[held_out], logits)["macro_f1"] < 0.9
