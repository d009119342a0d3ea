import pytest

from lft_ray.records import TrialConfig
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.interfaces import Queued, StudyPlan


def config(size: str) -> TrialConfig:
    return TrialConfig(model_size=size)


def test_the_remaining_queue_has_no_configuration_that_was_started_for_the_same_purpose():
    queue = (Queued(config("a")), Queued(config("b")), Queued(config("b"), confirms="t001"))
    plan = StudyPlan(queue=queue, trials=3, slots=1)
    started = StartedTrial(trial_id="t001", number=0, config=config("b"))
    assert plan.remaining_queue([]) == list(queue)
    assert plan.remaining_queue([started]) == [queue[0], queue[2]]
    assert plan.remaining_queue([started.replace(confirms="t001")]) == [queue[0], queue[1]]


def test_a_plan_with_a_rule_needs_known_costs():
    with pytest.raises(LookupError, match="no known_cost for a"):
        StudyPlan(queue=(), trials=1, slots=1).known_cost(config("a"))
