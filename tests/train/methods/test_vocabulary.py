"""Training with the seen rows of the token embedding, compared with training all rows."""

import copy
import pickle

import numpy as np
import pytest
import torch

from lft_ray.records import TrialStatus
from lft_ray.train.loop.loop import train
from lft_ray.train.methods.vocabulary import seen_tokens, train_seen_tokens


@pytest.fixture
def sparse_job(loop_job):
    """A job whose data contain part of the table only: 120 unseen rows are appended to those of the tokenizer."""

    def make(**kwargs):
        job = loop_job(**kwargs)
        table = job.network.backbone.tokens
        unseen = torch.randn(120, table.embedding_dim, generator=torch.Generator().manual_seed(5))
        job.network.backbone.tokens = torch.nn.Embedding.from_pretrained(
            torch.cat([table.weight.detach(), unseen]), freeze=False
        )
        return job

    return make


def ignore(_):
    return None


def never():
    return False


@pytest.mark.parametrize("layer_decay", [None, 0.7])
def test_the_trained_network_is_the_same(sparse_job, layer_decay):
    kind = {"training": {"weight_decay": 0.1}, "config": {"layer_decay": layer_decay}}
    whole, reduced = sparse_job(**copy.deepcopy(kind)), sparse_job(**kind)
    before = whole.network.backbone.tokens.weight.detach().clone()
    expected, result = train(whole, ignore, never), train_seen_tokens(reduced, ignore, never)
    for name, wanted in whole.network.state_dict().items():
        torch.testing.assert_close(reduced.network.state_dict()[name], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.logits, expected.logits, atol=1e-4)
    assert [point.f1 for point in result.curve] == [point.f1 for point in expected.curve]
    # Weight decay, applied by steps only, has reached the unseen rows.
    after = reduced.network.backbone.tokens.weight.detach()
    shrink = after[-120:].norm() / before[-120:].norm()
    assert shrink < 1 - 1e-4
    torch.testing.assert_close(after[-120:], whole.network.backbone.tokens.weight.detach()[-120:], rtol=1e-6, atol=0)


def test_the_steps_see_a_small_table(sparse_job):
    job, sizes = sparse_job(), []
    rows = job.network.backbone.tokens.num_embeddings
    seen = seen_tokens([job.train, job.validation], job.pad_id, rows)

    def record_size(_):
        sizes.append(job.network.backbone.tokens.num_embeddings)

    train_seen_tokens(job, record_size, never)
    assert set(sizes) == {len(seen)}
    assert len(seen) < rows - 100
    assert job.network.backbone.tokens.num_embeddings == rows


def test_seen_tokens_are_those_of_all_splits_and_the_padding(loop_job):
    job = loop_job()
    seen = seen_tokens([job.train, job.validation], 33, 40)
    assert seen.tolist() == sorted({33, *job.train.values.tolist(), *job.validation.values.tolist()})


def test_a_stopped_run_leaves_the_whole_table_in_place(sparse_job):
    job = sparse_job()
    table = job.network.backbone.tokens
    result = train_seen_tokens(job, ignore, lambda: True)
    assert result.status is TrialStatus.STOPPED
    assert job.network.backbone.tokens is table


def test_a_table_of_mostly_seen_tokens_is_not_reduced(loop_job):
    job, sizes = loop_job(), []
    rows = job.network.backbone.tokens.num_embeddings
    train_seen_tokens(job, lambda _: sizes.append(job.network.backbone.tokens.num_embeddings), never)
    assert set(sizes) == {rows}


def test_renumbered_tokens_truncate_and_pickle_like_plain_ones(loop_job):
    tokens = loop_job().train
    seen = seen_tokens([tokens], 0, int(tokens.values.max()) + 1)
    numbers = np.zeros(int(seen.max()) + 1, np.uint32)
    numbers[seen] = np.arange(len(seen))[::-1]
    other = pickle.loads(pickle.dumps(tokens.renumbered(numbers)))
    rows = np.arange(len(tokens))
    for plain, changed in zip(tokens.gather(rows, 6), other.gather(rows, 6), strict=True):
        np.testing.assert_array_equal(numbers[plain], changed)
    assert (tokens.lengths(10_000) > 6).any(), "some text must be truncated, or the end token is not checked"
