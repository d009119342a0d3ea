"""``lft init`` and ``lft check``: write an experiment file, and check the data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft_ray.cli.output import guarded, next_command, print_json, print_message, stdout
from lft_ray.errors import InputError

if TYPE_CHECKING:
    from lft_ray.config import Experiment
    from lft_ray.data.check import DataCard
    from lft_ray.selection.power import Power

__all__ = ["check", "init"]

_TEMPLATE = """\
# Written by `lft init`. `lft env --schema` describes every key.
name: {name}

task: {{kind: {kind}, text: {text}, label: {label}, metric: macro_f1}}

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
    from lft_ray.data.prepare import inspect

    source = Path(data)
    target = Path(output) if output else Path(f"{source.stem.lower()}.yaml")
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
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in source.stem.lower()).strip("-._") or "experiment"
    target.write_text(
        _TEMPLATE.format(
            name=name[:64],
            kind=kind,
            text=card.text_column,
            label=card.label_column,
            train=data,
            p95=p95,
            max_length=length,
        ),
        encoding="utf-8",
    )
    print_message(f"wrote {target}")
    next_command(f"lft check {target}")


@guarded
def check(
    file: Annotated[str, typer.Argument(help="Experiment file.", show_default=False)],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Check the data and print a data card with all problems. Exit code 2 if any of them is an error.

    Example: lft check experiments/news.yaml
    """
    from lft_ray import pipeline
    from lft_ray.cli.views import print_card
    from lft_ray.config import Experiment
    from lft_ray.data.prepare import inspect

    experiment = Experiment.load(file, overrides)
    pipeline.check(experiment)
    card = inspect(experiment.task, experiment.data)
    errors = [problem for problem in card.problems if problem.severity == "error"]
    decides = _decides(experiment, card)
    if as_json:
        print_json({**card.model_dump(mode="json"), "decides": decides and decides.model_dump(mode="json")})
    else:
        print_card(card, stdout())
        if decides is not None:
            stdout().print(f"decides: {decides.sentence}", markup=False, soft_wrap=True)
    if errors:
        print_message(f"error: {len(errors)} problem(s) must be fixed first")
        raise SystemExit(2)
    next_command(f"lft search {file}")


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
