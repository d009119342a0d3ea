"""Replicas of one process, and the choice of sharding; several processes are in test_process_group.py."""

import torch
from torch import nn

from lft_ray.train.device.parallel import STATE_BYTES, STATE_SHARE, is_sharded, needs_shards, share
from lft_ray.train.device.process_group import Group


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 4), nn.Linear(4, 2))


def test_needs_shards_counts_moments_of_trained_weights_only():
    whole = network()
    trained, frozen = 10 * 4 + 4, 4 * 2 + 2
    whole[1].requires_grad_(False)
    state = STATE_BYTES * trained + 4 * frozen
    assert not needs_shards(whole, Group(), state / STATE_SHARE + 1)
    assert needs_shards(whole, Group(), state / STATE_SHARE - 1)
    whole[1].requires_grad_(True)
    assert needs_shards(whole, Group(), state / STATE_SHARE + 1)


def test_a_single_process_is_never_sharded():
    given = network()
    sharing = share(given, Group(), is_sharded=True)
    assert sharing.network is given
    assert not is_sharded(sharing.network)
    assert sharing.passes(0) == 0
    assert [sharing.all_fit(fits=fits) for fits in (True, False)] == [True, False]


def test_clip_returns_the_norm_before_clipping():
    given = network()
    sharing = share(given, Group(), is_sharded=False)
    given(torch.ones(3, 10)).sum().backward()
    before = torch.cat([p.grad.flatten() for p in given.parameters()]).norm()
    torch.testing.assert_close(sharing.clip(0.5), before)
    after = torch.cat([p.grad.flatten() for p in given.parameters()]).norm()
    torch.testing.assert_close(after, torch.tensor(0.5), atol=1e-4, rtol=0)
    sharing.gather()
    assert all(p.grad is None for p in given.parameters())
