"""What a study tried and what it did not, from synthetic ledgers."""

import pytest

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment, SearchSpec
from lft_ray.cost.caps import Caps
from lft_ray.models.words import MAX_WORDS
from lft_ray.records import ConfirmationCount, ProfileBook, SizeCoverage, SizeOutcome, VerdictKind
from lft_ray.run.ledger import StartedTrial
from lft_ray.selection.coverage import (
    Limits,
    confirmation_count,
    confirmation_sentence,
    confirmation_trouble,
    coverage_of,
    coverage_sentence,
    mostly_failed,
)
from tests.report.builders import profiles
from tests.selection.builders import trial

TIMED = SearchSpec(trials=24, minutes=5.0)


@pytest.fixture
def candidates() -> Candidates:
    models = [{"base": "tfidf"}, {"base": "minilm", "layers": [3, 6]}]
    return Candidates.of(Experiment.model_validate({"name": "n", "data": {"train": "x.csv"}, "models": models}))


def measured() -> ProfileBook:
    """Profiles of all sizes, at the length that each is served with."""
    book = profiles()
    rows = [row.replace(max_length=MAX_WORDS) if row.model_size == "tfidf" else row for row in book.profiles]
    return book.replace(profiles=rows)


def cover(candidates, records, *, search=TIMED, caps=None, started=(), **limits):
    limits = Limits(search, caps or Caps(), **limits)
    return {r.model_size: r for r in coverage_of(candidates, measured(), records, started, limits, utilisation=0.6)}


def reasons(candidates, records, **options):
    return {size: row.reason for size, row in cover(candidates, records, **options).items() if row.reason}


def test_a_size_without_a_trial_is_named_with_the_limit_that_kept_it_out(candidates):
    done = [trial("t0", "tfidf", 0.6, 0.01)]
    assert reasons(candidates, done) == dict.fromkeys(("minilm:3", "minilm:6"), "not tried: out of time")
    for search, reason in (
        (SearchSpec(trials=24, budget_usd=1.0), "not tried: out of money"),
        (SearchSpec(trials=24, budget_usd=1.0, minutes=5.0), "not tried: out of time or money"),
        (SearchSpec(trials=1), "not tried: out of trials (search.trials: 1)"),
    ):
        assert reasons(candidates, done, search=search)["minilm:3"] == reason
    assert reasons(candidates, done, is_over=False)["minilm:3"] == "not tried yet"


def test_the_recorded_refusal_says_it_best(candidates):
    refused = {"minilm:3": "worst-case cost $0.7 exceeds the remaining budget $0.1", "minilm:6": "deadline reached"}
    assert reasons(candidates, [], refused=refused) == {
        "tfidf": "not tried: out of time",
        "minilm:3": f"not tried: out of money ({refused['minilm:3']})",
        "minilm:6": "not tried: out of time (deadline reached)",
    }


def test_what_its_trials_did_comes_before_any_limit(candidates):
    records = [
        trial("t0", "tfidf", 0, 0, status="stopped", reason="stopped at the deadline"),
        trial("t1", "minilm:3", 0, 0, status="failed", reason="No space\nleft"),
        trial("t2", "minilm:3", 0, 0, status="failed", reason="No space\nleft"),
        trial("t3", "minilm:3", 0, 0, status="stopped", reason="deadline"),
        trial("t4", "minilm:6", 0, 0, status="infeasible", reason="not finite"),
    ]
    assert reasons(candidates, records, caps=Caps(usd_per_million=1e-9)) == {
        "tfidf": "stopped early: stopped at the deadline",
        "minilm:3": "failed: No space left (and 1 other cause)",
        "minilm:6": "infeasible: not finite",
    }
    row = cover(candidates, records)["minilm:3"]
    assert (row.outcome, row.trials) == (SizeOutcome.FAILED, {"stopped": 1, "failed": 2})
    assert row.causes == {"No space\nleft": 2, "deadline": 1}


def test_one_finished_trial_is_enough_and_started_ones_are_counted(candidates):
    records = [trial("t0", "minilm:3", 0.9, 0.1), trial("t1", "minilm:3", 0, 0, status="failed", reason="x")]
    begun = StartedTrial(trial_id="t2", number=2, config=records[0].config.replace(model_size="minilm:6"))
    rows = cover(candidates, records, started=[begun])
    assert (rows["minilm:3"].outcome, rows["minilm:3"].reason) == (SizeOutcome.FINISHED, "")
    assert rows["minilm:6"].reason == "started, not finished; --resume continues it"
    assert rows["minilm:6"].trials == {"unfinished": 1}


def test_a_size_over_a_cap_says_which(candidates):
    found = cover(candidates, [], caps=Caps(p95_ms=1.0))
    assert [row.reason for row in found.values()] == ["over a cap: p95 6 ms is above cost.traffic.p95_ms 1"] * 3
    assert list(found) == ["tfidf", "minilm:3", "minilm:6"], "cheapest first"


def test_the_sentence_names_every_size_once(candidates):
    found = cover(candidates, [trial("t0", "tfidf", 0.6, 0.01)]).values()
    sentence = "Not compared, as no trial of it finished: minilm:3, minilm:6 (not tried: out of time)."
    assert coverage_sentence(found) == sentence
    assert coverage_sentence([SizeCoverage(model_size="m", outcome=SizeOutcome.FINISHED)]) == ""


def test_failed_confirmation_runs_are_not_done():
    records = [
        trial("t0", "m:1", 0.9, 0.1),
        trial("c0", "m:1", 0.9, 0.1, confirms="t0"),
        trial("c1", "m:1", 0, 0, status="failed", reason="killed", confirms="t0"),
        trial("c2", "m:1", 0, 0, status="stopped", reason="deadline", confirms="t0"),
    ]
    count = confirmation_count(records)
    assert (count.done, count.failed, count.stopped, count.total) == (1, 1, 1, 3)
    assert confirmation_sentence(count) == "1 failed and 1 stopped of 3 confirmation runs: killed (and 1 other cause)"
    assert confirmation_sentence(ConfirmationCount(done=3)) == ""
    assert confirmation_trouble(VerdictKind.UNCONFIRMED, count) == confirmation_sentence(count)
    assert confirmation_trouble(VerdictKind.PROVEN, count) == "", "those that finished sufficed"
    assert confirmation_trouble(VerdictKind.UNCONFIRMED, ConfirmationCount(done=1, stopped=2)) == ""


def test_a_study_mostly_failed_if_half_of_what_could_fail_did():
    failed = [trial(f"t{i}", "m:1", 0, 0, status="failed", reason="disk") for i in range(3)]
    done = [trial("t7", "m:1", 0.9, 0.1), trial("t8", "m:1", 0.9, 0.1)]
    stopped = [trial(f"t1{i}", "m:1", 0, 0, status="stopped", reason="rule") for i in range(9)]
    assert mostly_failed([*failed, *done, *stopped]) == "3 of 5 trials failed: disk"
    assert mostly_failed([failed[0], *done]) == mostly_failed([]) == ""
