"""The Pareto front as a table for the terminal. In: records, and the selection if there is one. Out: a rich table."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from lft_ray.records import FrontPoint, LadderRow, Selection, TrialRecord
from lft_ray.report.formats import DASH, Naming, milliseconds, notable_method, score, usd
from lft_ray.report.views import fresh_f1
from lft_ray.selection.front import front, ladder, points_of

__all__ = ["front_table"]


def front_table(selection: Selection | None, records: Sequence[TrialRecord]) -> Table:
    """One row per model size, cheapest first: Pareto-optimal, dominated (and by which trial), or the winner.

    Args:
        selection: the decision; None: the current state of a running search is shown.
        records: records of all ended trials.
    """
    points = points_of(records)
    rows = selection.ladder if selection else ladder(points)
    methods = {r.trial_id: how for r in records if (how := notable_method(r.config))}
    size = len(selection.front if selection else front(points))
    table = Table(
        title=f"{size} {'point' if size == 1 else 'points'} on the Pareto front", title_justify="left", box=None
    )
    naming = Naming(records)
    table.add_column("model size")
    table.add_column("trial")
    for name in ("F1", "fresh seeds", "$ / million", "p95"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        style = "bold green" if _won(row, selection) else "" if row.on_front else "dim"
        table.add_row(*_cells(row, selection, naming, methods), style=style)
    if selection is not None and not any(_won(row, selection) for row in rows):
        # The winner may be missing: a cheaper variant can win although it is not the best of its size.
        shown = next((p for p in selection.front if _won(p, selection)), selection.winner)
        winner = LadderRow(**shown.model_dump(), on_front=True)
        table.add_row(*_cells(winner, selection, naming, methods), style="bold green")
    return table


def _won(point: FrontPoint, selection: Selection | None) -> bool:
    if selection is None:
        return False
    winner = selection.winner
    ours = (point.trial_id, point.precision, point.max_length)
    return ours == (winner.trial_id, winner.precision, winner.max_length)


def _cells(row: LadderRow, selection: Selection | None, naming: Naming, methods: Mapping[str, str]) -> list[str]:
    fresh = fresh_f1(selection, row)
    won = _won(row, selection)
    note = "winner" if won else "" if row.on_front else f"dominated by {row.dominated_by}"
    return [
        " ".join(filter(None, [row.model_size, naming(row)])),
        row.trial_id,
        score(row.f1),
        f"{score(sum(fresh) / len(fresh))} ({len(fresh)})" if fresh else DASH,
        usd(row.usd_per_million_predictions),
        milliseconds(row.p95_ms),
        f"{note} ({methods[row.trial_id]})".strip() if row.trial_id in methods else note,
    ]
