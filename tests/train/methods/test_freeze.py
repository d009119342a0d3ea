"""Training above frozen layers, from activations that were computed once."""

import numpy as np
import pytest
import torch

from lft_ray.errors import ConfigError
from lft_ray.records import TrialStatus
from lft_ray.train.device.precision import native_bf16
from lft_ray.train.loop import activations
from lft_ray.train.loop.activations import ActivationStore
from lft_ray.train.loop.evaluate import Batching, extract_features, predict
from lft_ray.train.methods.freeze import freeze, train_frozen, train_linear_probe
from lft_ray.train.trial import run_trial
from tests.train.conftest import fresh_network

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)


def ignore(_):
    return None


def never():
    return False


@pytest.fixture
def store(tmp_path) -> ActivationStore:
    return ActivationStore(tmp_path / "activations", "key", 10**9)


def freeze_job(loop_job, **changes):
    return loop_job(config={"method": "freeze", "frozen_layers": 1} | changes.pop("config", {}), **changes)


def files(store) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*.arrow"))


def test_cached_activations_do_not_change_the_result(loop_job, store):
    """With and without cached activations: the same curve and the same weights."""
    alone, cached = freeze_job(loop_job), freeze_job(loop_job, activations=store)
    before = {name: value.clone() for name, value in alone.network.state_dict().items()}
    expected, result = train_frozen(alone, ignore, never), train_frozen(cached, ignore, never)
    assert len(files(store)) == 2
    assert [p.f1 for p in result.curve] == [p.f1 for p in expected.curve]
    assert [p.loss for p in result.curve] == pytest.approx([p.loss for p in expected.curve], rel=1e-4)
    np.testing.assert_allclose(result.logits, expected.logits, atol=1e-3)
    for name, value in cached.network.state_dict().items():
        # The bias of the keys has no effect: its gradient is rounding noise, which AdamW scales to full steps.
        if not name.endswith("qkv.bias"):
            torch.testing.assert_close(value, alone.network.state_dict()[name], rtol=1e-3, atol=1e-4)
        is_frozen = name.startswith(("backbone.layers.0.", "backbone.tokens", "backbone.positions", "backbone.norm"))
        if is_frozen:
            assert torch.equal(value, before[name]), name
    assert not torch.equal(
        cached.network.state_dict()["backbone.layers.1.up.weight"], before["backbone.layers.1.up.weight"]
    )


def test_a_second_trial_maps_what_the_first_computed(loop_job, store, monkeypatch):
    train_frozen(freeze_job(loop_job, activations=store), ignore, never)
    monkeypatch.setattr(activations, "_write_states", None)
    # Another learning rate and a shallower network of the same base: the first layer is the same.
    again = train_frozen(freeze_job(loop_job, activations=store, config={"learning_rate": 3e-3}), ignore, never)
    assert again.status is TrialStatus.DONE
    with pytest.raises(TypeError):
        train_frozen(freeze_job(loop_job, activations=store, config={"max_length": 16}), ignore, never)


def test_the_last_pass_is_at_the_serving_precision(loop_job, store):
    job = freeze_job(loop_job, activations=store, final_precision="bf16")
    result = train_frozen(job, ignore, never)
    np.testing.assert_array_equal(result.logits, predict(job.network, job.validation, BATCHING, "bf16"))


@pytest.mark.skipif(not native_bf16("cpu"), reason="this processor computes no bf16")
@pytest.mark.parametrize("run", [train_frozen, train_linear_probe])
def test_a_bf16_trial_is_scored_as_it_is_served(loop_job, store, run):
    job = freeze_job(loop_job, activations=store, dtype="bf16")
    result = run(job, ignore, never)
    np.testing.assert_allclose(result.logits, predict(job.network, job.validation, BATCHING), atol=1e-5)


def test_activations_above_the_limit_are_recomputed_in_every_pass(loop_job, tmp_path, caplog):
    job = loop_job()
    small = ActivationStore(tmp_path / "small", "key", 1000)
    assert small.token_states(job.network.backbone, 1, (job.train, job.validation), BATCHING) is None
    assert "training.activation_cache_gb" in caplog.text
    result = train_frozen(freeze_job(loop_job, activations=small), ignore, never)
    assert result.status is TrialStatus.DONE
    assert not small.folder.exists()


def test_linear_probe_trains_only_the_head(loop_job, store):
    job = loop_job(config={"method": "linear_probe"}, activations=store, training={"head_init": "random"})
    before = {name: value.clone() for name, value in job.network.state_dict().items()}
    result = train_linear_probe(job, ignore, never)
    changed = {name for name, value in job.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    losses = [point.train_loss for point in result.curve]
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose(result.logits, predict(job.network, job.validation, BATCHING), atol=1e-5)
    features = store.features(job.network, 2, job.train, "train", BATCHING)
    np.testing.assert_allclose(features, extract_features(job.network, job.train, BATCHING), atol=1e-5)


def test_freezing_all_layers_is_refused(tiny_bert):
    with pytest.raises(ConfigError, match="frozen_layers is 2 for a network of 2 layers"):
        freeze(fresh_network(tiny_bert, 3), 2)


def test_frozen_trials_of_a_run_share_a_folder(trial_job, tmp_path):
    frozen_config = {"method": "freeze", "frozen_layers": 1, "epochs": 1}
    probed = {"method": "linear_probe", "epochs": 1}
    for number, config in enumerate([frozen_config, frozen_config | {"seed": 1}, probed]):
        assert run_trial(trial_job(trial_id=f"t{number}", config=config), ignore).status is TrialStatus.DONE
    assert len(list((tmp_path / "run" / "activations").glob("*.arrow"))) == 4


def test_a_checkpoint_of_the_upper_layers_is_not_resumed_by_the_whole_network(trial_job):
    """The first attempt caches activations, the second has no room for them and runs every layer."""
    config = {"method": "freeze", "frozen_layers": 1}

    def crash(point):
        if point["fraction"] > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(trial_job(config=config, training={"checkpoint_every_s": 0.0}), crash)
    nowhere = {"checkpoint_every_s": 0.0, "activation_cache_gb": 0.0}
    second = run_trial(trial_job(config=config, training=nowhere, attempt=2), ignore)
    uninterrupted = run_trial(trial_job(trial_id="other", config=config, training=nowhere), ignore)
    assert [(p.f1, p.loss) for p in second.curve] == [(p.f1, p.loss) for p in uninterrupted.curve]


def test_layers_of_transformers_are_frozen_too(tmp_path):
    from lft_ray.config import ModelSpec
    from lft_ray.errors import ModelError
    from lft_ray.models.network import build
    from lft_ray.models.resolve import find_base
    from lft_ray.models.sizes import model_sizes
    from tests.tiny_models import write_tiny_foreign

    def network_of(family):
        (tmp_path / family).mkdir()
        spec = ModelSpec(base=str(write_tiny_foreign(tmp_path / family, family)))
        return build(find_base(spec), model_sizes([spec])[0], 3)

    network = network_of("electra")
    freeze(network, 1)
    trained = {name for name, weights in network.backbone.named_parameters() if weights.requires_grad}
    assert trained
    assert all(name.startswith("model.encoder.layer.1.") for name in trained)
    with pytest.raises(ModelError, match="share weights"):
        freeze(network_of("albert"), 1)
