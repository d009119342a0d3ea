import pytest

from benchmarks.replaying.clock import Started, replay
from lft_ray.records import TrialConfig
from tests.benchmarks.tables import USD_PER_S, table


class Script:
    """Runs the given configurations in order; stops some at a step."""

    def __init__(self, configs, stop_at=None, hold=()):
        self.configs = configs
        self.stop_at = stop_at or {}
        self.suggestion_s = []
        self.heard = []
        self.closed = False
        self.count = 0
        self.live = 0
        self.hold = set(hold)
        """Trials that start only when nothing else runs."""

    def next(self):
        if self.count == len(self.configs):
            return "finished"
        if self.count in self.hold and self.live:
            return "wait"
        self.count += 1
        self.live += 1
        return Started(f"t{self.count - 1:03d}", self.configs[self.count - 1])

    def point(self, trial_id, point):
        self.heard.append((trial_id, point.step))
        return "enough" if self.stop_at.get(trial_id) == point.step else ""

    def end(self, trial_id, curve, *, points, reason):
        self.live -= 1
        self.heard.append((trial_id, "stopped" if reason else "done", points))

    def close(self):
        self.closed = True


def config(size="minilm:1", epochs=1, rate=3e-4):
    return TrialConfig(model_size=size, learning_rate=rate, batch_size=32, epochs=epochs, max_length=64)


LONG, SHORT = config("minilm:2", 3), config("minilm:1", 1)  # 60 s and 10 s
LINEAR = TrialConfig(model_size="tfidf", max_length=64)  # 1 s


def test_trials_run_side_by_side_and_end_when_their_seconds_are_over():
    method = Script([LINEAR, LONG, SHORT, SHORT.model_copy(update={"epochs": 3})])
    history = replay(table(), method, seed=0, budget_usd=100.0, workers=2)
    assert [(e.trial_id, round(e.at_s, 6)) for e in history.ended] == [
        ("t000", 1.0),
        ("t002", 11.0),
        ("t003", 41.0),
        ("t001", 60.0),
    ]
    assert method.closed
    # t002's first point, at 1 + 10/3 s, comes before t001's, at 20 s.
    assert method.heard[:3] == [("t000", 0), ("t000", "done", 1), ("t002", 0)]


def test_what_was_spent_counts_running_trials_up_to_now():
    history = replay(table(), Script([SHORT, LONG]), seed=0, budget_usd=100.0, workers=2)
    first, second = history.ended
    assert first.usd == pytest.approx(10 * USD_PER_S)
    assert first.spent_usd == pytest.approx(20 * USD_PER_S)
    assert second.spent_usd == pytest.approx(70 * USD_PER_S)


def test_a_stopped_trial_is_charged_to_its_last_point_and_leaves_no_model():
    method = Script([LONG, SHORT], stop_at={"t000": 1})
    history = replay(table(), method, seed=0, budget_usd=100.0, workers=1)
    stopped, done = history.ended
    assert stopped.usd == pytest.approx(40 * USD_PER_S)
    assert (stopped.is_done, stopped.reason) == (False, "enough")
    assert stopped.f1 == pytest.approx(0.80)
    assert stopped.full_f1 == pytest.approx(0.90)
    assert done.at_s == pytest.approx(50.0)
    assert ("t000", "stopped", 2) in method.heard


def test_a_stop_at_the_last_point_is_an_end():
    history = replay(table(), Script([SHORT], stop_at={"t000": 2}), seed=0, budget_usd=100.0)
    assert history.ended[0].is_done
    assert not history.ended[0].reason


def test_nothing_is_seen_after_the_dollars_are_spent():
    history = replay(table(), Script([SHORT] * 10), seed=0, budget_usd=35 * USD_PER_S, workers=1)
    assert len(history.ended) == 3


def test_a_free_worker_waits_for_an_end():
    history = replay(table(), Script([SHORT, SHORT], hold=[1]), seed=0, budget_usd=100.0, workers=2)
    assert [round(e.at_s) for e in history.ended] == [10, 20]


def test_visits_of_one_configuration_draw_each_seed_once():
    history = replay(table(), Script([SHORT] * 6), seed=3, budget_usd=100.0, workers=1)
    seeds = [end.seed for end in history.ended]
    assert sorted(seeds[:3]) == [0, 1, 2]
    assert seeds[:3] == seeds[3:]


def test_a_rate_between_recorded_ones_is_flagged():
    history = replay(table(), Script([SHORT, config(rate=2e-4)]), seed=0, budget_usd=100.0)
    assert [end.interpolated for end in sorted(history.ended, key=lambda e: e.trial_id)] == [False, True]
