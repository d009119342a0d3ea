"""Tables that the commands print on stdout. In: records and plain dictionaries. Out: rich tables. Never decides."""

from typing import TYPE_CHECKING, Any

from lft_ray.selection.leaderboard import TRAINING_FIELDS
from lft_ray.texts import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from lft_ray.data.check import DataCard
    from lft_ray.records import TrialRecord

__all__ = ["print_card", "print_leaderboard", "print_status", "print_trial", "serving_line"]

MOST_LABELS = 20
"""Labels that the data card lists one by one; of more, it shows some and counts the others."""
FREQUENT_LABELS = 8
RAREST_LABELS = 3
VARIANT = {"precision": "precision", "max_length": "tokens"}
"""Keys of a point that identify its variant -> headings of their columns."""


def print_leaderboard(board: dict[str, Any], console: "Console") -> None:
    """Print the Pareto front, the ladder and the winner, from the leaderboard of `lft_ray.pipeline.leaderboard`."""
    winner = board["winner"]
    rows = [row for row in [*board["front"], *board["ladder"]] if row["trial_id"]]
    # If all rows have the same precision or length, it is shown once, for the winner.
    columns = [key for key in VARIANT if len({row[key] for row in rows}) > 1]
    _points(console, "Pareto front of cost and F1", board["front"], winner, columns)
    _points(console, "ladder: best finished trial of each model size", board["ladder"], winner, columns)
    if board["finalists"]:
        _finalists(console, board["finalists"], winner)
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in board["trials"].items() if count)
    console.print(f"\ntrials: {counts or 'none finished yet'}")
    if winner:
        _plain(console, _winner_line(winner))
        needed = (
            f", about {board['rows_needed']:,} validation rows would be needed to prove it"
            if board["rows_needed"]
            else ""
        )
        console.print(f"verdict: {board['verdict'].replace('_', ' ')}{needed}")
        if against := _compared(board["compared_with"]):
            _plain(console, against)
        for sentence in [board["reason"], *board["remarks"]]:
            _plain(console, sentence)
        for check in board["precision_checks"]:
            _plain(console, f"{'checked' if check['passed'] else 'rejected'}: {check['reason']}")
    if board.get("break_even"):
        console.print(board["break_even"]["sentence"])


def _winner_line(winner: dict[str, Any]) -> str:
    """The winner with its validation score, and with the test score of the checkpoint that is shipped."""
    served = f"{winner['precision']}, {winner['max_length']} tokens"
    line = f"winner: {winner['model_size']} ({winner['trial_id']}, {served}), "
    line += f"validation F1 {_with_interval(winner['f1'], winner['f1_interval'])}, "
    if winner["test_f1"] is None:
        return f"{line}test F1 not measured"
    return f"{line}test F1 {_with_interval(winner['test_f1'], winner['test_f1_interval'])} of {winner['checkpoint']}"


def _with_interval(value: float, ends: list[float] | None) -> str:
    from lft_ray.report.formats import interval

    return f"{value:.4f}" if ends is None else f"{value:.4f} (95% {interval(ends)})"


def _compared(rows: list[dict[str, Any]]) -> str:
    """``winner minus others, points of F1: tfidf +9.2 (95% -0.4 to +19.1)``; empty if nothing was compared."""
    from lft_ray.report.formats import points_interval, signed_points

    parts = [
        f"{row['model_size']} ({row['trial_id']}) {signed_points(row['difference'])}"
        + (f" (95% {points_interval(row['interval'])})" if row["interval"] else "")
        for row in rows
    ]
    return f"compared with, winner minus other in points of F1: {', '.join(parts)}" if parts else ""


def _finalists(console: "Console", rows: list[dict[str, Any]], winner: dict[str, Any] | None) -> None:
    from rich.table import Table

    from lft_ray.report.formats import interval

    table = Table(
        title="finalists: loss in percentage points",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in (
        "model size",
        "trial",
        "precision",
        "tokens",
        "seeds",
        "mean F1",
        "95% interval",
        "loss",
        "95% bound",
        "",
    ):
        is_text = name in ("model size", "trial", "precision", "")
        table.add_column(name, justify="left" if is_text else "right")
    for row in rows:
        bound = "-" if row["loss_upper"] is None else f"{row['loss_upper'] * 100:.2f}"
        table.add_row(
            row["model_size"],
            row["trial_id"],
            row["precision"],
            str(row["max_length"]),
            "-" if row["is_seedless"] else str(len(row["fresh_f1"])),
            f"{row['f1']:.4f}",
            interval(row["f1_interval"]),
            "-" if row["standing"] == "best" else f"{row['loss'] * 100:.2f}",
            bound,
            row["standing"].replace("_", " "),
            style="bold" if _is_same(row, winner) else None,
        )
    console.print()
    console.print(table)


def _method(row: dict[str, Any]) -> str:
    """Training method of the row's trial; empty for plain fine-tuning."""
    from lft_ray.records import TrialConfig
    from lft_ray.report.formats import notable_method

    return notable_method(
        TrialConfig(**{name: row[name] for name in ("model_size", *TRAINING_FIELDS) if row.get(name) is not None})
    )


def _is_same(row: dict[str, Any], winner: dict[str, Any] | None) -> bool:
    return winner is not None and all(row[key] == winner[key] for key in ("trial_id", *VARIANT))


def _points(
    console: "Console", title: str, rows: list[dict[str, Any]], winner: dict[str, Any] | None, columns: list[str]
) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("model size", "trial", *(VARIANT[key] for key in columns), "F1"):
        table.add_column(name, justify="right" if name in ("F1", "tokens") else "left")
    for name in ("95% interval", "$ / 1M predictions", "p95 ms"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        chosen = _is_same(row, winner)
        table.add_row(*_point_cells(row, columns, "winner" if chosen else ""), style="bold" if chosen else None)
    console.print()
    console.print(table)


def _point_cells(row: dict[str, Any], columns: list[str], note: str) -> list[str]:
    """Cells of a point, or of a model size that was not tried: then the note says why."""
    from rich.markup import escape

    from lft_ray.report.formats import interval

    usd = row["usd_per_million_predictions"]
    price = "-" if usd is None else f"{usd:.3f}"
    if not row["trial_id"]:
        return [row["model_size"], "-", *("-" for _ in columns), "-", "-", price, "-", escape(row["reason"])]
    if row.get("dominated_by"):
        note = f"dominated by {row['dominated_by']}"
    if method := _method(row):
        note = f"{note} ({method})".strip()
    return [
        row["model_size"],
        row["trial_id"],
        *(str(row[key]) for key in columns),
        f"{row['f1']:.4f}",
        interval(row.get("f1_interval")),
        price,
        "-" if row.get("p95_ms") is None else f"{row['p95_ms']:.1f}",
        note,
    ]


def print_trial(record: "TrialRecord", console: "Console") -> None:
    """Print one trial: its learning curve and resource usage."""
    console.print(f"{record.trial_id}  {record.config.model_size}  {record.status} {record.reason}".rstrip())
    for point in record.curve:
        console.print(f"  {point.fraction:5.0%}  F1 {point.f1:.4f}  loss {point.loss:.4f}  {point.train_s:7.1f} s")
    usage = record.usage
    console.print(f"  {usage.core_s:.1f} core-seconds, {usage.tokens:,} tokens, peak {usage.peak_bytes / 1e9:.2f} GB")
    for variant in record.variants:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in variant.metrics.items())
        console.print(f"  {variant.precision} at {variant.max_length} tokens: {scores}")
    if record.checkpoint_uri:
        console.print(f"  {record.checkpoint_uri}")


def print_status(state: dict[str, Any], console: "Console") -> None:
    """Print the status of a run."""
    for key, value in state.items():
        if key == "next":
            continue
        if key == "serving" and value is not None:
            _plain(console, f"{key:14} {serving_line(value)}")
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{name} {count}" for name, count in value.items()) or "-"
        console.print(f"{key:14} {value}")


def serving_line(view: dict[str, Any]) -> str:
    """One line about an endpoint: state, replicas, age, message, log."""
    ready, wanted, age_s = view["replicas_ready"], view["replicas_wanted"], view["age_s"]
    parts = [
        view["state"].replace("_", " "),
        "" if ready is None else f"{ready} replicas ready" + (f", {wanted} wanted" if wanted else ""),
        "" if age_s is None else f"up {_duration(age_s)}",
        f"process {view['pid']}" if view["pid"] and view["state"] != "stopped" else "",
        " ".join(view["message"].split()),
        f"log {view['log']}" if view["log"] else "",
    ]
    return ", ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def print_card(card: "DataCard", console: "Console") -> None:
    """Print the data card and all problems, errors first."""
    _plain(console, ", ".join(f"{role} column '{name}'" for role, name in card.columns.items()))
    for split, rows in card.rows.items():
        _plain(console, f"{split:11} {rows:8,} rows   {_label_counts(card.label_counts.get(split, {}))}")
    words = ", ".join(f"{name} {value:.0f}" for name, value in card.words_quantiles.items())
    _plain(console, f"words per text (where a script has no spaces, letters): {words}")
    for fit in card.tokens:
        _plain(console, f"tokens per text in {fit.base}: {fit.sentence}")
    if card.carved:
        parts = ", ".join(f"{name} {share:.0%}" for name, share in card.carved.items())
        _plain(console, f"cut from train: {parts} (stratified by label, seed {card.seed})")
    for file, how in card.read_as.items():
        _plain(console, f"read        {file}: {how}")
    for problem in sorted(card.problems, key=lambda p: p.severity):
        place = problem.file + (f":{problem.row}" if problem.row is not None else "")
        _plain(console, f"{problem.severity:8} {place} {problem.message}")
        if problem.fix:
            _plain(console, f"         fix: {problem.fix}")
    if not card.problems:
        _plain(console, "no problems found")


def _label_counts(counts: dict[str, int]) -> str:
    """Labels with their rows, most frequent first; of many, the most frequent and the rarest."""
    told = [f"{label} {count:,}" for label, count in counts.items()]
    if len(told) <= MOST_LABELS:
        return ", ".join(told)
    left = len(told) - FREQUENT_LABELS - RAREST_LABELS
    shown = [*told[:FREQUENT_LABELS], f"{left:,} more labels", *told[-RAREST_LABELS:]]
    return f"{len(told):,} labels: {', '.join(shown)}"


def _plain(console: "Console", text: str) -> None:
    # Column and label names, and causes of failures, come from outside: "[red]" in one of them must not be read as
    # markup, nor a carriage return overwrite the line.
    console.print(one_line(text), markup=False, emoji=False, soft_wrap=True)
