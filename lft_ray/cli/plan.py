"""``lft plan``: predicted cost and candidates of a search."""

from typing import TYPE_CHECKING, Annotated

import typer

from lft_ray.cli.output import guarded, next_command, print_json, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from lft_ray.plan.estimate import Candidate, Estimate

__all__ = ["plan", "print_plan"]


@guarded
def plan(
    file: Annotated[str, typer.Argument(help="Experiment file.", show_default=False)],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Predict the cost of a search: candidates, training and serving cost, worst case. Trains nothing.

    Example: lft plan experiments/news.yaml --set search.budget_usd=2
    """
    from lft_ray import pipeline
    from lft_ray.config import Experiment

    found = pipeline.plan(Experiment.load(file, overrides))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_plan(found, stdout())
    next_command(f"lft search {file}")


def print_plan(plan: "Estimate", console: "Console") -> None:
    """Print the candidates as a table, and the totals."""
    from rich.table import Table

    rows = ", ".join(f"{count:,} {name}" for name, count in plan.rows.items())
    _print_plain(console, f"data: {rows} rows, {plan.mean_tokens:.1f} tokens per text (at most {plan.max_length})")
    table = Table(box=None, pad_edge=False)
    table.add_column("model size")
    for name in ("params", "layers", "P/sqrt(N)", "trial", "train $", "worst $", "serve $ / 1M", "p95 ms"):
        table.add_column(name, justify="right")
    table.add_column("serving cost")
    table.add_column("")
    for row in plan.candidates:
        table.add_row(*_cells(row), style="dim" if row.refused else None)
    console.print(table)
    for line in _totals(plan):
        _print_plain(console, line)


def _cells(row: "Candidate") -> list[str]:
    from lft_ray.report.formats import DASH, duration, usd

    return [
        row.model_size,
        DASH if row.parameters is None else f"{row.parameters / 1e6:.1f}M",
        DASH if row.layers is None else str(row.layers),
        DASH if row.seed_ratio is None else f"{row.seed_ratio:,.0f}",
        duration(row.predicted_s),
        usd(row.predicted_usd),
        usd(row.worst_usd),
        usd(row.serving_usd_per_million),
        DASH if row.p95_ms is None else f"{row.p95_ms:.1f}",
        row.serving_source,
        f"not trained: {row.refused}" if row.refused else "",
    ]


def _totals(plan: "Estimate") -> list[str]:
    from lft_ray.report.formats import duration, usd

    price = f"{plan.price} ({plan.price_as_of}), {usd(plan.usd_per_core_hour)} per core-hour of training"
    lines = [
        f"search: {plan.expected_trials} of {plan.trials} trials, {plan.trials_at_a_time} at a time on {plan.device}: "
        f"about {usd(plan.expected_usd)} and {duration(plan.expected_minutes * 60)} as predicted",
        f"worst case: {usd(plan.worst_search_usd)} for the search + {usd(plan.worst_confirm_usd)} for at most "
        f"{plan.confirmation_trials} fresh-seed runs = {usd(plan.worst_usd)}, retries counted",
    ]
    if plan.budget_usd is not None:
        reserved = f", of which {usd(plan.kept_for_confirmation_usd)} are reserved for fresh-seed runs"
        lines.append(f"budget: {usd(plan.budget_usd)}{reserved if plan.kept_for_confirmation_usd else ''}")
    if plan.minutes is not None:
        lines.append(f"minutes: {plan.minutes:g}, at most about {usd(plan.minutes_usd)} with all cores busy")
    lines.append(f"limit: {usd(plan.held_to_usd)}")
    lines.append(f"price: {price}")
    lines.append(f"training times are predicted from {plan.training_rates}")
    if plan.serving_rates:
        lines.append(f"serving costs are predicted from {plan.serving_rates}; the search measures them before training")
    lines.append(f"decides: {plan.decides.sentence}")
    return lines + [f"note: {note}" for note in plan.notes]


def _print_plain(console: "Console", text: str) -> None:
    # Labels and paths come from the user: "[red]" in one of them must not be read as markup.
    console.print(text, markup=False, soft_wrap=True)
