import math
import random
import statistics
import time

import optuna
import pytest

from lft_ray.config import TrainingSpec
from lft_ray.errors import ConfigError
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus, Variant
from lft_ray.search.proposer import Proposer, _seed
from lft_ray.search.space import SearchSpace, build_space, start_table
from tests.search.trivial import COSTS, SIZES, known_f1

TRAINING = TrainingSpec(batch_size=[16, 32])
SPACE = build_space(SIZES, TRAINING)


def cost(config: TrialConfig) -> float:
    return COSTS[config.model_size]


def told(config: TrialConfig, number: int, status: str = "done", f1: float | None = None) -> TrialRecord:
    f1 = known_f1(config) if f1 is None else f1
    variant = Variant(precision="fp32", max_length=128, f1=f1, usd_per_million_predictions=cost(config))
    return TrialRecord(
        trial_id=f"t{number:03d}",
        attempt=1,
        config=config,
        status=status,
        variants=[variant] if status == "done" else [],
    )


def history(count: int, space: SearchSpace = SPACE) -> list[TrialRecord]:
    rng = random.Random(1)
    return [told(space.draw(rng), i) for i in range(count)]


def run(sampler: str, count: int, seed: int = 0) -> list[TrialRecord]:
    proposer = Proposer(SPACE, sampler, seed, cost)
    records = [told(c, i) for i, c in enumerate(start_table(SIZES, TRAINING))]
    while len(records) < count:
        records.append(told(proposer.propose(len(records), records, []), len(records)))
    return records


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "lft_ray.search.samplers:tpe"])
def test_equal_arguments_give_equal_proposals(sampler):
    records, pending = history(12), [SPACE.draw(random.Random(5))]
    first = Proposer(SPACE, sampler, 3, cost).propose(12, records, pending)
    random.seed(99)
    assert Proposer(SPACE, sampler, 3, cost).propose(12, records, pending) == first
    if sampler != "gp":  # a sure model proposes its optimum whatever the seed
        assert Proposer(SPACE, sampler, 4, cost).propose(12, records, pending) != first
        assert Proposer(SPACE, sampler, 3, cost).propose(13, records, pending) != first
    assert SPACE.encode(first) is not None


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_model_of_the_past_beats_none(sampler):
    def late(name: str, seed: int) -> list[float]:
        return [known_f1(r.config) for r in run(name, 18, seed)[10:]]

    # The rate matters most, and the samplers find it: their later trials score higher than uniform draws do.
    uniform = statistics.mean(statistics.mean(late("random", seed)) for seed in range(5))
    assert statistics.mean(late(sampler, 0)) > uniform + 0.005


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_nothing_is_proposed_twice_and_a_finite_space_ends(sampler):
    training = TrainingSpec(learning_rate=[1e-4, 3e-4], batch_size=16, epochs=[1, 2])
    space = build_space(SIZES, training)
    proposer = Proposer(space, sampler, 0, cost)
    records: list[TrialRecord] = []
    while (config := proposer.propose(len(records), records, [])) is not None:
        records.append(told(config, len(records)))
    assert len(records) == space.count == len({r.config for r in records})


def test_a_pending_configuration_is_not_proposed():
    training = TrainingSpec(learning_rate=1e-4, batch_size=16, epochs=1)
    space = build_space(SIZES, training)
    *pending, last = space.all()
    assert Proposer(space, "tpe", 0, cost).propose(0, [], pending) == last
    assert Proposer(space, "tpe", 0, cost).propose(0, [], space.all()) is None


def test_a_seed_does_not_make_a_configuration_new():
    training = TrainingSpec(learning_rate=1e-4, batch_size=16, epochs=1)
    space = build_space(SIZES, training)
    reseeded = [told(c.model_copy(update={"seed": 9}), i) for i, c in enumerate(space.all())]
    assert Proposer(space, "random", 0, cost).propose(0, reseeded, []) is None


def test_proposals_fit():
    proposer = Proposer(SPACE, "gp", 0, cost)
    for n in range(2):
        config = proposer.propose(n, history(8), [], fits=lambda c: c.model_size == "tiny:1" and c.epochs == 1)
        assert (config.model_size, config.epochs) == ("tiny:1", 1)
    assert proposer.propose(9, history(8), [], fits=lambda c: False) is None


def study_of(
    proposer: Proposer, records: list[TrialRecord], pending: list[TrialConfig]
) -> list[optuna.trial.FrozenTrial]:
    return proposer._trials(records, pending, SPACE.distributions())


def test_what_each_end_is_told_as():
    configs = [SPACE.draw(random.Random(i)) for i in range(6)]
    records = [
        told(configs[0], 0, f1=0.9),
        told(configs[1], 1, f1=0.6),
        told(configs[2], 2, status="infeasible"),
        told(configs[3], 3, status="failed"),
        told(configs[4], 4, status="stopped"),
        told(TrialConfig(model_size="tfidf"), 5),
    ]
    trials = study_of(Proposer(SPACE, "tpe", 0, cost), records, [configs[5]])
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "RUNNING"]
    assert trials[0].values == pytest.approx([math.log10(cost(configs[0])), -1.0])
    # Diverged and failed: their own cost, the worst score that was finished.
    assert trials[2].values == pytest.approx([math.log10(cost(configs[2])), math.log10(0.4)])
    assert trials[3].values[1] == trials[1].values[1]


def test_stopped_trials_never_stand_on_the_front():
    """With Ray's own OptunaSearch a half-trained trial is told as complete, and is 'cheap'."""
    records = history(10)
    half_trained = [told(SPACE.draw(random.Random(i)), i, status="stopped") for i in range(50, 60)]
    study = optuna.create_study(directions=["minimize", "minimize"])
    for trial in study_of(Proposer(SPACE, "tpe", 0, cost), records + half_trained, []):
        study.add_trial(trial)
    finished = {tuple(sorted(SPACE.encode(r.config).items())) for r in records if r.status is TrialStatus.DONE}
    assert study.best_trials
    assert all(tuple(sorted(t.params.items())) in finished for t in study.best_trials)
    for sampler in ("gp", "tpe"):
        assert Proposer(SPACE, sampler, 0, cost).propose(20, records + half_trained, []) is not None


def test_all_failed_is_survived():
    records = [told(SPACE.draw(random.Random(i)), i, status="failed") for i in range(12)]
    for sampler in ("gp", "tpe"):
        assert Proposer(SPACE, sampler, 0, cost).propose(12, records, []) is not None


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_warming_up_leaves_no_trace(sampler):
    cold = Proposer(SPACE, sampler, 0, cost).propose(8, history(8), [])
    warm = Proposer(SPACE, sampler, 0, cost)
    warm.warm_up()
    assert warm.propose(8, history(8), []) == cold


def test_an_unknown_sampler_is_named():
    with pytest.raises(ConfigError, match=r"search\.sampler.*gp"):
        Proposer(SPACE, "bayes", 0, cost)


def test_only_tfidf_leaves_nothing_to_propose():
    space = build_space([s for s in SIZES if s.is_linear], TRAINING)
    assert Proposer(space, "gp", 0, cost).propose(1, [], []) is None


def test_a_proposal_takes_about_a_second():
    proposer = Proposer(SPACE, "gp", 0, cost)
    proposer.propose(20, history(20), [])
    began = time.perf_counter()
    proposer.propose(21, history(20), [SPACE.draw(random.Random(3))])
    # 0.6 s on two cores at rest; the bound leaves room for a busy machine.
    assert time.perf_counter() - began < 15


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_every_sampler_takes_methods(sampler):
    training = TrainingSpec(method=["full", "distil"], batch_size=32, epochs=2)
    space = build_space(SIZES, training)
    records = history(12, space)
    assert {r.config.method for r in records} == {"full", "distil"}
    proposer = Proposer(space, sampler, 0, cost)
    assert proposer.propose(12, records, []).method in {"full", "distil"}
    # One that may not be distilled is proposed as it is, but in full, rather than drawn anew.
    first = Proposer(space, sampler, 0, cost)._ask(_seed(0, 12, 0), records, [])
    in_full = proposer.propose(12, records, [], fits=lambda c: c.method == "full")
    assert in_full == first.model_copy(update={"method": "full"})


def test_another_teacher_makes_no_new_proposal():
    training = TrainingSpec(method=["full", "distil"], learning_rate=1e-4, batch_size=16, epochs=1)
    space = build_space(SIZES, training)
    by_others = [
        told(c.model_copy(update={"teacher": "t003"} if c.method == "distil" else {}), i)
        for i, c in enumerate(space.all())
    ]
    assert Proposer(space, "random", 0, cost).propose(0, by_others, []) is None
