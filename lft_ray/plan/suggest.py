"""Write an experiment for files of labelled text, and say what was chosen and why. In: files. Out: a `Suggestion`.

Everything that can be seen is measured: columns, kind and encoding by content, splits by names, length by the base's
own tokenizer, trials and minutes by rows x tokens and the speed of this machine, the margin by the rows that decide it.
Trains nothing, starts nothing, downloads nothing.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lft_ray.candidates import TaskRecord
from lft_ray.cluster.connect import ClusterHandle, this_machine
from lft_ray.config import DataSpec, ModelSpec, TaskSpec, TrainingSpec
from lft_ray.config.loader import inline
from lft_ray.cost.forecast import DEFAULT_RATES, rough_tokens
from lft_ray.data.beside import Files, find_files, run_name
from lft_ray.data.check import DataCard
from lft_ray.data.choose import PAIRS, Chosen, choose
from lft_ray.data.fit import TokenFit, fit_problems, token_fit
from lft_ray.data.prepare import inspect_rows, sample_texts
from lft_ray.data.readers.columnar import HUB_PREFIX
from lft_ray.data.readers.packed import open_binary
from lft_ray.data.readers.preview import Preview, preview
from lft_ray.errors import InputError
from lft_ray.models.sizes import model_sizes
from lft_ray.plan.serving_costs import matmul_flops_per_core_s
from lft_ray.search.confirm import max_seeds
from lft_ray.selection.power import power_of
from lft_ray.system.paths import resolve
from lft_ray.tasks.base import Head
from lft_ray.texts import whole

__all__ = ["Asked", "Suggestion", "minutes_of", "suggest"]

PAIR_ROLES = ("text_a", "text_b")
BASE = "minilm"
LAYERS = (1, 2, 3, 4, 6)
TRIALS = (24, 16, 12)
"""Numbers of trials, the first that fits `LONG_MINUTES`; below 12 every size is tried hardly twice."""
LONG_MINUTES = 120
MOST_MINUTES = 480
"""Deeper sizes are left out where the search would take longer."""
_ROUND = (5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 105, 120, 150, 180, 210, 240, 300, 360, 420, 480)
TRAINED_SHARE = 0.4
"""Share of the speed of one matrix product that a training step reaches: attention, norms and AdamW take the rest."""
FULL_SHARE = 0.6
"""Share of the trials that train all weights; the others are linear probes, a fifth as long at most."""
SEARCH_SHARE = 0.7
"""Share of the minutes before confirmation: 1 - selection.confirmation_fraction."""
IMBALANCE = 5.0
"""Rows of the most to those of the least frequent label above which balanced class weights are searched too. At 13:1
they moved macro-F1 by 2 to 6 points, in either direction."""
_LONG = {False: "cut", True: "read in several windows"}
LEAST_MARGIN, MOST_MARGIN = 0.005, 0.02
"""Half a point; two points: more F1 than a user gives up unasked, however few rows there are to decide it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user said; None where the files decide."""

    text: str | None = None
    label: str | None = None
    kind: str | None = None
    encoding: str | None = None
    name: str | None = None
    pair: tuple[str, str] | None = None
    """Columns of the two texts of pairs."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An experiment file, and what was chosen."""

    name: str
    content: str
    """The YAML text."""
    told: tuple[str, ...]
    """What was chosen and why, a line each."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """What the files show."""

    files: Files
    chosen: Chosen
    encoding: str
    encoding_told: str
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Effort:
    """How long a search may take."""

    trials: int
    minutes: int
    layers: tuple[int, ...]
    told: str


def suggest(given: Sequence[str], asked: Asked, *, speed: Callable[[], float] | None = None) -> Suggestion:
    """Write an experiment.

    Args:
        given: files, patterns, or one folder.
        asked: what the user said.
        speed: measures the FLOP/s of one core; None: a matrix product of a fraction of a second.

    Raises:
        InputError: the files cannot be read, or columns, encoding or splits are ambiguous; says what to give.
    """
    look = _hub(given, asked) if any(entry.startswith(HUB_PREFIX) for entry in given) else _look(given, asked)
    files, chosen, encoding = look.files, look.chosen, look.encoding
    roles = dict(zip(PAIR_ROLES, chosen.pair, strict=True)) if chosen.pair else dict(chosen.roles)
    label = None if chosen.roles else chosen.label
    task = TaskSpec(kind=chosen.kind, text=chosen.text, label=label, columns=roles)
    is_read_in_windows = TaskRecord.of(task.kind, None).head == "tokens"
    data = _data(files, encoding)
    read = inspect_rows(task, data)
    train = read.splits.get("train")
    texts = list(map(whole, sample_texts(train, seed=0))) if train is not None and len(train) else []
    fit = token_fit(texts, ModelSpec(base=BASE), 512)
    length, length_told = _length(texts, fit)
    fit = fit and token_fit(texts, ModelSpec(base=BASE), length)
    if fit:
        length_told += f"; {fit.truncated_share:.1%} of them are {_LONG[is_read_in_windows]}"
    mean = fit.tokens["mean"] if fit else sum(map(rough_tokens, texts)) / max(1, len(texts))
    effort = minutes_of(read.card.rows.get("train", 0), min(mean, length), this_machine(), speed or _speed)
    margin, margin_told = _margin(read.card, task)
    ratio = 1.0 if is_read_in_windows else _imbalance(read.card)
    name = run_name(asked.name) if asked.name else files.name
    problems = fit_problems([fit] if fit else [])
    lines = [
        *chosen.told,
        *files.told,
        *look.dropped,
        *([f"encoding: {encoding}, {look.encoding_told}"] if encoding != "utf-8" else []),
        f"max_length: {length}, {length_told}",
        f"trials: {effort.trials} in {effort.minutes} minutes, {effort.told}",
        f"margin: {margin:g}, {margin_told}",
        *([f"class_weights: none and balanced are tried, labels are {ratio:.0f}:1"] if ratio > IMBALANCE else []),
    ]
    told = {
        "length": length_told,
        "effort": effort.told,
        "margin": margin_told,
        "weights": f"labels are {ratio:.0f}:1, the most to the least frequent",
    }
    content = _yaml(name, task, data, length, effort, (margin, ratio), told)
    warnings = [f"{problem.message}; {problem.fix}" for problem in problems]
    if read.card.errors:
        warnings.append(f"{len(read.card.errors)} problem(s) of the data must be fixed first; lft check lists them")
    return Suggestion(name, content, tuple(lines), tuple(warnings))


def _look(given: Sequence[str], asked: Asked) -> _Look:
    files = find_files(given)
    seen = {entry: preview(resolve(entry), asked.encoding) for entry in files.train}
    chosen = choose(seen[files.train[0]], text=asked.text, label=asked.label, kind=asked.kind, pair=asked.pair)
    files, dropped = _usable(files, given, chosen, seen, asked)
    return _Look(files, chosen, *_one_encoding(seen), tuple(dropped))


def _hub(given: Sequence[str], asked: Asked) -> _Look:
    """A hub data set: its columns are found by their names."""
    kind = asked.kind or (PAIRS if asked.pair else "classification")
    named = dict(zip(PAIR_ROLES, asked.pair, strict=True)) if asked.pair else {}
    spec = TaskSpec(kind=kind, text=asked.text, label=asked.label, columns=named)
    card = inspect_rows(spec, DataSpec(train=list(given))).card
    if not all(card.columns.values()):
        told = "\n".join(problem.message for problem in card.errors) or f"{given[0]}: no text and label column found"
        options = "--text-a, --text-b" if kind == PAIRS else "--text"
        raise InputError(told, fix=f"name the columns with {options} and --label")
    name = run_name(re.split(r"[@:]", given[0].removeprefix(HUB_PREFIX))[0].rpartition("/")[2])
    told_columns = tuple(f"{role}: column {column!r}, by its name" for role, column in card.columns.items())
    pair = (card.columns[PAIR_ROLES[0]], card.columns[PAIR_ROLES[1]]) if kind == PAIRS else None
    chosen = Chosen(card.text_column or None, card.label_column, kind, told_columns, pair)
    return _Look(Files(list(given), [], [], name), chosen, "utf-8", "", ())


def minutes_of(rows: int, tokens: float, machine: ClusterHandle, speed: Callable[[], float]) -> _Effort:
    """How many trials in how many minutes, by what the middle configuration of each size would take.

    Args:
        rows: train rows.
        tokens: mean tokens per text, truncated.
        machine: cores and accelerators.
        speed: FLOP/s of one core; called where there is no accelerator.
    """
    training = TrainingSpec()
    on_gpu = machine.gpus_per_worker(training.resources) > 0
    if on_gpu:
        rate, device = DEFAULT_RATES["cuda"].flops_per_s, "an accelerator"
    else:
        measured = speed()
        rate, device = TRAINED_SHARE * measured, f"a core of this machine ({measured / 1e9:.0f} GFLOP/s)"
    slots = max(1, machine.slots(training))
    start_s = DEFAULT_RATES["cuda" if on_gpu else "cpu"].start_s

    def seconds(layers: int) -> float:
        [size] = model_sizes([ModelSpec(base=BASE, layers=[layers])])
        # Two epochs, 3 forward passes a step, and three validation passes over a tenth of the rows.
        return start_s + 6.3 * rows * size.flops_per_text(max(1, round(tokens))) / rate

    layers = list(LAYERS)
    trials, minutes = TRIALS[0], 0.0
    while True:
        for trials in TRIALS:
            mean = sum(map(seconds, layers)) / len(layers)
            minutes = 1.2 * FULL_SHARE * mean * -(-trials // slots) / 60 / SEARCH_SHARE
            # The deepest must end within the search, however the clock stands when it starts.
            minutes = max(minutes, 2.0 * seconds(layers[-1]) / 60 / SEARCH_SHARE)
            if minutes <= LONG_MINUTES:
                break
        if minutes <= MOST_MINUTES or len(layers) == 1:
            break
        layers.pop()
    rounded = next((step for step in _ROUND if step >= minutes), 60 * math.ceil(minutes / 60))
    told = (
        f"{BASE}:{layers[-1]} takes about {_duration(seconds(layers[-1]))} a trial of {rows:,} rows x {tokens:.0f} "
        f"tokens on {device}, {slots} at a time"
    )
    if minutes > LONG_MINUTES:
        told += "; --set data.max_rows=5000 gives a first answer sooner"
    left_out = [depth for depth in LAYERS if depth not in layers]
    if left_out:
        told += f"; {', '.join(map(str, left_out))} layers left out, {_duration(seconds(left_out[0]))} and more a trial"
    return _Effort(trials, rounded, tuple(layers), told)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _speed() -> float:
    return matmul_flops_per_core_s(seconds=0.05, repeats=3)


def _usable(
    files: Files, given: Sequence[str], chosen: Chosen, seen: dict[str, Preview], asked: Asked
) -> tuple[Files, list[str]]:
    """Leave out held-out files without labels, as competitions have them; a file that was named must have labels."""
    dropped: list[str] = []
    kept: dict[str, list[str]] = {"validation": [], "test": []}
    for split in kept:
        for entry in files.validation if split == "validation" else files.test:
            found = preview(resolve(entry), asked.encoding)
            names = {name.casefold(): values for name, values in found.columns.items()}
            missing = [name for name in chosen.columns if name.casefold() not in names]
            labels = names.get(chosen.label.casefold(), [])
            empty = not missing and not any(value not in (None, "", []) for value in labels)
            if not missing and not empty:
                kept[split].append(entry)
                seen[entry] = found
                continue
            why = f"has no column {missing[0]!r}" if missing else "has no labels"
            if entry in given:
                raise InputError(
                    f"{entry} {why}", fix=f"leave it out, or add it: {split} rows need {' and '.join(chosen.columns)}"
                )
            dropped.append(f"{split}: {entry} is left out, it {why}")
    return Files(files.train, kept["validation"], kept["test"], files.name, files.told), dropped


def _one_encoding(seen: Mapping[str, Preview]) -> tuple[str, str]:
    found = {entry: look for entry, look in seen.items() if look.encoding != "utf-8"}
    if not found:
        return "utf-8", ""
    entry, look = next(iter(found.items()))
    for other, its in seen.items():
        if its.encoding != look.encoding and not (its.encoding == "utf-8" and _is_ascii(its)):
            message = f"{entry} is {look.encoding} and {other} is {its.encoding}; an experiment has one encoding"
            raise InputError(message, fix="save the files in one encoding, best UTF-8")
    return look.encoding, look.encoding_told or "as you said"


def _is_ascii(look: Preview) -> bool:
    with open_binary(look.path) as stream:
        return all(line.isascii() for line in stream)


def _data(files: Files, encoding: str) -> DataSpec:
    def spec(entries: list[str]) -> str | list[str] | None:
        return None if not entries else entries[0] if len(entries) == 1 else entries

    return DataSpec(
        train=spec(files.train) or [], validation=spec(files.validation), test=spec(files.test), encoding=encoding
    )


def _length(texts: Sequence[str], fit: TokenFit | None) -> tuple[int, str]:
    if fit is not None:
        high = fit.tokens["p95"]
        source = f"your texts have {high:.0f} tokens of {BASE} at the 95th percentile"
    else:
        counts = sorted(map(rough_tokens, texts)) or [128.0]
        high = counts[min(len(counts) - 1, int(0.95 * len(counts)))]
        source = f"estimated: {BASE} is not on this machine; about {high:.0f} tokens at the 95th percentile"
    length = min(512, max(32, 32 * math.ceil(high / 32)))
    if high > length:
        source += f", more than {BASE} reads at once"
    return length, source


def _margin(card: DataCard, task: TaskSpec) -> tuple[float, str]:
    rows = card.rows.get("validation", 0)
    if not rows:
        return LEAST_MARGIN, "half a point of F1"
    power = power_of(
        card.label_counts.get("validation", {}),
        rows,
        task=TaskRecord.of(task.kind, task.metric),
        margin=LEAST_MARGIN,
        seeds=max_seeds(rows, None),
    )
    can = f"{rows:,} validation rows can decide about {100 * power.decidable:.1f} points of F1"
    margin = min(MOST_MARGIN, max(LEAST_MARGIN, math.ceil(power.decidable / LEAST_MARGIN) * LEAST_MARGIN))
    if power.decidable > margin:
        return margin, f"{can}: this margin stays undecided until there are more"
    return round(margin, 3), can


def _imbalance(card: DataCard) -> float:
    counts = list(card.label_counts.get("train", {}).values())
    return max(counts) / max(1, min(counts)) if counts else 1.0


def _yaml(
    name: str,
    task: TaskSpec,
    data: DataSpec,
    length: int,
    effort: _Effort,
    measured: tuple[float, float],
    told: Mapping[str, str],
) -> str:
    margin, ratio = measured
    record = TaskRecord.of(task.kind, task.metric)
    floor, method = _STARTS[record.head]
    wanted = {
        "kind": task.kind,
        **({"columns": task.columns} if task.columns else {"text": task.text}),
        **({"label": task.label} if task.label else {}),
        "metric": record.metric,
    }
    lines = [f"  train: {inline(data.train)}"]
    held = {"validation": data.validation, "test": data.test}
    lines += [f"  {key}: {inline(value)}" for key, value in held.items() if value is not None]
    if data.encoding != "utf-8":
        lines.append(f"  encoding: {inline(data.encoding)}")
    missing = [key for key, value in held.items() if value is None]
    if missing:
        shares = ", ".join([*(f"{key}: 0.1" for key in missing), "seed: 0"])
        lines.append(
            f"  split: {{{shares}}}   # cut from train; give data.validation / data.test instead when you have them"
        )
    weights = f"\n  class_weights: [none, balanced]            # {told['weights']}" if ratio > IMBALANCE else ""
    return _TEMPLATE.format(
        name=inline(name),
        task=inline(wanted),
        data="\n".join(lines),
        floor=floor,
        method=method,
        base=BASE,
        layers=inline(list(effort.layers)),
        weights=weights,
        length=length,
        length_told=told["length"],
        trials=effort.trials,
        minutes=effort.minutes,
        effort_told=told["effort"],
        margin=f"{margin:g}",
        margin_told=told["margin"],
    )


_STARTS: Mapping[Head, tuple[str, str]] = {
    "vector": (
        "{base: tfidf}                            # n-grams and logistic regression: the baseline",
        "[full, linear_probe]               # all weights; or the head alone, one forward pass",
    ),
    "tokens": (
        "{base: overlap}                          # words shared with the question: the baseline",
        "[full]                             # all weights",
    ),
}
"""What the head reads -> lines of the baseline and of the training methods."""

_TEMPLATE = """\
# Written by `lft init`. `lft env --schema` describes every key.
name: {name}

task: {task}

data:
{data}

models:
  - {floor}
  - {{base: {base}, layers: {layers}}}  # model size = base x number of layers; `lft env --models` lists bases

training:
  method: {method}
  learning_rate: {{low: 3.0e-5, high: 1.0e-3, log: true}}
  batch_size: [16, 32, 64]
  epochs: [1, 2, 3]{weights}
  max_length: {length}                            # {length_told}

# {effort_told}
search: {{trials: {trials}, minutes: {minutes}, seed: 0}}
cost: {{price: this_machine, traffic: {{requests_per_month: 10_000_000, p95_ms: null}}}}
# margin: {margin_told}
selection: {{policy: cheapest_within, margin: {margin}, confirmation_fraction: 0.3}}
serve: {{host: 127.0.0.1, port: 8000, autoscaling: {{min_replicas: 1, max_replicas: 4}}}}
storage: runs
"""
