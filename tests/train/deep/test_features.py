"""Features of texts: the same vectors as the trial's probe, and which network is chosen."""

import numpy as np
import pytest

from lft_ray.config import ModelSpec
from lft_ray.models.tokens import TextTokenizer
from lft_ray.train.deep import features
from lft_ray.train.deep.features import TextInputs, find_encoder, network_features, tfidf_matrix


def test_vectors_are_in_the_order_of_the_texts_and_of_every_chunk_alike(tiny_bert, monkeypatch):
    encoder = find_encoder([ModelSpec(base=str(tiny_bert))])
    assert encoder is not None
    texts = ["a", "a much longer text of several words", "two words", "a"]
    whole = network_features(encoder, texts, max_length=16)
    assert whole.shape == (4, encoder.size.hidden)
    assert whole[0] == pytest.approx(whole[3], abs=1e-5)
    assert not np.allclose(whole[0], whole[1])
    monkeypatch.setattr(features, "_CHUNK_TEXTS", 2)
    told: list[str] = []
    assert network_features(encoder, texts, max_length=16, log=told.append) == pytest.approx(whole, abs=1e-5)
    assert told == ["features: 2 of 4 texts"]


def test_no_texts(tiny_bert):
    encoder = find_encoder([ModelSpec(base=str(tiny_bert))])
    assert network_features(encoder, [], max_length=16).shape == (0, encoder.size.hidden)


def test_texts_are_truncated(tiny_bert):
    inputs = TextInputs(["a " * 50, "a"], TextTokenizer(tiny_bert), 8)
    assert inputs.lengths(8).max() == 8
    assert len(inputs) == 2


def test_a_base_that_is_absent_is_passed_over_and_nothing_is_downloaded(tiny_bert, monkeypatch):
    from lft_ray.models import resolve

    monkeypatch.setattr(resolve, "_on_hub", lambda *_: pytest.fail("a check downloads nothing"))
    found = find_encoder([ModelSpec(base="owner/absent"), ModelSpec(base=str(tiny_bert))])
    assert found is not None
    assert found.size.base == str(tiny_bert)
    assert find_encoder([ModelSpec(base="owner/absent")]) is None


def test_all_layers_are_used_whatever_the_experiment_cuts(tiny_bert):
    found = find_encoder([ModelSpec(base=str(tiny_bert), layers=[1])])
    assert found is not None
    assert found.size.layers == find_encoder([ModelSpec(base=str(tiny_bert))]).size.layers


def test_tfidf_without_a_common_term():
    assert tfidf_matrix(["one", "two", "?!"], max_length=8).shape == (3, 1)
    assert tfidf_matrix(["one two", "two three"], max_length=8).shape == (2, 1)
