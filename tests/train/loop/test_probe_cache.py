"""Caching of probes: in memory, in the file of a node, and without either."""

from collections import OrderedDict

import numpy as np

from lft_ray.train.loop import probe, probe_cache
from lft_ray.train.loop.activations import ActivationStore
from lft_ray.train.loop.evaluate import Batching
from lft_ray.train.loop.probe import initial_head
from lft_ray.train.loop.probe_cache import ProbeCache

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)


def test_later_trials_take_the_probe_from_memory(loop_job, monkeypatch):
    monkeypatch.setattr(probe_cache, "_PROBES", OrderedDict())
    first, second = loop_job(), loop_job()
    key = ("data", "tiny:2", 24, "fp32")
    first_probe = initial_head(
        first.network, first.task, (first.train, first.validation), BATCHING, probe_cache=ProbeCache(key)
    )
    again = initial_head(
        second.network, second.task, (second.train, second.validation), BATCHING, probe_cache=ProbeCache(key)
    )
    assert again is first_probe
    assert np.array_equal(second.network.head.weight.detach().numpy(), first_probe.weight)
    other = initial_head(
        second.network, second.task, (second.train, second.validation), BATCHING, probe_cache=ProbeCache("other")
    )
    assert other is not first_probe


def store_in(folder):
    return ActivationStore(folder / "activations", "data and base", 10**9)


def test_another_process_takes_the_probe_from_the_file(loop_job, monkeypatch, tmp_path):
    first, second = loop_job(), loop_job()
    cache = ProbeCache(("data", "tiny:2"), store_in(tmp_path))
    monkeypatch.setattr(probe_cache, "_PROBES", OrderedDict())
    first_probe = initial_head(first.network, first.task, (first.train, first.validation), BATCHING, probe_cache=cache)
    # As in another process, which has an empty cache and must not run the network.
    monkeypatch.setattr(probe_cache, "_PROBES", OrderedDict())
    monkeypatch.setattr(probe, "extract_features", None)
    again = initial_head(second.network, second.task, (second.train, second.validation), BATCHING, probe_cache=cache)
    for name in ("weight", "bias", "validation_logits"):
        assert np.array_equal(getattr(again, name), getattr(first_probe, name))
    assert np.array_equal(second.network.head.weight.detach().numpy(), first_probe.weight)


def test_a_damaged_or_unwritable_file_costs_only_another_fit(loop_job, monkeypatch, tmp_path):
    job, cache = loop_job(), ProbeCache(("data", "tiny:2"), store_in(tmp_path))
    splits = (job.train, job.validation)
    first_probe = initial_head(job.network, job.task, splits, BATCHING, probe_cache=cache)
    (path,) = cache.store.folder.glob("probe-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setattr(probe_cache, "_PROBES", OrderedDict())
    again = initial_head(job.network, job.task, splits, BATCHING, probe_cache=cache)
    assert np.array_equal(again.weight, first_probe.weight)
    assert probe_cache._read(path) is not None, "the probe was not written again"

    def full(self, name, data):
        raise OSError(28, "No space left on device")

    path.unlink()
    monkeypatch.setattr(probe_cache, "_PROBES", OrderedDict())
    monkeypatch.setattr(probe_cache.Storage, "put", full)
    assert np.array_equal(
        initial_head(job.network, job.task, splits, BATCHING, probe_cache=cache).weight, first_probe.weight
    )
    assert not path.exists()


def test_the_memory_cache_is_bounded(loop_job, monkeypatch):
    monkeypatch.setattr(probe_cache, "_PROBES", OrderedDict())
    monkeypatch.setattr(probe_cache, "MAX_ENTRIES", 2)
    job = loop_job()
    for key in range(4):
        initial_head(job.network, job.task, (job.train, job.validation), BATCHING, probe_cache=ProbeCache(key))
    assert list(probe_cache._PROBES) == [2, 3]
