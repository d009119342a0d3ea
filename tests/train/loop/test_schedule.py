from itertools import pairwise

import pytest
import torch

from lft_ray.config import TrainingSpec
from lft_ray.config.methods import EarlyStoppingSpec
from lft_ray.train.loop.loop import train
from lft_ray.train.loop.schedule import Schedule, stops_early

KINDS = ["linear", "cosine", "warmup_stable_decay"]


def schedule(kind="linear", *, total=100, epochs=1, warmup=0.1):
    training = TrainingSpec(schedule=kind, warmup=warmup)
    return Schedule.of(training, rows=32 * total // epochs, batch_size=32, epochs=epochs)


def factors(one):
    return [one.factor(step) for step in range(one.total)]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_rate_rises_then_falls_to_zero(kind):
    found = factors(schedule(kind))
    assert found[0] == pytest.approx(1 / 11)
    assert max(found) == found[10] == 1.0
    assert 0 < found[-1] <= 1 / 90 + 1e-12
    assert all(a < b for a, b in pairwise(found[:11]))
    assert all(a > b for a, b in pairwise(found[10:]))


def test_cosine_is_above_the_line_first_and_below_it_later():
    line, cosine = factors(schedule("linear")), factors(schedule("cosine"))
    assert cosine[30] > line[30]
    assert cosine[80] < line[80]
    assert cosine[55] == pytest.approx(line[55])


def test_stable_rate_falls_over_the_last_fifth():
    found = factors(schedule("warmup_stable_decay"))
    assert found[10:81] == [1.0] * 71
    assert all(a > b for a, b in pairwise(found[80:]))
    assert found[-1] == pytest.approx(1 / 20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_short_schedules_have_a_rate(kind, total, warmup):
    assert all(0 < factor <= 1 for factor in factors(schedule(kind, total=total, warmup=warmup)))


def test_a_ragged_last_step_counts_as_a_step():
    one = Schedule.of(TrainingSpec(), rows=65, batch_size=32, epochs=2)
    assert (one.per_epoch, one.total) == (3, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_decay_factor_equals_adamw(kind):
    one = schedule(kind, total=20)
    weight = torch.nn.Parameter(torch.ones(()))
    weight.grad = torch.zeros(())
    optimizer = torch.optim.AdamW([weight], lr=0.0, weight_decay=0.3)
    for step in range(one.total):
        optimizer.param_groups[0]["lr"] = 0.05 * one.factor(step)
        optimizer.step()
    assert float(weight.detach()) == pytest.approx(one.decay_factor(0.05, 0.3), rel=1e-6)
    assert float(weight.detach()) < 0.95


def test_a_long_stable_run_begins_as_a_short_one(loop_job):
    def losses(epochs):
        job = loop_job(
            training={"schedule": "warmup_stable_decay", "evaluations": 5 * epochs}, config={"epochs": epochs}
        )
        curve = train(job, lambda _: None, lambda: False).curve
        return {point.step: point.loss for point in curve}

    short, long = losses(1), losses(3)
    falling = round(max(short) * 0.8)
    shared = [step for step in short if step <= falling]
    assert len(shared) >= 3
    assert [short[step] for step in shared] == [long[step] for step in shared]
    assert short[max(short)] != long[max(short)]


@pytest.mark.parametrize(
    ("scores", "patience", "min_delta", "expected"),
    [
        ([], 1, 0.0, False),
        ([0.5], 1, 0.0, False),
        ([0.5, 0.5], 1, 0.0, True),
        ([0.5, 0.5], 2, 0.0, False),
        ([0.5, 0.4, 0.6], 2, 0.0, False),
        ([0.5, 0.4, 0.6, 0.6, 0.59], 2, 0.0, True),
        ([0.5, 0.51, 0.52], 2, 0.03, True),
        # Small gains add up: a score is compared with the best score that counted as an improvement.
        ([0.5, 0.51, 0.54], 2, 0.03, False),
        ([0.0, 0.0], 1, 0.0, True),
    ],
)
def test_stops_early_after_patience_passes_without_improvement(scores, patience, min_delta, expected):
    assert stops_early(scores, EarlyStoppingSpec(patience=patience, min_delta=min_delta)) is expected
    assert not stops_early(scores, None)
