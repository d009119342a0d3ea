import io

from rich.console import Console

from lft_ray.cli.views import print_leaderboard
from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.selection.decide import decide
from lft_ray.selection.leaderboard import leaderboard
from tests.selection.builders import study, trial
from tests.selection.test_verdict import study as study_with_answers


def printed(selection, records):
    stream = io.StringIO()
    print_leaderboard(leaderboard(selection, records), Console(file=stream, width=200))
    return stream.getvalue()


def test_the_leaderboard_prints_what_each_finalist_loses_and_the_verdict():
    records, evidence = study_with_answers([0.105, 0.10], rows=1000)
    choice = decide(records, SelectionSpec(margin=0.02), CostSpec(), evidence=evidence)
    text = printed(choice, records)
    row = next(line.split() for line in text.splitlines() if line.rstrip().endswith("proven") and "fp32" in line)
    cheap = choice.judged[0]
    expected = [f"{cheap.f1:.4f}", f"{cheap.loss * 100:.2f}", f"{cheap.loss_upper * 100:.2f}", "proven"]
    assert row == ["m:0", "t0", "fp32", "128", "3", *expected]
    assert "verdict: proven\n" in text
    assert choice.reason in text


def test_what_is_not_bounded_is_a_dash_and_before_the_decision_there_is_no_verdict():
    records = [
        *study(),
        trial("c1", "minilm:3", 0.91, 0.04, confirms="t2"),
        trial("c2", "minilm:6", 0.9, 0.08, confirms="t3"),
    ]
    text = printed(decide(records, SelectionSpec(), CostSpec()), records)
    assert next(line.split()[-2:] for line in text.splitlines() if "t3" in line and "128" in line) == [
        "within",
        "noise",
    ]
    assert "verdict: within noise\n" in text
    assert "finalists" not in printed(None, records)
