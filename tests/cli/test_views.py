"""What the commands print of a leaderboard."""

import io

from rich.console import Console

from lft_ray.cli.views import print_leaderboard
from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.records import SizeCoverage, SizeOutcome
from lft_ray.selection.decide import decide
from lft_ray.selection.leaderboard import leaderboard
from tests.report.builders import experiment, records, with_variants
from tests.selection.builders import study, trial
from tests.selection.test_verdict import study as study_with_answers


def printed_lines(found) -> list[str]:
    choice = decide(found, experiment().selection, experiment().cost)
    return printed(choice, found).splitlines()


def printed(selection, found) -> str:
    stream = io.StringIO()
    print_leaderboard(leaderboard(selection, found), Console(file=stream, width=200))
    return stream.getvalue()


def test_points_say_their_length_where_several_are_offered():
    lines = printed_lines(with_variants())
    head = next(line for line in lines if line.startswith("model size"))
    assert " ".join(head.split()) == "model size trial tokens F1 95% interval $ / 1M predictions p95 ms"
    front = lines[lines.index(head) + 1 : lines.index("", lines.index(head))]
    places = [tuple(line.split()[:3]) for line in front]
    assert ("minilm:3", "t2", "32") in places
    assert len(set(places)) == len(places)
    # One row of the front is the winner, though another of its trial stands there, too.
    assert sum(line.rstrip().endswith("winner") for line in front) == 1
    assert any(line.startswith("winner: minilm:6 (t3, fp32, 32 tokens)") for line in lines)


def test_a_point_says_how_it_was_trained_where_that_is_not_plain():
    how = {
        "t2": ({"method": "lora", "lora_rank": 8, "lora_alpha": 16.0}, "(lora rank 8 alpha 16)"),
        "t3": ({"method": "freeze", "frozen_layers": 2, "layer_decay": 0.8}, "(freeze 2 layer decay 0.8)"),
    }
    found = [
        r.model_copy(update={"config": r.config.model_copy(update=how[r.trial_id][0])}) if r.trial_id in how else r
        for r in records()
    ]
    lines = printed_lines(found)
    for trial_id, (_, words) in how.items():
        rows = [line for line in lines if line.split()[1:2] == [trial_id] and "fp32" not in line]
        assert rows
        assert all(line.rstrip().endswith(words) for line in rows)
    assert not any("full" in line for line in lines)


def test_a_study_with_one_variant_says_it_once():
    lines = printed_lines(records())
    assert "tokens" not in next(line for line in lines if line.startswith("model size"))
    assert any(line.startswith("winner: minilm:3 (t2, fp32, 128 tokens)") for line in lines)


def test_the_leaderboard_prints_what_each_finalist_loses_and_the_verdict():
    found, evidence = study_with_answers([0.105, 0.10], rows=1000)
    choice = decide(found, SelectionSpec(margin=0.02), CostSpec(), evidence=evidence)
    text = printed(choice, found)
    row = next(line.split() for line in text.splitlines() if line.rstrip().endswith("proven") and "fp32" in line)
    cheap = choice.judged[0]
    low, high = cheap.f1_interval
    assert low < cheap.f1 < high
    ends = [f"{low:.3f}", "to", f"{high:.3f}"]
    expected = [f"{cheap.f1:.4f}", *ends, f"{cheap.loss * 100:.2f}", f"{cheap.loss_upper * 100:.2f}", "proven"]
    assert row == ["m:0", "t0", "fp32", "128", "3", *expected]
    assert "verdict: proven\n" in text
    assert choice.reason in text
    assert "compared with, winner minus other in points of F1: m:1 (t1) -" in text


def test_a_size_that_was_not_tried_is_a_row_with_the_reason():
    reason = "not tried: out of time (predicted to take [330] s)"
    coverage = [SizeCoverage(model_size="minilm:12", outcome=SizeOutcome.NOT_TRIED, reason=reason)]
    choice = decide(study(), SelectionSpec(), CostSpec(), coverage=coverage)
    text = printed(choice, study())
    assert any(
        line.split()[:3] == ["minilm:12", "-", "-"] and line.rstrip().endswith(reason) for line in text.split("\n")
    )
    assert f"Not compared, as no trial of it finished: minilm:12 ({reason})." in text


def test_failed_confirmation_runs_are_counted_as_failed():
    failed = [trial(f"c{i}", "minilm:3", 0, 0, status="failed", reason="boom", confirms="t2") for i in (1, 2)]
    found = [*study(), *failed]
    text = printed(decide(found, SelectionSpec(), CostSpec()), found)
    assert "trials: 5 done, 1 stopped, 2 confirm failed" in text
    assert "verdict: unconfirmed" in text
    assert "2 failed of 2 confirmation runs: boom" in text


def test_what_is_not_bounded_is_a_dash_and_before_the_decision_there_is_no_verdict():
    found = [
        *study(),
        trial("c1", "minilm:3", 0.91, 0.04, confirms="t2"),
        trial("c2", "minilm:6", 0.9, 0.08, confirms="t3"),
    ]
    text = printed(decide(found, SelectionSpec(), CostSpec()), found)
    assert next(line.split()[-2:] for line in text.splitlines() if "t3" in line and "128" in line) == [
        "within",
        "noise",
    ]
    assert "verdict: unconfirmed\n" in text
    assert "finalists" not in printed(None, found)
