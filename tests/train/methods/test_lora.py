"""Low-rank factors: which layers receive them, and the network after the merge."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from lft_ray.config import ModelSpec
from lft_ray.config.methods import LoraSpec
from lft_ray.errors import ConfigError
from lft_ray.models.network import build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.records import TrialStatus
from lft_ray.train.loop.evaluate import Batching, predict
from lft_ray.train.methods.lora import add_factors, merge, targets, train_lora
from lft_ray.train.trial import run_trial
from tests.tiny_models import write_tiny_foreign
from tests.train.conftest import fresh_network

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)
CONFIG = {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0}


def test_a_merged_network_predicts_like_its_factors(loop_job):
    job = loop_job()
    network, names = job.network, list(job.network.state_dict())
    plain = predict(network, job.validation, BATCHING)
    add_factors(network, 4, 8.0, None, seed=0)
    np.testing.assert_array_equal(predict(network, job.validation, BATCHING), plain)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if "lora_B" in name:
                weights.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(1))
    changed = predict(network, job.validation, BATCHING)
    assert np.abs(changed - plain).max() > 0.01
    merge(network)
    assert list(network.state_dict()) == names
    np.testing.assert_allclose(predict(network, job.validation, BATCHING), changed, atol=1e-5)


def test_factors_follow_the_seed_and_leave_the_random_state_alone(tiny_bert):
    def factors(seed):
        network = fresh_network(tiny_bert, 3)
        add_factors(network, 2, 4.0, ["qkv"], seed=seed)
        return {name: value for name, value in network.named_parameters() if "lora_A" in name}

    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = factors(0), factors(0), factors(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert one
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_only_the_named_matrices_get_factors(tiny_bert):
    backbone = fresh_network(tiny_bert, 3).backbone
    assert targets(backbone, ["qkv", "down"]) == [f"layers.{i}.{n}" for i in (0, 1) for n in ("attention.qkv", "down")]
    assert len(targets(backbone, None)) == 8
    with pytest.raises(ConfigError, match=r"'query' is not a linear layer of Transformer: expected some of qkv, out"):
        targets(backbone, ["qkv", "query"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_last_pass_is_the_merged_network(loop_job, precision):
    job = loop_job(config=CONFIG, final_precision=precision)
    result = train_lora(job, lambda _: None, lambda: False)
    assert result.status is TrialStatus.DONE
    np.testing.assert_allclose(result.logits, predict(job.network, job.validation, BATCHING, precision), atol=1e-5)


def test_a_stopped_run_leaves_plain_modules(loop_job):
    job = loop_job(config=CONFIG)
    names = list(job.network.state_dict())
    assert train_lora(job, lambda _: None, lambda: True).status is TrialStatus.STOPPED
    assert list(job.network.state_dict()) == names


def test_networks_of_transformers_get_factors(tmp_path):
    spec = ModelSpec(base=str(write_tiny_foreign(tmp_path, "electra")))
    network = build(find_base(spec), model_sizes([spec])[0], 3)
    assert targets(network.backbone, ["query"]) == [f"model.encoder.layer.{i}.attention.self.query" for i in (0, 1)]
    add_factors(network, 2, 4.0, None, seed=0)
    assert all("lora_" in name for name, w in network.backbone.named_parameters() if w.requires_grad)
    merge(network)


def test_an_unknown_module_name_fails_the_trial_with_its_key(trial_job):
    result = run_trial(trial_job(training={"lora": LoraSpec(target_modules=["query"])}, config=CONFIG), lambda _: None)
    assert result.status is TrialStatus.FAILED
    assert "training.lora.target_modules" in result.reason


def test_peft_is_imported_by_lora_trials_only():
    code = "import lft_ray.train.network, sys; print({'peft', 'transformers', 'accelerate'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
