"""Tasks with other columns than a text and a label go through the data stage with nothing but a class of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.prepare import inspect, prepare
from lft_ray.data.readers.read import read_inputs
from lft_ray.data.store import load_split
from lft_ray.errors import ConfigError, DataError
from lft_ray.records import DatasetRecord
from lft_ray.run.storage import Storage
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.columns import Column
from lft_ray.tasks.facts import Facts
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.rows import CleanRows, Repeats, Values

PAIRS, LENGTHS = (f"{__name__}:{name}" for name in ("Pairs", "Lengths"))


class Pairs(Classification):
    """Two texts with one label."""

    kind = PAIRS
    columns = (
        Column("text_a", ("text_a", "premise"), "text", "input"),
        Column("text_b", ("text_b", "hypothesis"), "text", "input"),
        Column("label", ("label",), "names", "truth"),
    )


class LongestAnswer(Facts):
    """Characters of the longest answer."""

    characters: int


class Lengths:
    """Questions with a text as truth, judged by nothing: only what the data stage asks for."""

    kind = LENGTHS
    columns = (
        Column("context", ("context",), "text", "input"),
        Column("question", ("question",), "text", "input"),
        Column("answer", ("answer",), "text", "truth"),
    )

    def __init__(self, facts: LongestAnswer) -> None:
        self.facts = facts

    @classmethod
    def allows_empty(cls) -> bool:
        return False

    @classmethod
    def learn(cls, train: Values) -> LongestAnswer:
        return LongestAnswer(characters=max(map(len, train["answer"]), default=0))

    @classmethod
    def of(cls, facts: LongestAnswer) -> Self:
        return cls(facts)

    @classmethod
    def identity(cls, values: Values) -> list[str]:
        return [" ? ".join(row) for row in zip(values["context"], values["question"], strict=True)]

    @classmethod
    def counts(cls, values: Values) -> dict[str, int]:
        return {"short": sum(len(answer) < 8 for answer in values["answer"])}

    @classmethod
    def report_missing(cls, table: Any, split: str, is_missing: Sequence[bool], findings: Findings) -> None:
        rows = [row for row, missing in enumerate(is_missing) if missing]
        if rows:
            findings.warning("no_answer", f"{len(rows)} rows of {split} have no answer", at=table.origin(rows[0]))

    @classmethod
    def unify(cls, rows: Mapping[str, CleanRows], findings: Findings) -> dict[str, CleanRows]:
        return dict(rows)

    @classmethod
    def check(cls, train: CleanRows, *, splits: int, findings: Findings) -> None:
        for row, (context, answer) in enumerate(zip(train.values["context"], train.values["answer"], strict=True)):
            if answer not in context:
                file, number = train.origin(row)
                findings.error("not_inside", f"{answer!r} is not in its context", file=file, row=number)

    @classmethod
    def check_other(cls, train: CleanRows, other: CleanRows, findings: Findings) -> None:
        pass

    @classmethod
    def check_repeats(cls, rows: CleanRows, repeats: Repeats, findings: Findings) -> int:
        return 0

    def check_split(self, rows: CleanRows, findings: Findings) -> None:
        pass

    def encode(self, values: Values) -> Any:
        return np.array([len(answer) for answer in values["answer"]], dtype=np.int64)

    def strata(self, values: Values) -> list[str]:
        return [""] * len(values["answer"])


def pairs(path: Path, count: int = 60) -> str:
    rows = [
        f"a cat sits {i},{'an animal' if i % 2 else 'a car'} is here {i},{'yes' if i % 2 else 'no'}\n"
        for i in range(count)
    ]
    path.write_text("premise,hypothesis,label\n" + "".join(rows))
    return str(path)


def questions(path: Path, count: int = 40, **changed: str) -> str:
    rows = [{"context": f"the code is k{i}", "question": "which code?", "answer": f"k{i}"} for i in range(count)]
    rows[3] |= changed
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def test_pairs_are_split_and_stored_by_role(tmp_path):
    spec = TaskSpec(kind=PAIRS)
    record = prepare(spec, DataSpec(train=pairs(tmp_path / "a.csv")), Storage(tmp_path / "run"))
    train = load_split(record, "train")
    assert list(train.inputs) == ["text_a", "text_b"]
    assert train.texts == list(zip(*(column.to_pylist() for column in train.inputs.values()), strict=True))
    three = replace(train, inputs={**train.inputs, "text_c": train.inputs["text_a"]})
    with pytest.raises(DataError, match="have the inputs text_a, text_b, text_c, expected one text or two"):
        _ = three.texts
    number = {text.rpartition(" ")[2] for text in train.inputs["text_a"].to_pylist()}
    assert number == {text.rpartition(" ")[2] for text in train.inputs["text_b"].to_pylist()}
    for text, target in zip(train.inputs["text_b"].to_pylist(), train.targets, strict=True):
        assert record.labels[target] == ("yes" if "animal" in text else "no")
    assert record.columns == {"text_a": "premise", "text_b": "hypothesis", "label": "label"}
    assert DatasetRecord.model_validate_json(record.model_dump_json()) == record
    assert {len(text) for text in record.sample_texts} == {2}
    assert list(read_inputs(str(tmp_path / "a.csv"), Pairs.columns)) == ["text_a", "text_b"]


def test_equal_pairs_are_repeats_and_halves_are_not(tmp_path):
    path = Path(pairs(tmp_path / "a.csv"))
    with path.open("a") as stream:
        stream.write("a cat sits 1,something new is here,yes\nA cat  sits 1,an animal is here 1,no\n")
    card = inspect(TaskSpec(kind=PAIRS), DataSpec(train=str(path)))
    assert (card.duplicates, card.conflicts) == (1, 1)
    assert not card.errors


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("premise,label\na,yes\n", "no_text_b_column", ["text_b", "--set task.columns.text_b=NAME"]),
        ("premise,hypothesis\na,b\n", "no_label_column", ["--set task.label=NAME"]),
        ("premise,hypothesis,label\n" + "a,,yes\n" * 9, "empty_text", ["the text_b is empty", "task.columns.text_b="]),
    ],
)
def test_messages_name_the_role(tmp_path, content, code, words):
    (tmp_path / "a.csv").write_text(content)
    card = inspect(TaskSpec(kind=PAIRS), DataSpec(train=str(tmp_path / "a.csv")))
    problem = next(problem for problem in card.errors if problem.code == code)
    assert all(word in problem.message + problem.fix for word in words), problem


def test_the_experiment_names_columns_by_role(tmp_path):
    data = DataSpec(train=pairs(tmp_path / "a.csv"))
    card = inspect(TaskSpec(kind=PAIRS, columns={"text_a": "hypothesis", "text_b": "premise"}), data)
    assert card.columns == {"text_a": "hypothesis", "text_b": "premise", "label": "label"}
    assert (card.text_column, card.label_column) == ("", "label")
    same = inspect(TaskSpec(kind=PAIRS, columns={"text_b": "premise"}), data)
    assert [problem.code for problem in same.errors] == ["same_column"]
    assert "task.columns.text_a and task.columns.text_b" in same.errors[0].fix


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": PAIRS, "text": "premise"}, "task.text is set, but task .* has no such column: text_a, text_b, label"),
        ({"kind": PAIRS, "columns": {"texta": "premise"}}, "Did you mean 'text_a'"),
        ({"columns": {"text": "premise"}, "text": "premise"}, "task.columns.text and task.text both name"),
    ],
)
def test_names_for_columns_that_the_task_does_not_have_are_refused(tmp_path, spec, message):
    with pytest.raises(ConfigError, match=message):
        inspect(TaskSpec(**spec), DataSpec(train=pairs(tmp_path / "a.csv")))


def test_a_task_without_labels_checks_and_counts_its_own_truth(tmp_path):
    data = DataSpec(train=questions(tmp_path / "a.parquet", answer=""))
    record = prepare(TaskSpec(kind=LENGTHS), data, Storage(tmp_path / "run"))
    assert (record.labels, record.text_column, record.label_column) == ([], "", "")
    assert record.columns == {"context": "context", "question": "question", "answer": "answer"}
    assert Lengths.of(LongestAnswer.model_validate(record.facts)).facts.characters == 3
    assert [(problem.code, problem.row) for problem in record.problems] == [("no_answer", 4)]
    rows = sum(split.rows for split in record.splits.values())
    assert (rows, sum(split.label_counts["short"] for split in record.splits.values())) == (39, 39)
    train = load_split(record, "train")
    assert list(train.inputs) == ["context", "question"]
    assert train.targets.tolist() == [len(text.rpartition(" ")[2]) for text in train.inputs["context"].to_pylist()]
    assert DatasetRecord.model_validate_json(record.model_dump_json()) == record
    card = inspect(TaskSpec(kind=LENGTHS), DataSpec(train=questions(tmp_path / "b.parquet", answer="elsewhere")))
    assert [(problem.code, problem.row) for problem in card.errors] == [("not_inside", 4)]
