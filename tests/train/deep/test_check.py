"""The deep check on small data with known errors, read by TF-IDF and by a tiny network."""

import random

import pytest

from lft_ray.config import DataSpec, ModelSpec, TaskSpec
from lft_ray.data.prepare import Inspected, inspect_rows
from lft_ray.train.deep import features
from lft_ray.train.deep.check import DeepReport, deep_check

TOPICS = {
    "sport": ["goal", "match", "team", "coach", "league", "cup", "player", "score", "win", "season"],
    "money": ["bank", "shares", "profit", "market", "loan", "trade", "price", "tax", "budget", "stock"],
    "space": ["rocket", "orbit", "planet", "moon", "star", "probe", "launch", "crew", "comet", "dust"],
}


def rows_of(count: int, flips: int, seed: int = 0) -> tuple[list[tuple[str, str]], dict[int, str]]:
    """Rows of three topics, and the true label of each flipped one by its line."""
    generator = random.Random(seed)
    names, rows, truth = list(TOPICS), [], {}
    for number in range(count):
        topic = names[number % 3]
        rows.append((" ".join(generator.choices(TOPICS[topic], k=8)) + f" {number}", topic))
    for number in generator.sample(range(count), flips):
        truth[number + 2] = rows[number][1]
        rows[number] = (rows[number][0], generator.choice([name for name in names if name != rows[number][1]]))
    return rows, truth


def write(path, rows) -> str:
    path.write_text("text,label\n" + "".join(f'"{text}","{label}"\n' for text, label in rows), encoding="utf-8")
    return str(path)


def inspected(path, rows, kind="classification") -> Inspected:
    return inspect_rows(TaskSpec(kind=kind), DataSpec(train=write(path, rows)))


def report_of(found: Inspected, models=(), seed=0) -> DeepReport:
    return deep_check(found.splits, found.task, list(models), max_length=32, seed=seed)


@pytest.fixture
def without_network(monkeypatch):
    monkeypatch.setattr(features, "_PREFERRED", "./no-such-base")


def test_flips_are_found_by_tfidf_where_there_is_no_network(tmp_path, without_network):
    rows, truth = rows_of(240, 12)
    report = report_of(inspected(tmp_path / "a.csv", rows))
    assert report.features == "TF-IDF"
    assert "no network" in report.note
    likely = {one.row: one.suggested for one in report.suspects if one.certainty == "likely"}
    assert likely.items() <= truth.items()
    assert len(likely) >= 10
    assert {one.row: one.suggested for one in report.suspects[:12]} == truth
    first = report.suspects[0]
    assert (first.file, first.text, first.label) == (str(tmp_path / "a.csv"), *rows[first.row - 2])
    assert [one.score for one in report.suspects] == sorted((one.score for one in report.suspects), reverse=True)


def test_the_same_seed_gives_the_same_report(tmp_path, without_network):
    found = inspected(tmp_path / "a.csv", rows_of(60, 3)[0])
    assert report_of(found) == report_of(found)
    assert report_of(found, seed=1).seed == 1


def test_right_labels_are_not_accused(tmp_path, without_network):
    report = report_of(inspected(tmp_path / "a.csv", rows_of(240, 0)[0]))
    assert report.suspects == []


def test_a_network_of_the_experiment_is_read_beside_tfidf(tmp_path, tiny_bert):
    rows, truth = rows_of(90, 4)
    report = report_of(inspected(tmp_path / "a.csv", rows), [ModelSpec(base="tfidf"), ModelSpec(base=str(tiny_bert))])
    assert report.features.startswith(str(tiny_bert))
    assert report.features.endswith("and TF-IDF")
    assert report.note == ""
    assert set(truth) & {one.row for one in report.suspects}


def test_rare_labels_are_not_judged_and_named(tmp_path, without_network):
    rows = rows_of(120, 0)[0] + [(f"an odd text of its own {number}", "rare") for number in range(4)]
    report = report_of(inspected(tmp_path / "a.csv", rows))
    assert report.not_judged == ["rare"]
    assert "rare" not in {name for one in report.suspects for name in (one.label, one.suggested)}


def test_several_labels(tmp_path, without_network):
    rows, truth = rows_of(240, 0)[0], {}
    for number in (30, 60, 90, 120):
        truth[number + 2] = rows[number][1]
        rows[number] = (rows[number][0], f"{rows[number][1]},space" if rows[number][1] != "space" else "")
    report = report_of(inspected(tmp_path / "a.csv", rows, kind="multilabel"))
    assert truth.items() <= {one.row: one.suggested for one in report.suspects}.items()
    assert len(report.suspects) < 20


def test_near_duplicates_across_splits_are_leaks(tmp_path, without_network):
    rows = rows_of(150, 0)[0]
    held_out = [(f"{text} indeed", label) for text, label in rows[:3]]
    held_out += [(f"new {text.split()[0]} words {number}", label) for number, (text, label) in enumerate(rows[3:30])]
    data = DataSpec(
        train=write(tmp_path / "a.csv", [*rows, (f"{rows[9][0]} too", "space")]),
        test=write(tmp_path / "t.csv", held_out),
    )
    found = inspect_rows(TaskSpec(), data)
    report = report_of(found)
    assert report.leaked["test"] == 3
    leaks = {(one.row, one.other_row) for one in report.near_duplicates if one.file.endswith("t.csv")}
    assert leaks == {(2, 2), (3, 3), (4, 4)}
    assert report.conflicting == 1
    assert DeepReport.model_validate_json(report.model_dump_json()) == report


def pair_rows(count: int) -> list[tuple[str, str, str]]:
    generator = random.Random(1)
    rows = []
    for number in range(count):
        topic = list(TOPICS)[number % 3]
        other = topic if number % 2 else list(TOPICS)[(number + 1) % 3]
        words = [" ".join(generator.choices(TOPICS[name], k=6)) for name in (topic, other)]
        rows.append((f"{words[0]} {number // 4}", words[1], "same" if number % 2 else "other"))
    return rows


def test_texts_that_splits_share_are_counted_by_side(tmp_path, without_network):
    header = "text_a,text_b,label\n"
    rows = pair_rows(120)
    held = [(first, f"quite another partner {n}", label) for n, (first, _, label) in enumerate(rows[:20])]
    held += [(f"not yet seen here {n}", f"nor was this one {n}", "same") for n in range(20)]
    for name, table in (("a", rows), ("b", held)):
        (tmp_path / f"{name}.csv").write_text(header + "".join(",".join(one) + "\n" for one in table))
    spec = DataSpec(train=str(tmp_path / "a.csv"), validation=str(tmp_path / "b.csv"), split={"test": 0.0})
    found = inspect_rows(TaskSpec(kind="pairs"), spec)
    report = report_of(found)
    assert report.shared == {"validation": {"text_a": 20, "text_b": 0}}
    assert report_of(inspected(tmp_path / "c.csv", rows_of(60, 3)[0])).shared == {}


def test_pairs_are_read_side_by_side_by_a_network(tmp_path, tiny_bert):
    (tmp_path / "a.csv").write_text("text_a,text_b,label\n" + "".join(",".join(one) + "\n" for one in pair_rows(120)))
    found = inspect_rows(TaskSpec(kind="pairs"), DataSpec(train=str(tmp_path / "a.csv")))
    report = report_of(found, [ModelSpec(base=str(tiny_bert))])
    assert report.rows == 120
    assert "TF-IDF" in report.features
    assert report.features != "TF-IDF"


def test_pairs_that_a_probe_cannot_tell_apart_accuse_no_label(tmp_path, without_network):
    generator = random.Random(2)
    words = [word for topic in TOPICS.values() for word in topic]
    rows = []
    for number in range(60):
        for label in ("yes", "no"):
            rows.append((f"question {number}", f"{' '.join(generator.choices(words, k=6))} {len(rows)}", label))
    (tmp_path / "a.csv").write_text("text_a,text_b,label\n" + "".join(",".join(one) + "\n" for one in rows))
    found = inspect_rows(TaskSpec(kind="pairs"), DataSpec(train=str(tmp_path / "a.csv")))
    report = report_of(found)
    assert report.suspects == []
    assert "accuses none" in report.note
