"""TF-IDF: the same numbers as scikit-learn, probabilities that are the model's, folders without pickles."""

from functools import partial

import numpy as np
import pytest

from lft_ray.errors import BundleError
from lft_ray.models.tfidf import TfidfModel, ngrams
from lft_ray.models.words import split_words
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel

TOPICS = {
    "sport": ["match", "goal", "team", "coach", "season", "league", "cup", "player", "wins", "final"],
    "money": ["stocks", "bank", "market", "shares", "profit", "rate", "oil", "prices", "trade", "fund"],
    "film": ["movie", "actor", "scene", "plot", "director", "story", "screen", "drama", "cast", "role"],
}
WORDS = [word for words in TOPICS.values() for word in words]


def corpus(rows: int, labels: list[str], seed: int = 0) -> tuple[list[str], list[list[str]]]:
    random = np.random.default_rng(seed)
    texts, names = [], []
    for row in range(rows):
        label = labels[row % len(labels)]
        words = list(random.choice(TOPICS[label], 5)) + list(random.choice(WORDS, 3))
        texts.append(" ".join(words))
        names.append([label])
    return texts, names


@pytest.fixture(scope="module")
def fitted() -> TfidfModel:
    texts, names = corpus(300, list(TOPICS))
    task = Classification(sorted(TOPICS))
    return TfidfModel.fit(texts, task.encode(names), task, 0)


def test_words_are_cut_and_cjk_stands_alone():
    assert split_words("Don't STOP: 3.5 élan_vital", 99) == ["don", "t", "stop", "3", "5", "élan_vital"]
    assert split_words("東京 is ok カナ", 99) == ["東", "京", "is", "ok", "カ", "ナ"]
    assert split_words("a b c d", 2) == ["a", "b"]
    assert ngrams(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c"]
    assert ngrams([]) == []


@pytest.mark.parametrize("labels", [["film", "money"], ["film", "money", "sport"]])
def test_logits_are_those_of_scikit_learn(labels):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, names = corpus(200, labels)
    task = Classification(labels)
    targets = task.encode(names)
    model = TfidfModel.fit(texts, targets, task, 0)
    analyzer = partial(lambda text: ngrams(split_words(text, 512)))
    vectorizer = TfidfVectorizer(analyzer=analyzer, sublinear_tf=True)
    reference = LogisticRegression(C=model.strength, tol=1e-6, max_iter=2000).fit(
        vectorizer.fit_transform(texts), targets
    )
    fresh = [*corpus(50, labels, seed=9)[0], "words nobody has seen", "goal goal goal goal bank", ""]
    expected = reference.predict_proba(vectorizer.transform(fresh))
    assert np.abs(task.probabilities(model.logits(fresh)) - expected).max() < 2e-3


def test_several_labels_are_one_model_each():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, names = corpus(240, list(TOPICS))
    joined = [f"{texts[i]} {texts[i + 1]}" if i % 3 == 0 else texts[i] for i in range(239)]
    both = [sorted({*names[i], *names[i + 1]}) if i % 3 == 0 else names[i] for i in range(239)]
    task = Multilabel(sorted(TOPICS))
    targets = task.encode(both)
    model = TfidfModel.fit(joined, targets, task, 0)
    vectorizer = TfidfVectorizer(analyzer=lambda text: ngrams(split_words(text, 512)), sublinear_tf=True)
    matrix = vectorizer.fit_transform(joined)
    got = task.probabilities(model.logits(joined))
    for column in range(3):
        reference = LogisticRegression(C=model.strength, tol=1e-6, max_iter=2000).fit(matrix, targets[:, column])
        assert np.abs(got[:, column] - reference.predict_proba(matrix)[:, 1]).max() < 2e-3


def test_fit_learns_the_topics(fitted):
    task = Classification(sorted(TOPICS))
    texts, names = corpus(90, list(TOPICS), seed=3)
    assert task.metrics(task.encode(names), fitted.logits(texts))["macro_f1"] > 0.9


def test_labels_without_examples_are_never_chosen():
    texts, names = corpus(60, ["film", "money"])
    task = Classification(["absent", "film", "money"])
    probabilities = task.probabilities(TfidfModel.fit(texts, task.encode(names), task, 0).logits(texts))
    assert probabilities[:, 0].max() < 1e-4
    several = Multilabel(["absent", "film", "money"])
    probabilities = several.probabilities(TfidfModel.fit(texts, several.encode(names), several, 0).logits(texts))
    assert probabilities[:, 0].max() < 1e-4


def test_a_label_on_every_row_is_always_chosen():
    texts, names = corpus(60, ["film", "money"])
    task = Multilabel(["always", "film", "money"])
    targets = task.encode([["always", *name] for name in names])
    assert task.probabilities(TfidfModel.fit(texts, targets, task, 0).logits(texts))[:, 0].min() > 0.99


def test_a_handful_of_rows_is_enough():
    texts, names = corpus(4, ["film", "money"])
    task = Classification(["film", "money"])
    assert TfidfModel.fit(texts, task.encode(names), task, 0).logits(["movie"]).shape == (1, 2)


def test_fits_are_reproducible(fitted):
    texts, names = corpus(300, list(TOPICS))
    task = Classification(sorted(TOPICS))
    again = TfidfModel.fit(texts, task.encode(names), task, 0)
    assert again.strength == fitted.strength
    assert np.array_equal(again.coef, fitted.coef)


def test_saved_and_loaded_is_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = TfidfModel.load(tmp_path / "m")
    texts = ["goal in the final", "shares and trade", ""]
    assert np.array_equal(again.logits(texts), fitted.logits(texts))
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        "vocabulary.json",
        "linear.safetensors",
        "engine.json",
    }


@pytest.mark.parametrize("name", ["vocabulary.json", "linear.safetensors", "engine.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"strength": 1.0, "terms": ["a"]}'])
def test_a_damaged_folder_is_refused(fitted, tmp_path, name, content):
    fitted.save(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError):
        TfidfModel.load(tmp_path)
