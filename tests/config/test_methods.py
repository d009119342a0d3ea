"""Parameters that only some methods have: in the file, in the space, for every sampler, in the forecast."""

import random

import pytest

from lft_ray.config import Experiment, TrainingSpec
from lft_ray.cost.forecast import mean_tokens
from lft_ray.errors import ConfigError
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus
from lft_ray.search.samplers.proposer import Proposer
from lft_ray.search.space import build_space, start_table
from tests import handed_down
from tests.plan.conftest import dataset, experiment  # noqa: F401 - fixtures
from tests.plan.test_estimate import changed, plan
from tests.search.samplers.test_proposer import cost, observed
from tests.search.trivial import SIZES

FILE = {
    "method": ["full", "freeze", "lora", "linear_probe"],
    "frozen_layers": {"values": [1, 3], "when": {"method": ["freeze"]}},
    "lora": {"rank": {"values": [4, 8], "when": {"method": ["lora"]}}, "alpha": [8, 16]},
    "layer_decay": {"low": 0.7, "high": 1.0, "when": {"method": ["full"]}},
    "batch_size": 16,
    "epochs": 1,
}
FINITE = FILE | {"learning_rate": [1e-4, 3e-4], "layer_decay": [0.8, 1.0]}
OWN = {
    "full": {"layer_decay"}, "freeze": {"frozen_layers", "layer_decay"},
    "lora": {"lora_rank", "lora_alpha", "layer_decay"}, "linear_probe": set(),
}  # fmt: skip
FIELDS = {"frozen_layers", "lora_rank", "lora_alpha", "layer_decay"}


def has(config: TrialConfig) -> set[str]:
    return {name for name in FIELDS if getattr(config, name) is not None}


def test_a_configuration_has_what_its_method_has():
    space = build_space(SIZES, TrainingSpec.model_validate(FINITE))
    every = space.all()
    assert {config.method for config in every} == set(OWN)
    assert all(has(config) == OWN[config.method] for config in every)
    narrowed = build_space(SIZES, TrainingSpec.model_validate(FILE))
    draws = [narrowed.draw(random.Random(i)) for i in range(200)]
    assert all(has(c) == OWN[c.method] - ({"layer_decay"} if c.method != "full" else set()) for c in draws)


def test_no_two_configurations_differ_in_what_has_no_effect():
    space = build_space(SIZES, TrainingSpec.model_validate(FINITE))
    every = space.all()
    assert len(every) == len(set(every)) == space.count
    # Per size and rate: full 2; lora 2 x 2 x 2; head 1; frozen 2 for each number of layers below the size's.
    assert space.count == 2 * sum(2 + 8 + 1 + 2 * sum(k < layers for k in (1, 3)) for layers in (1, 2, 4, 6))
    for config in every:
        assert space.decode(space.encode(config)) == config
        assert space.decode(space.encode(config, fills=False)) == config
        assert set(space.encode(config)) == set(space.distributions())
        assert not (FIELDS - OWN[config.method]) & set(space.encode(config, fills=False))


def test_frozen_layers_stay_below_the_sizes_own():
    space = build_space(SIZES, TrainingSpec.model_validate(FINITE))
    clipped = space.config({"model_size": "tiny:2", "method": "freeze", "frozen_layers": 3})
    assert (clipped.method, clipped.frozen_layers) == ("freeze", 1)
    kept = space.config({"model_size": "tiny:4", "method": "freeze", "frozen_layers": 3})
    assert kept.frozen_layers == 3
    impossible = space.config({"model_size": "tiny:1", "method": "freeze", "frozen_layers": 1})
    assert (impossible.method, impossible.frozen_layers) == ("full", None)


def test_without_a_method_the_head_alone_is_tried_too_and_the_start_trials_train_in_full():
    assert TrainingSpec().method == ["full", "linear_probe"]
    assert {config.method for config in start_table(SIZES, TrainingSpec())} == {"full"}


def test_with_one_method_the_space_has_no_dimension_for_it():
    space = build_space(SIZES, TrainingSpec(method=["full"]), seed=7)
    assert [d.field for d in space.dimensions] == ["model_size", "learning_rate", "batch_size", "epochs"]
    assert space.constants == {"max_length": 128, "seed": 7, "method": "full"}
    assert not any(map(has, start_table(SIZES, TrainingSpec())))


def test_start_trials_train_in_full_or_as_the_file_says():
    table = start_table(SIZES, TrainingSpec.model_validate(FILE))
    assert {(c.method, c.frozen_layers) for c in table} == {("full", None)}
    changed_file = FILE | {"method": ["lora", "linear_probe"], "layer_decay": 1.0}
    only = start_table(SIZES, TrainingSpec.model_validate(changed_file))[1:]
    assert {(c.method, c.lora_rank, c.lora_alpha, c.learning_rate) for c in only} == {("lora", 4, 8.0, 1e-3)}


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "known_cost"])
def test_every_sampler_ends_the_space_and_proposes_nothing_twice(sampler):
    training = FINITE | {"learning_rate": 1e-4, "lora": {"rank": [4, 8]}, "layer_decay": 1.0}
    space = build_space(SIZES[:3], TrainingSpec.model_validate(training))
    proposer = Proposer(space, sampler, 0, cost)
    # All but two are observed: a model that is sure of one of them must still come to those two, and then to an end.
    records = [observed(config, i) for i, config in enumerate(space.all()[:-2])]
    while (config := proposer.propose(len(records), records, [])) is not None:
        assert has(config) == OWN[config.method] - {"layer_decay"}
        records.append(observed(config, len(records)))
    assert len(records) == space.count == len({r.config for r in records})


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"method": ["freeze"], "frozen_layers": {"values": [1], "when": {"method": ["full"]}}}, "full has no frozen"),
        ({"lora": {"rank": {"values": [4, 2.5]}}}, "training.lora.rank: 2.5 is not a whole number"),
        ({"layer_decay": 1.5}, "factor of 1.5 is above 1"),
        ({"layer_decay": {"low": 0.5, "high": 2.0}}, "factor of 2.0 is above 1"),
        ({"frozen_layers": [0]}, "training.frozen_layers"),
        ({"lora": {"rank": {"values": [4], "when": {"methd": ["lora"]}}}}, "unknown key training.lora.rank.when.methd"),
        ({"early_stopping": {"patience": 3}, "evaluations": 3}, "no trial could stop early"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(training, words):
    tree = {"name": "x", "data": {"train": "x.csv"}, "models": [{"base": "minilm"}], "training": training}
    with pytest.raises(ConfigError, match=words):
        Experiment.parse(tree)


def test_the_file_survives_writing_and_reading():
    tree = {"name": "x", "data": {"train": "x.csv"}, "models": [{"base": "minilm"}], "training": FILE}
    once = Experiment.model_validate(tree)
    assert Experiment.model_validate(once.model_dump(mode="json")) == once


def test_records_of_earlier_versions_are_read():
    old = TrialConfig(model_size="minilm:1", learning_rate=1e-4).model_dump(exclude=FIELDS)
    assert not has(TrialConfig.model_validate(old))


def config(method: str, size: str = "minilm:6", **changes) -> TrialConfig:
    return TrialConfig(model_size=size, method=method, epochs=2, batch_size=16, max_length=32, **changes)


def test_less_is_predicted_where_less_is_trained(experiment, dataset):  # noqa: F811
    workload = handed_down.workload(experiment, dataset)
    full = workload.flops(config("full"))
    one = workload.sizes["minilm:6"].flops_per_token
    train, validation = workload.train_tokens, workload.validation_tokens
    assert full == pytest.approx(one * (6 * train + 3 * validation))
    # Half of the layers, twice over train; two of three validation passes; and once all frozen layers over both.
    frozen = config("freeze", frozen_layers=3)
    above = one * (3 * train + (2 * 0.5 + 1) * validation)
    shared = one * 0.5 * (train + validation)
    assert workload.flops(frozen) == pytest.approx(above + shared)
    done = TrialRecord(trial_id="t0", attempt=1, config=frozen, status=TrialStatus.DONE)
    other = config("freeze", frozen_layers=3, learning_rate=1e-4)
    assert workload.flops(frozen, [done]) == pytest.approx(above + shared)
    assert workload.flops(other, [done]) == pytest.approx(above)
    assert workload.flops(other, [done], uncached=True) == pytest.approx(above + shared)
    assert workload.flops(config("freeze", frozen_layers=2), [done]) > workload.flops(other, [done])
    lora = workload.flops(config("lora", lora_rank=8, lora_alpha=16.0))
    assert 0.66 * full < lora < 0.75 * full
    assert workload.flops(config("linear_probe")) < 0.4 * full
    nowhere = handed_down.workload(changed(experiment, training={"activation_cache_gb": 0.0}), dataset)
    assert above + shared < nowhere.flops(frozen) < full


def test_the_worst_case_bounds_every_method(experiment, dataset):  # noqa: F811
    methods = {"method": ["freeze", "lora", "linear_probe"], "frozen_layers": [1, 5], "lora": {"rank": [4, 64]}}
    tree = changed(experiment, models=[{"base": "minilm", "layers": [2, 6]}], training=methods)
    workload = handed_down.workload(tree, dataset)
    admission = handed_down.admission(tree, workload, started_s=0.0)
    space = build_space(sorted(workload.sizes.values(), key=lambda size: size.params), tree.training)
    found = plan(tree, dataset)
    dearest = (found.worst_search_usd - sum(c.worst_usd for c in found.candidates)) / 6
    draws = [space.draw(random.Random(i)) for i in range(300)]
    assert {c.method for c in draws} == {"freeze", "lora", "linear_probe"}
    worst = max(admission.worst_usd(c) for c in draws)
    assert worst <= dearest * (1 + 1e-9)
    assert worst == pytest.approx(dearest, rel=0.05)
    assert mean_tokens(dataset, 32) > 0


def test_a_promise_holds_where_a_shared_pass_must_be_made_again(experiment, dataset):  # noqa: F811
    workload = handed_down.workload(experiment, dataset)
    first = config("freeze", frozen_layers=5)
    done = TrialRecord(trial_id="t0", attempt=1, config=first, status=TrialStatus.DONE)
    after = handed_down.admission(experiment, workload, started_s=0.0, ran=lambda: [done])
    alone = handed_down.admission(experiment, workload, started_s=0.0)
    other = config("freeze", frozen_layers=5, learning_rate=1e-4)
    assert after.expected_usd(other) < alone.expected_usd(other)
    assert after.worst_usd(other) == alone.worst_usd(other)
