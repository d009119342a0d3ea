"""What the commands print of a leaderboard."""

import io

from rich.console import Console

from lft_ray.cli.views import print_leaderboard
from lft_ray.selection.decide import decide
from lft_ray.selection.leaderboard import leaderboard
from tests.report.builders import experiment, records, with_variants


def printed(study) -> list[str]:
    out = io.StringIO()
    choice = decide(study, experiment().selection, experiment().cost)
    print_leaderboard(leaderboard(choice, study), Console(file=out, width=140))
    return out.getvalue().splitlines()


def test_points_say_their_length_where_several_are_offered():
    lines = printed(with_variants())
    head = next(line for line in lines if line.startswith("model size"))
    assert head.split() == ["model", "size", "trial", "tokens", "F1", "$", "/", "1M", "predictions", "p95", "ms"]
    front = lines[lines.index(head) + 1 : lines.index("", lines.index(head))]
    places = [tuple(line.split()[:3]) for line in front]
    assert ("minilm:3", "t2", "32") in places
    assert len(set(places)) == len(places)
    # One row of the front is the winner, though another of its trial stands there, too.
    assert sum(line.rstrip().endswith("winner") for line in front) == 1
    assert any(line.startswith("winner: minilm:6 (t3, fp32, 32 tokens)") for line in lines)


def test_a_study_with_one_variant_says_it_once():
    lines = printed(records())
    assert "tokens" not in next(line for line in lines if line.startswith("model size"))
    assert any(line.startswith("winner: minilm:3 (t2, fp32, 128 tokens)") for line in lines)
