"""``lft init`` and ``lft check``: write an experiment file, and check the data."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft_ray.cli.output import guarded, next_command, print_json, print_message, stdout
from lft_ray.errors import InputError
from lft_ray.system.paths import resolve

if TYPE_CHECKING:
    from lft_ray.config import Experiment
    from lft_ray.data.check import DataCard
    from lft_ray.selection.power import Power

__all__ = ["check", "init"]


@guarded
def init(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES...", help="CSV, TSV, JSONL or Parquet files, also .gz, .zst, .zip; or a folder."),
    ],
    text: Annotated[str | None, typer.Option("--text", help="Text column; default: the one that holds text.")] = None,
    text_a: Annotated[str | None, typer.Option("--text-a", help="Of pairs of texts: column of the first.")] = None,
    text_b: Annotated[str | None, typer.Option("--text-b", help="Of pairs of texts: column of the second.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Label column; default: the one with labels.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Encoding; default: what reads the files.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of runs; default: after the data.")] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="classification, multilabel, pairs or question_answering; default: as seen."),
    ] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Experiment file; default: <name>.yaml.")] = None,
) -> None:
    """Write an experiment file for your labelled text: columns, splits, encoding, lengths and minutes are seen.

    Example: lft init tickets.csv
    """
    from lft_ray.plan.suggest import Asked, suggest

    if output:
        _check_free(resolve(output))
    found = suggest(files, Asked(text, label, kind, encoding, name, _pair(text, text_a, text_b, kind)))
    target = resolve(output) if output else Path(f"{found.name}.yaml")
    _check_free(target)
    try:
        target.write_text(found.content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}", fix="choose another --output") from None
    for line in (*found.told, *(f"warning: {warning}" for warning in found.warnings), f"wrote {target}"):
        print_message(line)
    next_command(shlex.join(["lft", "check", str(target)]))


def _pair(text: str | None, first: str | None, second: str | None, kind: str | None) -> tuple[str, str] | None:
    if first is None and second is None:
        if text is not None and kind == "pairs":
            raise InputError("pairs have two texts: --text names one", fix="--text-a FIRST --text-b SECOND")
        return None
    if first is None or second is None:
        raise InputError("--text-a and --text-b belong together", fix="name both columns")
    if text is not None or kind not in (None, "pairs"):
        other = "--text" if text is not None else f"--kind {kind}"
        raise InputError(f"{other} and --text-a, --text-b cannot be combined", fix=f"leave {other} out")
    return first, second


def _check_free(target: Path) -> None:
    if target.exists():
        raise InputError(f"{target} already exists", fix="choose another name with --output")


@guarded
def check(
    file: Annotated[str, typer.Argument(help="Experiment file.", show_default=False)],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also look for wrong labels and near-duplicates.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="--deep: CSV of all suspects. --apply: folder of fixed rows.")
    ] = None,
    apply_file: Annotated[
        str | None, typer.Option("--apply", metavar="CSV", help="Write the rows with the column fix of this CSV.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 2 for warnings and likely wrong labels.")] = False,
) -> None:
    """Check the data and print a data card with all problems. Exit code 2 if any of them is an error.

    Example: lft check experiments/news.yaml --deep --output suspects.csv
    """
    from lft_ray import pipeline
    from lft_ray.cli import deep as deeper
    from lft_ray.cli.views import print_card
    from lft_ray.config import Experiment
    from lft_ray.plan.read_card import read_card

    deeper.check_options(deep=deep, output=output, apply_file=apply_file)
    experiment = Experiment.load(file, overrides)
    pipeline.check(experiment)
    training = experiment.training
    inspected = read_card(experiment.task, experiment.data, experiment.models, training.max_length)
    card, errors = inspected.card, inspected.card.errors
    decides = _decides(experiment, card)
    found = deeper.look_deeper(experiment, inspected, output) if deep and not errors else None
    if apply_file and output and not errors:
        deeper.write_fixes(inspected, apply_file, output, file=file, as_json=as_json)
        return
    if as_json:
        facts = {"deep": found and found.model_dump(mode="json")} if deep else {}
        print_json({**card.model_dump(mode="json"), "decides": decides and decides.model_dump(mode="json"), **facts})
    else:
        print_card(card, stdout())
        if decides is not None:
            stdout().print(f"decides: {decides.sentence}", markup=False, soft_wrap=True)
        if found is not None:
            deeper.print_deep(found)
    if errors:
        print_message(f"error: {len(errors)} problem(s) must be fixed first")
        raise SystemExit(2)
    counted = len(card.warnings) + (found.likely if found is not None else 0)
    if strict and counted:
        print_message(f"error: {counted:,} warnings and likely wrong labels, and --strict is set")
        raise SystemExit(2)
    next_command(shlex.join(["lft", "search", file]))


def _decides(experiment: "Experiment", card: "DataCard") -> "Power | None":
    """What difference in F1 the validation rows can decide; None without any."""
    from lft_ray.candidates import TaskRecord
    from lft_ray.search.confirm import max_seeds
    from lft_ray.selection.power import power_of

    rows, selection = card.rows.get("validation", 0), experiment.selection
    if not rows:
        return None
    return power_of(
        card.label_counts.get("validation", {}),
        rows,
        task=TaskRecord.of(experiment.task.kind, experiment.task.metric),
        margin=selection.margin,
        seeds=max_seeds(rows, selection.confirmation_seeds),
    )
