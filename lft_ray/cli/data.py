"""``lft init`` and ``lft check``: write an experiment file, and check the data."""

import re
import shlex
import unicodedata
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

_TEMPLATE = """\
# Written by `lft init`. `lft env --schema` describes every key.
name: {name}

task: {task}

data:
  train: {train}
  split: {{validation: 0.1, test: 0.1, seed: 0}}   # give data.validation / data.test instead when you have them

models:
  - {{base: tfidf}}                            # word and character n-grams, linear: the baseline
  - {{base: minilm, layers: [1, 2, 3, 4, 6]}}  # model size = base x number of layers; `lft env --models` lists bases

training:
  method: [full, linear_probe]                 # linear_probe: a linear head on the frozen network, one forward pass
  learning_rate: {{low: 3.0e-5, high: 1.0e-3, log: true}}
  batch_size: [16, 32, 64]
  epochs: [1, 2, 3]
  max_length: {max_length}                            # tokens; your texts have {p95:.0f} words at the 95th percentile

search: {{trials: 24, minutes: 25, seed: 0}}
cost: {{price: this_machine, traffic: {{requests_per_month: 10_000_000, p95_ms: null}}}}
selection: {{policy: cheapest_within, margin: 0.005, confirmation_fraction: 0.3}}
serve: {{host: 127.0.0.1, port: 8000, autoscaling: {{min_replicas: 1, max_replicas: 4}}}}
storage: runs
"""


@guarded
def init(
    data: Annotated[str, typer.Argument(help="Labelled text: CSV, TSV, JSONL or Parquet.", show_default=False)],
    output: Annotated[str | None, typer.Option("--output", "-o", help="Experiment file; default: <data>.yaml.")] = None,
    kind: Annotated[str, typer.Option("--kind", help="classification or multilabel.")] = "classification",
) -> None:
    """Write an experiment file for your labelled text, with its columns detected.

    Example: lft init tickets.csv
    """
    from lft_ray.config import DataSpec, TaskSpec
    from lft_ray.config.loader import inline
    from lft_ray.data.prepare import inspect

    source = resolve(data)
    target = resolve(output) if output else Path(f"{_run_name(source.stem)}.yaml")
    if target.exists():
        raise InputError(f"{target} already exists", fix="choose another name with --output")
    card = inspect(TaskSpec(kind=kind), DataSpec(train=data))
    if not card.text_column or not card.label_column or not card.words_quantiles:
        raise InputError(
            "\n".join(problem.message for problem in card.errors) or f"{data}: no text and label columns found"
        )
    p95 = card.words_quantiles["p95"]
    # English has about 1.3 word pieces per word; add two special tokens, and round up to a multiple of 32.
    length = min(512, max(32, int(-(-(p95 * 1.3 + 2) // 32) * 32)))
    task = {"kind": kind, "text": card.text_column, "label": card.label_column, "metric": "macro_f1"}
    content = _TEMPLATE.format(
        name=inline(_run_name(source.stem)), task=inline(task), train=inline(data), p95=p95, max_length=length
    )
    try:
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}", fix="choose another --output") from None
    print_message(f"wrote {target}")
    next_command(shlex.join(["lft", "check", str(target)]))


def _run_name(stem: str) -> str:
    """Make a name for runs out of that of a file: ASCII letters, digits, dots, hyphens and underscores."""
    plain = unicodedata.normalize("NFKD", stem.lower().replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9._-]+", "-", plain)[:64].strip("-._") or "experiment"


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
    from lft_ray.data.prepare import inspect_rows

    deeper.check_options(deep=deep, output=output, apply_file=apply_file)
    experiment = Experiment.load(file, overrides)
    pipeline.check(experiment)
    inspected = inspect_rows(experiment.task, experiment.data)
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
    from lft_ray.search.confirm import max_seeds
    from lft_ray.selection.power import power_of

    rows, selection = card.rows.get("validation", 0), experiment.selection
    if not rows:
        return None
    return power_of(
        card.label_counts.get("validation", {}),
        rows,
        metric=experiment.task.metric,
        margin=selection.margin,
        seeds=max_seeds(rows, selection.confirmation_seeds),
    )
