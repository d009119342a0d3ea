"""Cached activations of frozen layers: their values, their files and the size limit."""

import os

import numpy as np
import pytest
import torch

from lft_ray.train.loop import activations
from lft_ray.train.loop.activations import ActivationStore, TokenStates
from lft_ray.train.loop.evaluate import Batching

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)


@pytest.fixture
def store(tmp_path) -> ActivationStore:
    return ActivationStore(tmp_path / "activations", "key", 10**9)


def files(store) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*.arrow"))


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
@pytest.mark.parametrize("layers", [0, 1])
def test_token_states_are_those_of_the_lower_layers(loop_job, store, monkeypatch, chunk, layers):
    monkeypatch.setattr(activations, "CHUNK_TOKENS", chunk)
    job = loop_job()
    backbone, rows = job.network.backbone, np.array([5, 0, 118, 7])
    train, _ = store.token_states(backbone, layers, (job.train, job.validation), BATCHING)
    states, mask = train.tensors(rows, 32, 0)
    ids, wanted_mask = job.train.tensors(rows, 32, 0)
    with torch.inference_mode():
        wanted = backbone.lower(ids, wanted_mask, layers)
    torch.testing.assert_close(mask, wanted_mask)
    torch.testing.assert_close(states, wanted * mask[..., None], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(train.lengths(32), job.train.lengths(32))
    with pytest.raises(ValueError, match="16 was requested"):
        train.tensors(rows, 16, 0)


def test_token_states_of_a_bf16_trial_are_stored_in_bf16(loop_job, store):
    job = loop_job()
    batching = Batching(32, 256, 0, dtype="bf16")
    train, _ = store.token_states(job.network.backbone, 1, (job.train, job.validation), batching)
    states, mask = train.tensors(np.arange(5), 32, 0)
    assert states.dtype is torch.bfloat16
    ids, _ = job.train.tensors(np.arange(5), 32, 0)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted = job.network.backbone.lower(ids, mask, 1)
    torch.testing.assert_close(states.float(), wanted.float() * mask[..., None], rtol=0.02, atol=0.02)


def test_a_full_store_removes_the_least_recently_used_files(loop_job, tmp_path):
    job = loop_job()
    splits = (job.train, job.validation)
    one = sum(int(tokens.lengths(32).sum()) for tokens in splits) * 32 * 4
    store = ActivationStore(tmp_path, "key", 2 * one + 10_000)
    for layers in (0, 1):
        store.token_states(job.network.backbone, layers, splits, BATCHING)
    for path in tmp_path.glob("*.arrow"):
        os.utime(path, (1, 1))
    store.token_states(job.network.backbone, 0, splits, BATCHING)
    used = {path.name for path in tmp_path.glob("*.arrow") if path.stat().st_mtime > 1}
    before = set(files(store))
    store.token_states(job.network.backbone, 2, splits, BATCHING)
    assert len(used) == 2
    assert used < set(files(store))
    assert before & set(files(store)) == used


def test_a_damaged_file_is_written_again(loop_job, store):
    job = loop_job()
    splits = (job.train, job.validation)
    store.token_states(job.network.backbone, 1, splits, BATCHING)
    for path in store.folder.glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:200])
    train, _ = store.token_states(job.network.backbone, 1, splits, BATCHING)
    assert isinstance(train, TokenStates)
