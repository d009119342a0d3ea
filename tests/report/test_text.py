"""The Pareto front as a table for the terminal."""

from lft_ray.report.text import front_table
from lft_ray.selection.decide import decide
from tests.report.builders import experiment, records, selection, with_variants


def test_the_table_has_one_row_per_size_and_names_the_winner():
    table = front_table(selection(), records())
    assert table.row_count == 3
    assert list(table.columns[0].cells) == ["tfidf", "minilm:3", "minilm:6"]
    assert list(table.columns[6].cells) == ["", "winner", ""]
    assert list(table.columns[3].cells)[1] == "0.9110 (1)"
    assert front_table(None, records()).row_count == 3
    assert front_table(None, []).row_count == 0


def test_a_winner_that_is_not_the_best_of_its_size_gets_a_row_of_its_own():
    several = with_variants()
    choice = decide(several, experiment().selection, experiment().cost)
    ladder = {(row.trial_id, row.max_length) for row in choice.ladder}
    assert (choice.winner.trial_id, choice.winner.max_length) not in ladder
    assert front_table(choice, several).row_count == len(choice.ladder) + 1
