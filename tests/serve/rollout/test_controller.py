import pytest

from lft_ray.config import RolloutSpec
from lft_ray.errors import UnreachableError
from lft_ray.serve.rollout.controller import RolloutController
from lft_ray.serve.rollout.state import version_of
from tests.serve.fleet import Fleet

RULES = RolloutSpec()
CANARY = RolloutSpec(canary_share=0.3, canary_minutes=10)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def fleet():
    made = Fleet(2)
    yield made
    made.loop.run_until_complete(made.loop.shutdown_default_executor())
    made.loop.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def controller(fleet, clock):
    made = RolloutController(fleet.apply, fleet.survey, clock=clock)
    assert version_of(made.begin("good:1")) == "1"
    return made


def versions(fleet, count=20):
    return {version for version, _ in fleet.ask(count)}


# ---------------------------------------------------------------- promotion and rollback


def test_a_good_bundle_is_tried_beside_the_old_one_and_then_takes_its_place(fleet, controller):
    result = controller.promote("good:2", RULES)
    assert (result.kind, result.version) == ("promoted", "2")
    assert [(d.current, d.candidate) for d in fleet.applied] == [
        ("good:1", None),
        ("good:1", "good:2"),
        ("good:2", None),
    ]
    assert fleet.applied[-1].previous == "good:1"
    assert versions(fleet) == {"2"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("damaged:2", "is damaged"),
        ("nan:2", "not finite"),
        ("swapped:2", "another label"),
        ("foreign:2", "sport missing and weather added"),
        ("slow:2", "too slow: p95 3"),
    ],
)
def test_a_bad_bundle_answers_nobody_also_when_a_replica_is_killed_meanwhile(fleet, controller, bad, reason):
    seen = []

    def kill_one(desired):
        if desired.candidate == bad:
            fleet.replace("r0")
            seen.extend(versions(fleet))

    fleet.before_apply = kill_one
    result = controller.promote(bad, RULES)
    assert result.kind == "rejected"
    assert reason in result.reason
    assert set(seen) | versions(fleet) == {"1"}
    assert {s.status.state for s in fleet.services.values()} == {"ready"}
    fleet.replace("r1")
    assert versions(fleet) == {"1"}
    assert controller.promote("good:3", RULES).kind == "promoted"


def test_what_was_asked_lately_tells_a_wrong_mapping_that_the_samples_do_not(fleet, controller):
    fleet.ask(80)
    assert "of the 40 latest texts" in controller.promote("drifts:2", RULES).reason
    assert versions(fleet) == {"1"}


def test_how_slow_a_bundle_may_be_is_the_users_to_say(fleet, controller):
    assert controller.promote("slow:2", RolloutSpec(max_slowdown=None)).kind == "promoted"
    assert controller.promote("slow:3", RULES).kind == "promoted"  # as slow as the one that runs


def test_it_goes_back_and_forth_without_comparing(fleet, controller):
    controller.promote("slow:2", RolloutSpec(max_slowdown=None))
    for version in ("1", "2", "1"):
        assert controller.rollback().version == version
        assert versions(fleet, 4) == {version}


def test_the_first_bundle_has_none_before_it(controller):
    result = controller.rollback()
    assert (result.kind, result.reason) == ("rejected", "there is no earlier bundle to go back to")


def test_replicas_that_do_not_decide_keep_the_old_bundle(fleet, controller):
    def time_out(desired):
        if desired.candidate:
            raise UnreachableError("the replicas were not ready")

    fleet.before_apply = time_out
    assert controller.promote("good:2", RULES).reason == "the replicas were not ready"
    assert versions(fleet) == {"1"}
    assert controller.desired.current == "good:1"


def test_a_bundle_that_only_fails_when_it_is_alone_is_taken_back(fleet, controller):
    def damage(desired):
        if desired.current == "good:2":
            raise UnreachableError("a replica died of it")

    fleet.before_apply = damage
    assert controller.promote("good:2", RULES).kind == "rejected"
    assert fleet.applied[-1].current == "good:1"
    assert versions(fleet) == {"1"}


# ---------------------------------------------------------------- canary


def test_a_canary_answers_its_share_and_takes_over_when_its_time_is_up(fleet, controller, clock):
    result = controller.promote("good:2", CANARY)
    assert (result.kind, result.canary.version, result.canary.share) == ("canary", "2", 0.3)
    answers = fleet.ask(1000)
    assert 0.25 < sum(version == "2" for version, _ in answers) / 1000 < 0.35
    waiting = controller.look()
    assert (waiting.kind, waiting.canary.running) == ("canary", True)
    assert waiting.canary.requests + waiting.canary.current_requests == 1000
    assert fleet.services["r0"].info.canary.version == "2"
    clock.now_s = 601.0
    done = controller.look()
    assert (done.kind, done.version, done.canary.running, done.canary.note) == (
        "promoted",
        "2",
        False,
        "promoted",
    )
    assert versions(fleet) == {"2"}
    assert controller.look() is None
    assert fleet.services["r0"].info.canary is None


def test_a_canary_without_traffic_is_not_promoted_by_the_clock(fleet, controller, clock):
    controller.promote("good:2", CANARY)
    fleet.ask(100)
    clock.now_s = 601.0
    waiting = controller.look()
    assert waiting.kind == "canary"
    assert "of 100 requests" in waiting.canary.note
    fleet.ask(400)
    assert controller.look().kind == "promoted"


def test_a_canary_that_fails_is_rolled_back_and_no_client_notices(fleet, controller):
    controller.promote("fails:2", CANARY)
    answers = fleet.ask(600)
    assert [label for _, label in answers] == ["business", "science", "science"] * 200
    result = controller.look()
    assert result.kind == "rejected"
    assert "failed, of the running model 0 of" in result.reason
    assert (result.canary.running, result.canary.note) == (False, result.reason)
    assert versions(fleet) == {"1"}


def test_a_canary_whose_labels_drift_is_rolled_back(fleet, controller):
    # No text was asked before it was opened, and its sample texts it answers well often enough.
    controller.promote("drifts:2", CANARY)
    fleet.ask(1000)
    result = controller.look()
    assert result.kind == "rejected"
    assert "serve.rollout.max_drift" in result.reason
    assert result.canary.drift > 0.1


def test_a_replica_that_dies_keeps_what_it_had_counted_and_the_next_one_takes_part(fleet, controller):
    controller.promote("good:2", CANARY)
    fleet.ask(200)
    assert controller.look().canary.requests > 0
    fleet.replace("r0")
    assert versions(fleet, 200) == {"1", "2"}
    canary = controller.look().canary
    assert canary.requests + canary.current_requests == 400


def test_a_rollback_ends_the_canary_not_the_running_bundle(fleet, controller):
    controller.promote("good:2", RULES)
    controller.promote("good:3", CANARY)
    result = controller.rollback()
    assert (result.kind, result.reason) == ("rejected", "it was rolled back by hand")
    assert versions(fleet) == {"2"}
    assert controller.desired.previous == "good:1"


def test_a_new_bundle_ends_the_canary_before_it(fleet, controller):
    controller.promote("good:2", CANARY)
    assert controller.promote("good:3", RULES).kind == "promoted"
    assert versions(fleet) == {"3"}
    assert controller.desired.previous == "good:1"
