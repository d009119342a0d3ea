"""The model card: what a bundle contains, its measured quality and cost, and how to use it.

In: `CardFacts`. Out: Markdown with a YAML header. Never contains texts of the data or secrets: only the facts passed.
"""

import json
from collections.abc import Mapping

import yaml
from pydantic import Field

from lft_ray.records import Interval, Record
from lft_ray.records.panels import Panel, PanelColumn
from lft_ray.wire import PAIR_TEXTS, PredictionKind, wire_input

__all__ = ["CardFacts", "CardSubject", "render_card"]


class CardFacts(Record):
    """Contents of the card beyond the metadata of the bundle. Empty and None fields are omitted."""

    name: str
    """Name of the run."""
    base_model: str = ""
    """Hub id, folder or ladder name of the base; empty for models fitted from the data alone."""
    base_revision: str = ""
    """Resolved commit or package version of the base."""
    base_licence: str = ""
    training: str = ""
    """Training method, such as the teacher of a distilled model; empty for plain fine-tuning."""
    metric: str = "macro_f1"
    validation: dict[str, float] = Field(default_factory=dict)
    """Metrics on the validation split, at the served precision and length."""
    test: dict[str, float] = Field(default_factory=dict)
    """Metrics on the test split, which the search never reads."""
    test_rows: int = 0
    panels: list[Panel] = Field(default_factory=list)
    """Tables of the task; matrices are left to the report."""
    train_rows: int = 0
    data_fingerprint: str = ""
    usd_per_million_predictions: float | None = None
    price: str = ""
    """Row of the price sheet that the cost is based on."""
    p95_ms: float | None = None
    serving_note: str = ""
    """How the precision was checked, or why the bundle is served in another way than the winner."""
    validation_interval: Interval | None = None
    """95% interval of ``metric`` on the validation split."""
    test_interval: Interval | None = None
    """95% interval of ``metric`` on the test split."""
    policy: str = ""
    reason: str = ""
    """One sentence on why this model was chosen."""
    remarks: list[str] = Field(default_factory=list)
    """Further sentences on the choice: what was not compared, test against validation."""
    verdict: str = ""
    """What can be claimed about the choice, in words."""
    made_with: str = ""
    """Package versions, such as ``lft-ray 0.1.0, torch 2.13.0``."""


class CardSubject(Record):
    """Metadata of the bundle."""

    task_kind: str
    labels: list[str]
    engine: str
    precision: str
    model_size: str
    max_length: int
    segments: int = 1
    """Texts of one input: 2 for pairs, and for a question with its context."""
    answers: PredictionKind = "labels"
    """What its predictions consist of."""

    @property
    def describes(self) -> str:
        """What kind of model it is."""
        return {"labels": "Text classifier", "spans": "Extractive question answering"}[self.answers]


def render_card(subject: CardSubject, facts: CardFacts) -> str:
    """Return the card as Markdown."""
    parts = [
        f"---\n{_header(subject, facts)}---\n",
        f"# {_plain(facts.name)}\n",
        _summary(subject, facts),
        _section("Model", _model_rows(subject, facts)),
        _section("Measured", _measured_rows(facts)),
        _tables(subject, facts),
        _section("Data", _data_rows(facts)),
        _USE.format(inputs=_inputs(subject), response=_RESPONSES[subject.answers]),
    ]
    return "\n".join(part for part in parts if part)


def _summary(subject: CardSubject, facts: CardFacts) -> str:
    count = len(subject.labels)
    labels = f" with {count} label{'' if count == 1 else 's'}" if subject.answers == "labels" else ""
    opening = f"{subject.describes} ({subject.task_kind}){labels}."
    sentences = " ".join(_plain(sentence) for sentence in [facts.reason, *facts.remarks])
    return f"{opening} {sentences}".strip() + "\n"


def _header(subject: CardSubject, facts: CardFacts) -> str:
    # One line a value: a line break would let a value end the header.
    header: dict[str, object] = {
        "pipeline_tag": {"labels": "text-classification", "spans": "question-answering"}[subject.answers],
        "library_name": "lft-ray",
        "license": " ".join(facts.base_licence.split()),
        "base_model": " ".join(facts.base_model.split()),
        "metrics": {"labels": ["f1", "accuracy"], "spans": ["f1", "exact_match"]}[subject.answers],
        "tags": [subject.engine, subject.precision, subject.model_size],
    }
    filled = {key: value for key, value in header.items() if value}
    return yaml.safe_dump(filled, sort_keys=False, allow_unicode=True)


def _model_rows(subject: CardSubject, facts: CardFacts) -> list[tuple[str, str]]:
    base = facts.base_model and f"{facts.base_model} at {facts.base_revision or 'unknown revision'}"
    return [
        ("Model size", subject.model_size),
        ("Base model", base),
        ("Licence of the base", facts.base_licence),
        ("Trained", facts.training),
        ("Engine, precision", f"{subject.engine}, {subject.precision}"),
        ("Serving", facts.serving_note),
        ("Maximum length, tokens", str(subject.max_length)),
        ("Chosen by", facts.policy),
        ("Verdict", facts.verdict),
        ("Made with", facts.made_with),
    ]


def _measured_rows(facts: CardFacts) -> list[tuple[str, str]]:
    splits = [
        (f"test, {facts.test_rows} rows", facts.test, facts.test_interval),
        ("validation", facts.validation, facts.validation_interval),
    ]
    rows = [
        (f"{name} ({split})", f"{value:.4f}" + (_ends(ends) if name == facts.metric else ""))
        for split, values, ends in splits
        for name, value in values.items()
    ]
    if facts.usd_per_million_predictions is not None:
        price = f" ({facts.price})" if facts.price else ""
        rows.append(("USD per million predictions", f"{facts.usd_per_million_predictions:.4g}{price}"))
    if facts.p95_ms is not None:
        rows.append(("p95 latency, ms", f"{facts.p95_ms:.1f}"))
    return rows


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})"


def _data_rows(facts: CardFacts) -> list[tuple[str, str]]:
    return [
        ("Train rows", str(facts.train_rows) if facts.train_rows else ""),
        ("Fingerprint", facts.data_fingerprint),
    ]


MOST_ROWS = 40
"""Rows of a table that the card shows unfolded."""


def _tables(subject: CardSubject, facts: CardFacts) -> str:
    """The tables of the task; without any, the names of its labels."""
    tables = [panel for panel in facts.panels if not panel.is_matrix]
    if not tables and subject.labels:
        return _foldable("Labels", len(subject.labels), "\n".join(f"- {_plain(label)}" for label in subject.labels))
    return "\n".join(_foldable(panel.title, len(panel.rows), _table(panel)) for panel in tables)


def _table(panel: Panel) -> str:
    lines = [f"| {' | '.join(_heading(column) for column in panel.columns)} |", "|---" * len(panel.columns) + "|"]
    for row in panel.rows:
        cells = [_cell(column, value) for column, value in zip(panel.columns, row, strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _heading(column: PanelColumn) -> str:
    return _plain(column.name if column.name == "F1" else column.name.lower())


def _cell(column: PanelColumn, value: str | int | float) -> str:
    return f"{value:.3f}" if column.kind == "score" else _plain(str(value))


def _foldable(title: str, count: int, table: str) -> str:
    """A section; a long table is folded, with its number of rows as the line that is shown."""
    if count > MOST_ROWS:
        table = f"<details>\n<summary>{count} {title.lower()}</summary>\n\n{table}\n\n</details>"
    return f"## {title}\n\n{table}\n"


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"| {name} | {_plain(value)} |" for name, value in rows if value]
    return "\n".join([f"## {title}\n", "| | |", "|---|---|", *lines]) + "\n" if lines else ""


def _plain(text: str) -> str:
    """Escape a text so that it cannot leave its table cell or become markup: labels come from the user's files."""
    flat = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def _inputs(subject: CardSubject) -> str:
    if subject.segments != PAIR_TEXTS:
        return '"some text"'
    first, second = ("a question", "its context") if subject.answers == "spans" else ("a first text", "a second text")
    return json.dumps(wire_input((first, second), subject.answers))


_RESPONSES: Mapping[PredictionKind, str] = {
    "labels": "text-classification format: for each text a list of labels with scores, best first",
    "spans": (
        "question-answering format: the answer, its score, and the characters of the context at which it starts and "
        "ends; an empty\nanswer says that the context has none"
    ),
}
_USE = """## Use

```bash
lft deploy PATH_OF_THIS_FOLDER
curl -s http://127.0.0.1:8000/ -H 'Content-Type: application/json' -d '{{"inputs": {inputs}}}'
```

The response is in Hugging Face's {response}.
`manifest.json` holds the SHA-256 of every file, and a changed bundle is refused.
"""
