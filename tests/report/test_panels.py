"""Cells of the task's tables."""

from lft_ray.report.panels import panel_views
from tests.report.builders import panels


def test_a_matrix_has_fractions_of_its_rows_and_a_table_a_meter_beside_its_last_score():
    table, matrix = panel_views(panels())
    assert [[cell.share for cell in row[1:]] for row in matrix.rows] == [[0.92, 0.08], [0.1, 0.9]]
    assert [cell.is_last_score for cell in table.rows[0]] == [False, False, False, True, False]
    assert [cell.share for cell in table.rows[0]] == [0.0] * 5
