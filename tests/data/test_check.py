"""The catalogue of bad data: each entry is found, placed, and stops the run or is counted."""

import pytest

from lft_ray.config import DataSpec, SplitSpec, TaskSpec
from lft_ray.data.check import DataCard
from lft_ray.data.prepare import inspect
from lft_ray.errors import DataError
from lft_ray.tasks.findings import Findings, raise_on_errors
from tests.data.conftest import pets


def card(train: str, kind: str = "classification", **data: object) -> DataCard:
    return inspect(TaskSpec(kind=kind), DataSpec(train=train, **data))


def found(shown: DataCard) -> dict[str, tuple[str, int | None, int]]:
    return {problem.code: (problem.severity, problem.row, problem.count) for problem in reversed(shown.problems)}


def test_good_data_has_no_problem(write_csv):
    shown = card(write_csv("a.csv", pets(200)))
    assert shown.problems == []
    assert shown.rows == {"train": 160, "validation": 20, "test": 20}
    assert shown.carved == {"validation": 0.1, "test": 0.1}
    assert shown.label_counts["test"] == {"cat": 10, "dog": 10}


def test_one_label(write_csv):
    shown = card(write_csv("a.csv", [(text, "cat") for text, _ in pets(60)]))
    assert found(shown)["one_label"][0] == "error"
    assert card(write_csv("b.csv", [(text, "") for text, _ in pets(60)])).errors


def test_label_with_too_few_rows(write_csv):
    rows = [*pets(100), ("a fish", "fish"), ("A  FISH", "fish"), ("another fish", "fish")]
    assert found(card(write_csv("a.csv", rows)))["label_too_few_rows"] == ("error", 102, 1)
    # Without a test split to carve, two different texts are enough.
    shown = card(write_csv("b.csv", rows), split=SplitSpec(test=0))
    assert shown.errors == []
    assert found(shown)["label_few_rows"][0] == "warning"


@pytest.mark.parametrize(
    ("labels", "code"),
    [(["0.5", "1.0", "1.5"], "float_label"), ([str(i) for i in range(100)], "too_many_labels")],
)
def test_numbers_and_ids_are_no_labels(write_csv, labels, code):
    rows = [(text, labels[i % len(labels)]) for i, (text, _) in enumerate(pets(100))]
    assert found(card(write_csv("a.csv", rows)))[code][0] == "error"


def test_whole_numbers_are_labels_in_their_order(write_csv):
    shown = card(write_csv("a.csv", [(text, f"{i % 11}.0") for i, (text, _) in enumerate(pets(220))]))
    assert shown.errors == []
    shown = card(write_csv("b.csv", [(text, str(i % 11)) for i, (text, _) in enumerate(pets(220))]))
    assert shown.errors == []


def test_labels_unseen_in_train(write_csv):
    shown = card(write_csv("a.csv", pets(100)), validation=write_csv("v.csv", [*pets(20, 1000), ("a fish", "fish")]))
    assert found(shown)["unseen_label"] == ("error", 22, 1)


def test_labels_missing_in_a_given_split(write_csv):
    shown = card(write_csv("a.csv", pets(100)), validation=write_csv("v.csv", pets(20, 1000)[::2]))
    assert found(shown)["label_missing_in_split"][0] == "warning"


def test_empty_texts(write_csv):
    rows = pets(100)
    shown = card(write_csv("a.csv", [*rows, (" \t", "cat"), ("", "dog")]))
    assert found(shown)["empty_text"] == ("warning", 102, 2)
    assert shown.dropped == {"train": 2}
    shown = card(write_csv("b.csv", rows + [("", "cat")] * 40))
    assert found(shown)["empty_text"] == ("error", 102, 1)
    assert [p.count for p in shown.errors] == [1, 1, 1, 37]


def test_empty_labels(write_csv):
    rows = pets(300)
    assert found(card(write_csv("a.csv", [*rows, ("x", ""), ("y", " ")])))["empty_label"] == ("warning", 302, 2)
    assert found(card(write_csv("b.csv", [*rows, *[(f"x{i}", "") for i in range(4)]])))["empty_label"][0] == "error"


def test_missing_value_words_are_labels(write_csv):
    rows = [(text, ("NA", "None")[i % 2]) for i, (text, _) in enumerate(pets(100))]
    assert card(write_csv("a.csv", rows)).label_counts["test"] == {"NA": 5, "None": 5}


def test_repeats_and_conflicts(write_csv):
    rows = [*pets(100), ("Cat  purrs  0", "cat"), ("cat purrs 0", "dog")]
    shown = card(write_csv("a.csv", rows))
    assert (shown.duplicates, shown.conflicts) == (2, 1)
    assert found(shown)["duplicate_text"] == ("warning", 102, 2)
    assert found(shown)["conflicting_labels"] == ("warning", 103, 1)


def test_overlap_between_splits(write_csv):
    train = write_csv("a.csv", pets(400))
    few = write_csv("v.csv", [*pets(200, 1000), ("CAT purrs 0", "cat")])
    shown = card(train, validation=few)
    assert (shown.overlaps, found(shown)["overlap"]) == ({"validation": 1}, ("warning", 202, 1))
    many = write_csv("w.csv", pets(200, 300))
    assert found(card(train, validation=many))["overlap"] == ("error", 2, 1)
    assert found(card(train, validation=many, allow_overlap=True))["overlap"] == ("warning", 2, 100)


def test_test_rows_in_validation(write_csv):
    held = write_csv("v.csv", pets(50, 1000))
    shown = card(write_csv("a.csv", pets(100)), validation=held, test=held)
    assert shown.overlaps == {"validation": 0, "test": 50}
    assert found(shown)["overlap"][0] == "error"


def test_imbalance_and_few_rows(write_csv):
    rows = [(f"cat {i}", "cat") for i in range(400)] + [(f"dog {i}", "dog") for i in range(12)]
    assert found(card(write_csv("a.csv", rows)))["imbalance"][0] == "warning"
    assert found(card(write_csv("b.csv", pets(40))))["few_rows"] == ("warning", None, 40)


def test_spelling_of_labels(write_csv):
    rows = pets(200) + [(f"x {i}", "Cat") for i in range(30)]
    shown = card(write_csv("a.csv", rows))
    assert found(shown)["label_spelling"] == ("warning", 202, 30)
    rows = [(text, {"cat": "sports", "dog": "business"}[label]) for text, label in pets(200)]
    shown = card(write_csv("b.csv", rows + [(f"x {i}", "sport") for i in range(4)]))
    assert "'sport' (4 rows) is spelt nearly like 'sports'" in next(
        p.message for p in shown.problems if p.code == "label_spelling"
    )
    # Two frequent labels one letter apart, and numbers, are left alone.
    rows = [(text, {"cat": "rest", "dog": "test"}[label]) for text, label in pets(200)]
    assert card(write_csv("c.csv", rows)).problems == []


def test_odd_characters(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [f'{{"text": "{text}", "label": "{label}"}}' for text, label in pets(100)]
    lines += ['{"text": "half \\ud83d pair", "label": "cat"}', '{"text": "zero \\u0000 in", "label": "dog"}']
    lines += [
        '{"text": "whole \\ud83d\\ude00 pair", "label": "cat"}',
        '{"text": "\u05e9\u05dc\u05d5\u05dd", "label": "cat"}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    shown = card(str(path))
    assert {code: row for code, (_, row, _) in found(shown).items()} == {"surrogate": 101, "nul": 102}
    assert shown.errors == []


def test_text_of_a_megabyte(write_csv):
    shown = card(write_csv("a.csv", [*pets(100), ("x" * 1_000_001, "cat")]))
    assert found(shown)["long_text"] == ("error", 102, 1)


def test_multilabel_rows_may_have_no_label(write_csv):
    rows = [(text, ("a", "b", "a,b", "")[i % 4]) for i, (text, _) in enumerate(pets(200))]
    shown = card(write_csv("a.csv", rows), kind="multilabel")
    assert shown.problems == []
    assert sum(shown.label_counts["train"].values()) == pytest.approx(160, abs=3)
    only = [(text, ("a", "")[i % 2]) for i, (text, _) in enumerate(pets(200))]
    assert card(write_csv("b.csv", only), kind="multilabel").errors == []
    assert found(card(write_csv("c.csv", [(t, "a") for t, _ in rows]), kind="multilabel"))["one_label"][0] == "error"


def test_labels_joined_by_another_mark(write_csv):
    rows = [(text, ("a;b", "b;c", "c")[i % 3]) for i, (text, _) in enumerate(pets(90))]
    assert found(card(write_csv("a.csv", rows), kind="multilabel"))["label_separator"] == ("warning", 2, 2)


def test_one_error_of_all(write_csv, tmp_path):
    bad = tmp_path / "v.csv"
    bad.write_text("text,label\nshort\nx,fish\n")
    shown = card(write_csv("a.csv", [*pets(100), ("one fish", "bird")]), validation=str(bad))
    with pytest.raises(DataError) as error:
        raise_on_errors(shown.problems)
    told = str(error.value)
    assert "v.csv:2: the row has 1 fields" in told
    assert "v.csv:3: label 'fish' of validation is not in train" in told
    assert "a.csv:102: label 'bird'" in told
    assert told.startswith("3 problems in the data")
    assert told.count("fix:") == 4


def test_a_single_error_is_raised_without_a_list():
    findings = Findings()
    findings.warning("w", "not told")
    raise_on_errors(findings.problems)
    findings.error("e", "it is bad", file="a.csv", row=3, fix="mend it")
    with pytest.raises(DataError) as error:
        raise_on_errors(findings.problems)
    assert str(error.value) == "a.csv:3: it is bad\n  fix: mend it"
