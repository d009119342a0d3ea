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
    return {version for version, _ in fleet.predict(count)}


# ---------------------------------------------------------------- promotion and rollback


def test_promote_opens_a_good_bundle_beside_the_running_one_and_then_swaps(fleet, controller):
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
        ("swapped:2", "predicts otherwise"),
        ("foreign:2", "sport missing and weather added"),
        ("slow:2", "too slow: p95 "),
    ],
)
def test_a_bad_bundle_serves_no_request_even_if_a_replica_is_killed_meanwhile(fleet, controller, bad, reason):
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


def test_recent_texts_reveal_a_wrong_label_mapping_that_the_samples_do_not(fleet, controller):
    fleet.predict(80)
    assert "of the 40 latest distinct texts" in controller.promote("drifts:2", RULES).reason
    assert versions(fleet) == {"1"}


def test_max_slowdown_decides_how_slow_a_bundle_may_be(fleet, controller):
    assert controller.promote("slow:2", RolloutSpec(max_slowdown=None)).kind == "promoted"
    assert controller.promote("slow:3", RULES).kind == "promoted"  # as slow as the one that runs


def test_each_rollback_goes_one_bundle_further_back_and_never_forward(fleet, controller):
    controller.promote("slow:2", RolloutSpec(max_slowdown=None))
    controller.promote("good:3", RULES)
    for version in ("2", "1"):
        result = controller.rollback()
        assert (result.kind, result.version) == ("rolled_back", version)
        assert versions(fleet, 4) == {version}
    assert fleet.applied[-1].previous is None, "a starting replica must not fall back to what was rolled back"
    assert controller.rollback().kind == "rejected"
    assert versions(fleet, 4) == {"1"}


def test_after_a_rollback_the_next_promotion_keeps_the_way_back(fleet, controller):
    controller.promote("good:2", RULES)
    controller.rollback()
    controller.promote("good:3", RULES)
    assert [one.version for one in controller.history] == ["1"]
    assert controller.rollback().version == "1"


def test_the_history_is_bounded(controller):
    for version in range(2, 8):
        controller.promote(f"good:{version}", RULES)
    assert [one.version for one in controller.history] == ["4", "5", "6"]


def test_settings_are_applied_without_a_change_of_bundle_or_canary(fleet, controller):
    controller.promote("good:2", CANARY)
    fleet.predict(100)
    before = controller.desired
    assert controller.reapply().canary.running
    assert controller.desired == before.model_copy(update={"serial": before.serial + 1})
    fleet.predict(100)
    canary = controller.check_canary().canary
    assert canary.requests + canary.current_requests == 200


@pytest.mark.parametrize("hours", [-5, 0, 5])
def test_serials_count_up_whatever_the_clock_says(fleet, controller, monkeypatch, hours):
    serials = [controller.desired.serial]
    for version, step in enumerate((hours, -hours, hours), start=2):
        monkeypatch.setattr("time.time", lambda at=step: 1e9 + at * 3600.0)
        assert controller.promote(f"good:{version}", RULES).kind == "promoted"
        serials.append(controller.desired.serial)
    assert serials == sorted(set(serials))
    assert versions(fleet) == {"4"}


def test_rollback_of_the_first_bundle_is_rejected(controller):
    result = controller.rollback()
    assert (result.kind, result.reason) == ("rejected", "there is no earlier bundle to go back to")


def test_the_old_bundle_stays_if_the_replicas_do_not_decide(fleet, controller):
    def time_out(desired):
        if desired.candidate:
            raise UnreachableError("the replicas were not ready")

    fleet.before_apply = time_out
    assert controller.promote("good:2", RULES).reason == "the replicas were not ready"
    assert versions(fleet) == {"1"}
    assert controller.desired.current == "good:1"


def test_a_bundle_that_fails_only_after_the_swap_is_rolled_back(fleet, controller):
    def damage(desired):
        if desired.current == "good:2":
            raise UnreachableError("a replica died")

    fleet.before_apply = damage
    assert controller.promote("good:2", RULES).kind == "rejected"
    assert fleet.applied[-1].current == "good:1"
    assert versions(fleet) == {"1"}


# ---------------------------------------------------------------- canary


def test_a_canary_serves_its_share_and_is_promoted_at_the_end_of_its_time(fleet, controller, clock):
    result = controller.promote("good:2", CANARY)
    assert (result.kind, result.canary.version, result.canary.share) == ("canary", "2", 0.3)
    results = fleet.predict(1000)
    assert 0.25 < sum(version == "2" for version, _ in results) / 1000 < 0.35
    waiting = controller.check_canary()
    assert (waiting.kind, waiting.canary.running) == ("canary", True)
    assert waiting.canary.requests + waiting.canary.current_requests == 1000
    assert fleet.services["r0"].info.canary.version == "2"
    clock.now_s = 601.0
    done = controller.check_canary()
    assert (done.kind, done.version, done.canary.running, done.canary.note) == (
        "promoted",
        "2",
        False,
        "promoted",
    )
    assert versions(fleet) == {"2"}
    assert controller.check_canary() is None
    assert fleet.services["r0"].info.canary is None


def test_a_canary_without_enough_traffic_is_not_promoted_at_the_end_of_its_time(fleet, controller, clock):
    controller.promote("good:2", CANARY)
    fleet.predict(100)
    clock.now_s = 601.0
    waiting = controller.check_canary()
    assert waiting.kind == "canary"
    assert "of 100 requests" in waiting.canary.note
    fleet.predict(400)
    assert controller.check_canary().kind == "promoted"


def test_a_failing_canary_is_rolled_back_without_a_failed_request(fleet, controller):
    controller.promote("fails:2", CANARY)
    results = fleet.predict(600)
    assert [label for _, label in results] == ["business", "science", "science"] * 200
    result = controller.check_canary()
    assert result.kind == "rejected"
    assert "failed, of the running model 0 of" in result.reason
    assert (result.canary.running, result.canary.note) == (False, result.reason)
    assert versions(fleet) == {"1"}


def test_a_canary_whose_labels_drift_is_rolled_back(fleet, controller):
    # There are no recent texts yet, and it agrees on enough of its sample texts.
    controller.promote("drifts:2", CANARY)
    fleet.predict(1000)
    result = controller.check_canary()
    assert result.kind == "rejected"
    assert "serve.rollout.max_drift" in result.reason
    assert result.canary.drift > 0.1


def test_statistics_of_a_dead_replica_remain_and_its_replacement_joins_the_canary(fleet, controller):
    controller.promote("good:2", CANARY)
    fleet.predict(200)
    assert controller.check_canary().canary.requests > 0
    fleet.replace("r0")
    assert versions(fleet, 200) == {"1", "2"}
    canary = controller.check_canary().canary
    assert canary.requests + canary.current_requests == 400


def test_a_rollback_ends_the_canary_not_the_running_bundle(fleet, controller):
    controller.promote("good:2", RULES)
    controller.promote("good:3", CANARY)
    result = controller.rollback()
    assert (result.kind, result.canary.running) == ("canary", False)
    assert result.canary.note == "it was rolled back by hand"
    assert versions(fleet) == {"2"}
    assert controller.desired.previous == "good:1"
    assert controller.check_canary() is None


def test_a_new_bundle_ends_the_canary_before_it(fleet, controller):
    controller.promote("good:2", CANARY)
    assert controller.promote("good:3", RULES).kind == "promoted"
    assert versions(fleet) == {"3"}
    assert controller.desired.previous == "good:1"
