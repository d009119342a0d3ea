"""TF-IDF: the same numbers as scikit-learn, probabilities that are the model's, folders without pickles."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lft_ray.errors import BundleError
from lft_ray.models import tfidf, tfidf_fit
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.grams import grams, units
from lft_ray.models.tfidf import TfidfModel
from lft_ray.models.tfidf_fit import ngrams
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
    return TfidfModel.fit(texts, task.encode({"label": names}), task, 0)


def test_words_are_cut_and_cjk_stands_alone():
    assert split_words("STOP: 3 élan_vital", 99) == ["stop", ":", "3", "élan_vital"]
    assert split_words("東京 is ok カナ", 99) == ["東", "京", "is", "ok", "カ", "ナ"]
    assert split_words("a b c d", 2) == ["a", "b"]
    assert ngrams(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c"]
    assert ngrams([]) == []


def union(texts: list[str]) -> tuple[Any, Any]:
    """The same features by scikit-learn's own vectorizers: a matrix, and a function of fresh texts."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizers = [
        TfidfVectorizer(analyzer=lambda text: ngrams(split_words(text, 512)), sublinear_tf=True),
        TfidfVectorizer(
            analyzer=lambda text: [gram for unit in units(split_words(text, 512)) for gram in grams(unit)],
            sublinear_tf=True,
        ),
    ]
    matrix = hstack([vectorizer.fit_transform(texts) for vectorizer in vectorizers]).tocsr()
    return matrix, lambda fresh: hstack([vectorizer.transform(fresh) for vectorizer in vectorizers]).tocsr()


def with_all_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf_fit, "_choose", lambda blocks, *_: tfidf_fit._Chosen(len(blocks), 0.5, 2.0))


@pytest.mark.parametrize("labels", [["film", "money"], ["film", "money", "sport"]])
def test_logits_are_those_of_scikit_learn(labels, monkeypatch):
    from sklearn.svm import LinearSVC

    with_all_features(monkeypatch)
    texts, names = corpus(200, labels)
    texts = [f"{text}! \u6771\u4eac {text[:9]}" for text in texts]
    task = Classification(labels)
    targets = task.encode({"label": names})
    model = TfidfModel.fit(texts, targets, task, 0)
    assert model.grams
    matrix, transform = union(texts)
    reference = LinearSVC(C=0.5, random_state=0, tol=1e-7, max_iter=10_000).fit(matrix, targets)
    fresh = [*corpus(50, labels, seed=9)[0], "words nobody has seen", "goal goal goal \u6771\u4eac bank", "", "?"]
    decisions = reference.decision_function(transform(fresh))
    expected = 2.0 * (decisions[:, None] * [-0.5, 0.5] if len(labels) == 2 else decisions)
    np.testing.assert_allclose(model.logits(fresh), expected, atol=5e-3)


def test_several_labels_are_one_model_each(monkeypatch):
    from sklearn.svm import LinearSVC

    with_all_features(monkeypatch)
    texts, names = corpus(240, list(TOPICS))
    joined = [f"{texts[i]} {texts[i + 1]}" if i % 3 == 0 else texts[i] for i in range(239)]
    both = [sorted({*names[i], *names[i + 1]}) if i % 3 == 0 else names[i] for i in range(239)]
    task = Multilabel(sorted(TOPICS))
    targets = task.encode({"label": both})
    got = TfidfModel.fit(joined, targets, task, 0).logits(joined)
    matrix, _ = union(joined)
    for column in range(3):
        reference = LinearSVC(C=0.5, random_state=0, tol=1e-7, max_iter=10_000).fit(matrix, targets[:, column])
        np.testing.assert_allclose(got[:, column], 2.0 * reference.decision_function(matrix), atol=5e-3)


@pytest.mark.parametrize("kind", [Classification, Multilabel])
def test_probabilities_are_as_sure_as_the_model_is_right(kind):
    texts, names = corpus(400, list(TOPICS))
    random = np.random.default_rng(1)
    # A tenth of the labels is wrong, so a calibrated model is sure of nine in ten.
    noisy = [[str(random.choice(list(TOPICS)))] if random.random() < 0.15 else name for name in names]
    task = kind(sorted(TOPICS))
    model = TfidfModel.fit(texts, task.encode({"label": noisy}), task, 0)
    probabilities = task.probabilities(model.logits(corpus(300, list(TOPICS), seed=5)[0]))
    assert 0.75 < probabilities.max(axis=1).mean() < 0.97


def test_features_are_chosen_by_what_helps():
    texts, names = corpus(300, list(TOPICS))
    task = Classification(sorted(TOPICS))
    random = np.random.default_rng(2)
    # Every word has an ending of its own, so that only its parts are seen twice.
    ended = [" ".join(word + "".join(random.choice(list("qxzjkv"), 5)) for word in text.split()) for text in texts]
    assert TfidfModel.fit(ended, task.encode({"label": names}), task, 0).grams
    # Words of two letters under labels that only their order tells: parts add nothing.
    orders = ["ab cd" if row % 2 else "cd ab" for row in range(300)]
    told = Classification(["no", "yes"])
    model = TfidfModel.fit(
        orders, told.encode({"label": [["yes"] if row % 2 else ["no"] for row in range(300)]}), told, 0
    )
    assert not model.grams


def test_the_stored_weights_are_bounded(monkeypatch):
    texts, names = corpus(300, list(TOPICS))
    task = Classification(sorted(TOPICS))
    targets = task.encode({"label": names})
    with_all_features(monkeypatch)
    whole = TfidfModel.fit(texts, targets, task, 0)
    monkeypatch.setattr(tfidf_fit, "_MAX_WEIGHTS", 600)
    cut = TfidfModel.fit(texts, targets, task, 0)
    assert cut.coef.shape == (200, 3)
    assert len(whole.coef) > 200
    assert len(cut.vocabulary) + len(cut.grams) == 200
    fresh, wanted = corpus(90, list(TOPICS), seed=3)
    assert task.metrics(task.encode({"label": wanted}), cut.logits(fresh))["macro_f1"] > 0.9


def test_data_with_too_many_parts_are_fitted_on_words(monkeypatch):
    monkeypatch.setattr(tfidf_fit, "_MAX_GRAM_COUNTS", 100)
    texts, names = corpus(60, list(TOPICS))
    task = Classification(sorted(TOPICS))
    assert not TfidfModel.fit(texts, task.encode({"label": names}), task, 0).grams


def test_a_sample_chooses_for_large_data(monkeypatch):
    monkeypatch.setattr(tfidf_fit, "_CHOICE_WORK", 1.0)
    monkeypatch.setattr(tfidf_fit, "_SMALLEST_SAMPLE", 60)
    seen = []
    fold = tfidf_fit._unseen_decisions
    monkeypatch.setattr(tfidf_fit, "_unseen_decisions", lambda m, t, *rest: seen.append(len(t)) or fold(m, t, *rest))
    texts, names = corpus(300, list(TOPICS))
    task = Classification(sorted(TOPICS))
    TfidfModel.fit(texts, task.encode({"label": names}), task, 0)
    assert set(seen) == {60}


def test_texts_without_words_are_no_error():
    task = Classification(["film", "money"])
    model = TfidfModel.fit(["", " "] * 10, task.encode({"label": [["film"], ["money"]] * 10}), task, 0)
    assert np.isfinite(model.logits(["", "x"])).all()


def test_words_that_are_kept_stay_bounded(fitted, monkeypatch):
    monkeypatch.setattr(tfidf, "_KEPT_WORDS", 5)
    texts, _ = corpus(50, list(TOPICS), seed=8)
    model = replace(fitted, max_length=100)
    expected = fitted.logits(texts)
    assert np.array_equal(model.logits(texts), expected)
    assert len(model._kept) <= 5


@pytest.mark.parametrize("version", [1, 2])
def test_a_model_of_an_older_release_predicts_as_it_did(version, tmp_path):
    facts = {"strength": 1.0, "words": version, "terms": ["goal", "bank", "goal bank"]}
    if version == 1:
        del facts["words"]
    (tmp_path / "vocabulary.json").write_text(json.dumps(facts))
    idf = np.array([1.0, 2.0, 3.0], np.float32)
    coef = np.array([[1.0, -1.0], [-2.0, 2.0], [0.5, 0.25]], np.float32)
    intercept = np.array([0.25, -0.25], np.float32)
    save_file({"idf": idf, "coef": coef, "intercept": intercept}, tmp_path / "linear.safetensors")
    EngineCard(engine="sklearn", model_size="tfidf", outputs=2, max_length=3).write(tmp_path)
    model = TfidfModel.load(tmp_path)
    assert model.words == version
    values = np.array([1.0 + np.log(2.0), 2.0, 3.0])
    # The third word is the last that is read, and punctuation is none.
    expected = values / np.sqrt(values @ values) @ coef + intercept
    np.testing.assert_allclose(model.logits(["Goal, bank! goal... bank bank"])[0], expected, rtol=1e-6)
    model.save(tmp_path / "again")
    assert TfidfModel.load(tmp_path / "again").words == version


@pytest.mark.parametrize(("version", "logit"), [(3, 1.0), (4, 2.0)])
def test_parts_of_words_are_those_of_the_release_that_fitted_them(version, logit, tmp_path):
    # Version 3 took the iteration mark for a word between two runs, version 4 for a letter of one.
    facts = {"strength": 1.0, "words": version, "terms": [], "grams": [" \u4eba ", " \u4eba\u3005 "]}
    (tmp_path / "vocabulary.json").write_text(json.dumps(facts))
    coef = np.array([[1.0, 0.0], [2.0, 0.0]], np.float32)
    arrays = {"idf": np.ones(2, np.float32), "coef": coef, "intercept": np.zeros(2, np.float32)}
    save_file(arrays, tmp_path / "linear.safetensors")
    EngineCard(engine="sklearn", model_size="tfidf", outputs=2, max_length=9).write(tmp_path)
    assert TfidfModel.load(tmp_path).logits(["\u4eba\u3005"])[0].tolist() == [logit, 0.0]


def test_fit_learns_the_topics(fitted):
    task = Classification(sorted(TOPICS))
    texts, names = corpus(90, list(TOPICS), seed=3)
    assert task.metrics(task.encode({"label": names}), fitted.logits(texts))["macro_f1"] > 0.9


def test_labels_without_examples_are_never_chosen():
    texts, names = corpus(60, ["film", "money"])
    task = Classification(["absent", "film", "money"])
    probabilities = task.probabilities(TfidfModel.fit(texts, task.encode({"label": names}), task, 0).logits(texts))
    assert probabilities[:, 0].max() < 1e-4
    several = Multilabel(["absent", "film", "money"])
    probabilities = several.probabilities(
        TfidfModel.fit(texts, several.encode({"label": names}), several, 0).logits(texts)
    )
    assert probabilities[:, 0].max() < 1e-4


def test_a_label_on_every_row_is_always_chosen():
    texts, names = corpus(60, ["film", "money"])
    task = Multilabel(["always", "film", "money"])
    targets = task.encode({"label": [["always", *name] for name in names]})
    assert task.probabilities(TfidfModel.fit(texts, targets, task, 0).logits(texts))[:, 0].min() > 0.99


def test_a_handful_of_rows_is_enough():
    texts, names = corpus(4, ["film", "money"])
    task = Classification(["film", "money"])
    assert TfidfModel.fit(texts, task.encode({"label": names}), task, 0).logits(["movie"]).shape == (1, 2)


def test_fits_are_reproducible(fitted):
    texts, names = corpus(300, list(TOPICS))
    task = Classification(sorted(TOPICS))
    again = TfidfModel.fit(texts, task.encode({"label": names}), task, 0)
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
