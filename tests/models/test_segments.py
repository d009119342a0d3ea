"""Pairs of texts: the same tokens, segments and states as the tokenizers library and transformers have."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lft_ray.engines.base import segment_numbers
from lft_ray.models.convert import TOKENIZER
from lft_ray.models.segments import PairTemplate, kept_lengths
from lft_ray.models.tokens import Pair, TextTokenizer, Truncated, Unread

WORDS = ["the", "cat", "sat", "on", "mats", "unbelievable", "x"]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@pytest.fixture(params=["tiny_bert", "tiny_gpt"])
def folder(request):
    return request.getfixturevalue(request.param)


def library(folder, max_length):
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    return tokenizer


def test_pairs_are_encoded_and_cut_as_the_tokenizers_library_does(folder):
    rng = np.random.default_rng(0)
    ours = TextTokenizer(folder)
    for _ in range(300):
        first, second = (" ".join(rng.choice(WORDS, rng.integers(0, 12))) for _ in range(2))
        max_length = int(rng.integers(6, 24))
        expected = library(folder, max_length).encode(first, second)
        whole = len(library(folder, 10_000).encode(first, second))
        [found] = ours.encode([(first, second)], max_length)
        if not expected.ids:
            assert (list(found), isinstance(found, Unread)) == ([0], True)
            continue
        assert list(found) == expected.ids
        assert found.types == expected.type_ids
        assert isinstance(found, Truncated) == (whole > max_length)


def test_a_pair_of_nothing_is_unread(folder):
    [found] = TextTokenizer(folder).encode([("", "")], 16)
    assert isinstance(found, Unread)
    assert isinstance(found, Pair)
    assert len(found) == len(found.types) >= 1


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_the_longer_text_is_cut(first, second, room):
    one, two = kept_lengths(first, second, room)
    assert one <= first
    assert two <= second
    assert one + two == min(room, first + second)
    if first + second > room:
        assert abs(one - two) <= 1 or min(one, two) == min(first, second)


def test_of_a_long_text_only_its_beginning_is_read(tiny_bert):
    tokenizer = TextTokenizer(tiny_bert)
    long = "the cat sat on mats " * 50_000
    [found] = tokenizer.encode([("the cat", long)], 32)
    assert list(found) == library(tiny_bert, 32).encode("the cat", long[:4000]).ids
    assert isinstance(found, Truncated)


def test_the_template_of_bert(tiny_bert):
    template = PairTemplate.of(Tokenizer.from_file(str(tiny_bert / TOKENIZER)))
    assert [len(template.before), len(template.between), len(template.after), len(template)] == [1, 1, 1, 3]
    assert template.types == (0, 1)
    assert (template.between.types, template.after.types) == ((0,), (1,))


def test_segment_numbers_are_padded():
    batch = [Pair([5, 6, 7], [0, 0, 1]), Pair([5], [0])]
    assert segment_numbers(batch).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert segment_numbers([[5, 6]]).tolist() == [[0, 0]]


@torch.inference_mode()
def test_states_of_pairs_are_those_of_transformers_bert(tiny_bert):
    from transformers import BertModel

    from lft_ray.config import ModelSpec
    from tests.models.test_network import network_of

    network = network_of(ModelSpec(base=str(tiny_bert)))
    theirs = BertModel.from_pretrained(tiny_bert, add_pooling_layer=False, attn_implementation="eager").eval()
    ids = torch.arange(2 * 9).reshape(2, 9) % 20 + 5
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    types = torch.tensor([[0] * 4 + [1] * 5, [0] * 2 + [1] * 4 + [0] * 3])
    expected = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]
    found = network.backbone(torch.stack([ids, types], dim=-1), mask)
    real = mask == 1
    assert torch.allclose(found[real], expected[real], atol=1e-5)
    assert not torch.allclose(network.backbone(ids, mask)[real], expected[real], atol=1e-3)
