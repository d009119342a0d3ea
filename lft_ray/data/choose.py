"""Choose the text and the label column of a file by what they hold. In: a `Preview`. Out: `Chosen`, or an error.

Text: words, long, hardly repeated. Label: few values, short, repeated. Names decide only between columns that could
both be it, and whether two columns of text are a pair; where they do not, the candidates are listed and none is taken.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lft_ray.data.choose_questions import QUESTIONS, question_columns
from lft_ray.data.pair_names import named_pair
from lft_ray.data.readers.preview import Preview
from lft_ray.errors import InputError, nearest
from lft_ray.tasks import classification, multilabel
from lft_ray.tasks.columns import TEXT_NAMES
from lft_ray.tasks.labels.separators import joined_names

__all__ = ["Chosen", "choose"]

_NUMBER = re.compile(r"^[-+]?(\d+([.,]\d+)?|\.\d+)([eE][-+]?\d+)?%?$")
_DATE = re.compile(r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}.*)?$|^\d{1,2}:\d{2}(:\d{2})?$")
_WORDS = re.compile(r"[^\W\d_]\S*\s+\S*[^\W\d_]|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{2}")
"""Two words, or two letters of a script that is written without spaces."""
_SPLITS = {"train", "training", "test", "dev", "val", "valid", "validation", "eval", "unsupervised"}
_GENERIC = ("label", "labels", "class", "classes", "target", "targets", "y")
"""Names that mean the label whatever else the file holds; topic or sentiment could each be one of two labels."""
_DWARFED = 3.0
"""A column of texts this many times shorter than another is not chosen for its name: a title beside the story."""
_FAR_LONGER = 4.0
PAIRS = "pairs"
LEAST_CHARACTERS = 15
"""Mean length from which values that come back are sentences and no names of labels."""
MOST_OF_CLEAR, MOST_OF_LIKELY = 20, 5
"""Most values of the label of a pair, where the names of the columns mean one, and where they might."""
MOST_LABELS = 2000
MOST_NUMBERS = 30
"""Most different numbers that are labels: stars and grades are, years and counts are not."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The columns, and what to say of the choice."""

    text: str | None
    """None of pairs."""
    label: str
    kind: str
    """classification, multilabel, pairs or question_answering."""
    told: tuple[str, ...]
    """Sentences for people: what was chosen and why."""
    pair: tuple[str, str] | None = None
    """Columns of the first and the second text of pairs."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Role -> column, of a task with neither a text nor a label; the last is its truth, and ``label`` too."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that a file must have."""
        return tuple(self.roles.values()) or (*(self.pair or (str(self.text),)), self.label)


@dataclass(frozen=True)
class _Column:
    name: str
    values: Sequence[Any]

    @cached_property
    def filled(self) -> list[Any]:
        return [value for value in self.values if value is not None and str(value).strip() and value != []]

    @cached_property
    def is_list(self) -> bool:
        lists = [value for value in self.filled if isinstance(value, list)]
        return bool(lists) and all(isinstance(item, str | int) for value in lists for item in value)

    @cached_property
    def counts(self) -> Counter[str]:
        if self.is_list:
            rows = (value if isinstance(value, list) else [value] for value in self.filled)
            return Counter(str(item) for row in rows for item in row)
        return Counter(str(value).strip() for value in self.filled)

    @cached_property
    def chars(self) -> float:
        return sum(len(str(value)) for value in self.filled) / max(1, len(self.filled))

    def share(self, test: Callable[[str], object]) -> float:
        return sum(bool(test(str(value))) for value in self.filled) / max(1, len(self.filled))

    @cached_property
    def is_number(self) -> bool:
        return not self.is_list and all(_NUMBER.match(value) for value in self.counts)

    @cached_property
    def is_text(self) -> bool:
        if self.is_list or self.is_number or any(isinstance(value, dict | list) for value in self.filled[:50]):
            return False
        # Few and repeated is a label, however many words its names have.
        return self.share(_WORDS.search) >= 0.3 and len(self.counts) > max(2, 0.2 * len(self.filled))

    @cached_property
    def is_repeated_text(self) -> bool:
        """Sentences that come back, as a question does with each of its answers."""
        if self.is_list or self.is_number or any(isinstance(value, dict | list) for value in self.filled[:50]):
            return False
        return self.share(_WORDS.search) >= 0.3 and len(self.counts) > 2 and self.chars >= LEAST_CHARACTERS

    @cached_property
    def is_word(self) -> bool:
        """Single words, hardly repeated and without digits: texts where nothing else is."""
        bare = self.share(lambda value: value.replace("'", "").replace("-", "").isalpha())
        return not self.is_list and bare > 0.9 and len(self.counts) > 0.3 * len(self.filled)

    @cached_property
    def is_label(self) -> bool:
        different, rows = len(self.counts), len(self.filled)
        if not 2 <= different <= MOST_LABELS or any(isinstance(value, dict) for value in self.filled[:50]):
            return False
        names = {name.casefold() for name in self.counts}
        if names <= _SPLITS or all(_DATE.match(name) for name in self.counts):
            return False
        if self.is_number and (different > MOST_NUMBERS or any(map(_fraction, names))):
            return False
        if sum(map(len, names)) / different > 80:
            return False
        # Combinations of several labels repeat less than labels do.
        repeated = 0.5 if rows < 50 else 0.2
        return different <= repeated * rows or (self.joined and different <= 0.6 * rows)

    @cached_property
    def joined(self) -> bool:
        """Whether cells hold several labels, joined by commas or written as lists."""
        names = list(self.counts)
        listed = sum(name.startswith("[") and name.endswith("]") for name in names) > len(names) / 2
        return listed or next((found.mark for found in joined_names(names, several=False)), "") == ","

    @property
    def kind(self) -> str:
        if self.is_list:
            return "multilabel" if any(isinstance(v, list) and len(v) != 1 for v in self.values) else "classification"
        return "multilabel" if self.joined else "classification"

    @property
    def sight(self) -> str:
        example = next(iter(self.counts), "")[:40]
        return f"{self.name!r} ({len(self.counts):,} different in {len(self.filled):,} rows, such as {example!r})"


def _fraction(number: str) -> float:
    return float(number.strip("%").replace(",", ".")) % 1


def choose(
    found: Preview,
    *,
    text: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    pair: tuple[str, str] | None = None,
) -> Chosen:
    """Choose the columns of a file.

    Args:
        found: the file.
        text: name of the text column; None: the one that holds text.
        label: name of the label column; None: the one that holds labels.
        kind: classification, multilabel, pairs or question_answering; None: as texts and labels look.
        pair: columns of the two texts of pairs; None: by their names, unless ``text`` is given.

    Raises:
        InputError: a named column is missing, none fits, or several do; says which option decides.
    """
    columns = [_Column(name, values) for name, values in found.columns.items()]
    if len(columns) < 2:
        listed = ", ".join(repr(column.name[:60]) for column in columns) or "none"
        fix = "one column for the text and one for its label are needed; is the delimiter a comma (.csv) or tab (.tsv)?"
        raise InputError(f"{found.path}: columns found: {listed}", fix=fix)
    if kind == QUESTIONS or not (text or label or kind or pair):
        questions = _choose_questions(found, asked=kind == QUESTIONS)
        if questions is not None:
            return questions
    _check_header(found, columns)
    if pair is not None or (text is None and kind in (None, PAIRS)):
        chosen = _choose_pair(found, columns, pair, label, asked=kind == PAIRS)
        if chosen is not None:
            return chosen
    text_column = _named(found, columns, text, "text") if text else None
    label_column = _named(found, columns, label, "label") if label else None
    rest = [column for column in columns if column not in (text_column, label_column)]
    text_told = label_told = "as you said"
    if text_column is None:
        text_column, text_told = _choose_text(found, rest)
    if label_column is None:
        label_column, label_told = _choose_label(found, [column for column in rest if column != text_column])
    if text_column == label_column:
        raise InputError(f"text and label are both column {text_column.name!r}", fix="name two columns")
    seen = kind or label_column.kind
    told = (
        f"text: column {text_column.name!r}, {text_told}; about {text_column.chars:.0f} characters a text",
        f"label: column {label_column.name!r}, {label_told}; {len(label_column.counts):,} different values",
        *((f"kind: {seen}, since rows have several labels",) if kind is None and seen == "multilabel" else ()),
    )
    return Chosen(text_column.name, label_column.name, seen, told)


def _choose_questions(found: Preview, *, asked: bool) -> Chosen | None:
    roles = question_columns(found.columns)
    if roles is None:
        if not asked:
            return None
        names = ", ".join(map(repr, found.columns))
        fix = "name the columns question, context and answers, or write task.columns in the experiment file"
        raise InputError(f"{found.path}: no question, context and answers that are pieces of it among {names}", fix=fix)
    question, context, answers = roles.values()
    told = f"kind: {QUESTIONS}; question: column {question!r}, context: column {context!r}, answers: column {answers!r}"
    return Chosen(None, answers, QUESTIONS, (f"{told}, whose texts are pieces of the context",), roles=roles)


def _choose_pair(
    found: Preview, columns: Sequence[_Column], pair: tuple[str, str] | None, label: str | None, *, asked: bool
) -> Chosen | None:
    """The columns of pairs of texts; None where the file has none, unless they were asked for."""
    label_column = _named(found, columns, label, "label") if label else None
    rest = [column for column in columns if column is not label_column]
    if pair is not None:
        first, second = (_named(found, columns, name, f"text-{side}") for name, side in zip(pair, "ab", strict=True))
        why = "as you said"
        if first is second or label_column in (first, second):
            raise InputError("two of the texts and the label are one column", fix="name three columns")
    else:
        texts = [column for column in rest if column.is_text or column.is_word or column.is_repeated_text]
        named = named_pair([column.name for column in texts])
        if named is not None:
            first, second = (next(c for c in texts if c.name == name) for name in (named.first, named.second))
            why = "a pair by their names (--text chooses one of them alone)"
        elif asked and len(texts) == 2:
            (first, second), why = texts, "the only two that hold text"
        elif asked:
            few = "fewer than two columns hold text" if len(texts) < 2 else "several columns hold text"
            raise _undecided(found, "text-a and --text-b", few, texts or rest)
        else:
            return None
    label_told = "as you said"
    if label_column is None:
        others = [column for column in rest if column not in (first, second)]
        if not asked and pair is None and not any(column.is_label for column in others):
            return None  # the second text may be the label: the choice of a single text says what is missing
        label_column, label_told = _choose_label(found, others)
    values = len(label_column.counts)
    if not asked and pair is None and named is not None:
        # Beside a topic of many values, a reply or a second question is a remark on the text.
        most = MOST_OF_CLEAR if named.is_clear else MOST_OF_LIKELY
        if values > most:
            return None
    told = (
        f"kind: {PAIRS}; text_a: column {first.name!r}, text_b: column {second.name!r}, {why}",
        f"label: column {label_column.name!r}, {label_told}; {values:,} different values",
    )
    return Chosen(None, label_column.name, PAIRS, told, (first.name, second.name))


def _check_header(found: Preview, columns: Sequence[_Column]) -> None:
    # A file without a header line: its first row gives the names, and one of them is a label of other rows.
    for column in columns:
        if column.is_label and not column.is_list and column.counts.get(column.name, 0) > 1:
            message = f"{found.path}: the first line has {column.name!r}, which is also a value of that column"
            fix = "add a line with the names of the columns, such as text,label"
            raise InputError(f"{message}: the header is missing", fix=fix)


def _named(found: Preview, columns: Sequence[_Column], name: str, what: str) -> _Column:
    for same in (str, str.casefold):
        hits = [column for column in columns if same(column.name) == same(name)]
        if len(hits) == 1:
            return hits[0]
    names = [column.name for column in columns]
    listed = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    message = f"{found.path} has no column {name!r}; it has {listed}.{nearest(name, names)}"
    raise InputError(message, fix=f"--{what} NAME")


def _choose_text(found: Preview, columns: Sequence[_Column]) -> tuple[_Column, str]:
    texts = [column for column in columns if column.is_text] or [column for column in columns if column.is_word]
    if not texts:
        usual = next((c for name in TEXT_NAMES for c in columns if c.name.casefold() == name and c.filled), None)
        if usual is not None and not usual.is_list:
            return usual, "by its name"
        raise _undecided(found, "text", "no column looks like text", columns)
    if len(texts) == 1:
        return texts[0], "the only one that holds text"
    longest = max(column.chars for column in texts)
    usual = next((c for name in TEXT_NAMES for c in texts if c.name.casefold() == name), None)
    others = ", ".join(repr(column.name) for column in texts if column is not usual)
    if usual is not None and usual.chars * _DWARFED >= longest:
        return usual, f"by its name (text too: {others}; --text chooses another)"
    first, second = sorted(texts, key=lambda column: -column.chars)[:2]
    if usual is None and first.chars >= _FAR_LONGER * second.chars and second.chars < 40:
        return first, f"by far the longest ({second.name!r} holds words too; --text chooses another)"
    raise _undecided(found, "text", "several columns hold text", texts)


def _choose_label(found: Preview, columns: Sequence[_Column]) -> tuple[_Column, str]:
    labels = [column for column in columns if column.is_label]
    if not labels:
        raise _undecided(found, "label", "no column looks like a label (few values, each repeated)", columns)
    if len(labels) == 1:
        return labels[0], "the only one with few values that repeat"
    named = {column.name.casefold(): column for column in labels}
    generic = next((named[name] for name in _GENERIC if name in named), None)
    names = dict.fromkeys((*classification.LABEL_NAMES, *multilabel.LABEL_NAMES))
    usual = [named[name] for name in names if name in named]
    chosen = generic or (usual[0] if len(usual) == 1 else None)
    if chosen is not None:
        return chosen, f"by its name (others could be: {_others(labels, chosen)}; --label chooses one)"
    if all(_says_the_same(labels[0], other) for other in labels[1:]):
        readable = next((column for column in labels if not column.is_number), labels[0])
        return readable, f"{_others(labels, readable)} says the same in other words"
    raise _undecided(found, "label", "several columns could be the label", labels)


def _others(columns: Sequence[_Column], chosen: _Column) -> str:
    return ", ".join(repr(column.name) for column in columns if column is not chosen)


def _says_the_same(one: _Column, other: _Column) -> bool:
    pairs = {(str(a), str(b)) for a, b in zip(one.values, other.values, strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _undecided(found: Preview, what: str, why: str, columns: Sequence[_Column]) -> InputError:
    listed = "".join(f"\n    {column.sight}" for column in columns[:12])
    more = f"\n    and {len(columns) - 12} more" if len(columns) > 12 else ""
    if " and " in what:
        return InputError(f"{found.path}: {why}:{listed}{more}", fix=f"name them with --{what}")
    example = next((column.name for column in columns), "NAME")
    return InputError(f"{found.path}: {why}:{listed}{more}", fix=f"name it with --{what}, such as --{what} {example!r}")
