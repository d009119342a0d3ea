"""The data stage end to end: files in, record and Arrow files out."""

import json
from pathlib import Path

import numpy as np
import pytest

from lft_ray.config import DataSpec, SplitSpec, TaskSpec
from lft_ray.data.prepare import check_unchanged, inspect, prepare, sample_texts
from lft_ray.data.store import load_split
from lft_ray.errors import ConfigError, DataError
from lft_ray.records import DatasetRecord
from lft_ray.run.storage import Storage
from tests.data.conftest import pets


def test_record_and_splits(pets_record):
    record = DatasetRecord.model_validate_json(pets_record.model_dump_json())
    assert record == pets_record
    assert {name: split.rows for name, split in record.splits.items()} == {"train": 160, "validation": 20, "test": 20}
    assert (record.labels, record.text_column, record.label_column) == (["cat", "dog"], "text", "label")
    assert record.carved == {"validation": 0.1, "test": 0.1}
    assert sum(split.label_counts["cat"] for split in record.splits.values()) == 100
    assert set(record.words_quantiles) == {"p50", "p95", "p99", "max"}
    assert sorted(record.sample_texts) == sorted(load_split(record, "train").texts)


def test_rows_keep_their_text_target_and_number(pets_record):
    source = pets(200)
    seen = []
    for name in pets_record.splits:
        split = load_split(pets_record, name)
        assert (split.row_ids.dtype, split.targets.dtype, len(split)) == (np.uint32, np.int64, len(split.texts))
        assert (np.diff(split.row_ids.astype(int)) > 0).all()
        for text, target, row in zip(split.texts, split.targets, split.row_ids, strict=True):
            assert source[row] == (text, pets_record.labels[target])
        seen += split.row_ids.tolist()
    assert sorted(seen) == list(range(200))


def test_fingerprint_follows_the_data(tmp_path, write_csv):
    def fingerprint(rows: list[tuple[str, str]], **data: object) -> str:
        spec = DataSpec(train=write_csv("a.csv", rows), **data)
        return prepare(TaskSpec(), spec, Storage(tmp_path / "run")).fingerprint

    first = fingerprint(pets(100))
    assert first == fingerprint(pets(100))
    other_label = [*pets(99), (pets(100)[99][0], "cat")]
    different = [
        fingerprint(pets(101)),
        fingerprint(other_label),
        fingerprint(pets(100), split=SplitSpec(seed=1)),
        fingerprint([(text, label.upper()) for text, label in pets(100)]),
    ]
    assert len({first, *different}) == 5


def test_given_splits_are_not_carved(tmp_path, write_csv):
    spec = DataSpec(
        train=write_csv("a.csv", pets(100)),
        validation=write_csv("v.csv", pets(30, 1000)),
        test=write_csv("t.csv", pets(40, 2000)),
    )
    record = prepare(TaskSpec(), spec, Storage(tmp_path / "run"))
    assert {name: split.rows for name, split in record.splits.items()} == {"train": 100, "validation": 30, "test": 40}
    assert record.carved == {}
    assert len(record.source_files) == 3


def test_columns_found_in_train_are_those_of_every_split(tmp_path, write_csv):
    train = tmp_path / "a.csv"
    train.write_text("title,label\n" + "".join(f"{text},{label}\n" for text, label in pets(100)))
    held = tmp_path / "v.csv"
    held.write_text("text,title,label\n" + "".join(f"x,{text},{label}\n" for text, label in pets(20, 1000)))
    record = prepare(TaskSpec(), DataSpec(train=str(train), validation=str(held)), Storage(tmp_path / "run"))
    assert load_split(record, "validation").texts == [text for text, _ in pets(20, 1000)]


def test_no_test_split_unless_configured(tmp_path, write_csv):
    spec = DataSpec(train=write_csv("a.csv", pets(100)), split=SplitSpec(validation=0.2, test=0))
    record = prepare(TaskSpec(), spec, Storage(tmp_path / "run"))
    assert {name: split.rows for name, split in record.splits.items()} == {"train": 80, "validation": 20}
    with pytest.raises(DataError, match="no split 'test'"):
        load_split(record, "test")


def test_max_rows_samples_before_carving(tmp_path, write_csv):
    spec = DataSpec(train=write_csv("a.csv", pets(1000)), test=write_csv("t.csv", pets(50, 2000)), max_rows=100)
    record = prepare(TaskSpec(), spec, Storage(tmp_path / "run"))
    assert {name: split.rows for name, split in record.splits.items()} == {"train": 90, "validation": 10, "test": 50}
    assert record.splits["train"].label_counts == {"cat": 45, "dog": 45}


def test_max_rows_too_small_for_the_labels(write_csv):
    rows = [(f"text {i}", f"label {i % 30}") for i in range(600)]
    card = inspect(TaskSpec(), DataSpec(train=write_csv("a.csv", rows), max_rows=20))
    assert {problem.code for problem in card.errors} == {"split_too_small"}


def test_multilabel(tmp_path):
    path = tmp_path / "a.jsonl"
    names = [["joy"], ["joy", "fear"], [], ["fear"]]
    rows = [{"text": f"text {i}", "labels": names[i % 4]} for i in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = prepare(TaskSpec(kind="multilabel"), DataSpec(train=str(path)), Storage(tmp_path / "run"))
    split = load_split(record, "train")
    assert (split.targets.dtype, split.targets.shape) == (np.float32, (160, 2))
    for target, row in zip(split.targets, split.row_ids, strict=True):
        assert [record.labels[i] for i in np.flatnonzero(target)] == sorted(names[row % 4])


def test_bad_data_is_refused_before_anything_is_written(tmp_path, write_csv):
    with pytest.raises(DataError, match="at least 3 are needed") as error:
        prepare(TaskSpec(), DataSpec(train=write_csv("a.csv", [*pets(60), ("x", "fish")])), Storage(tmp_path / "run"))
    assert error.value.exit_code == 2
    assert error.value.fix
    assert not (tmp_path / "run").exists()


def test_unknown_task(write_csv):
    with pytest.raises(ConfigError, match="clasification"):
        inspect(TaskSpec(kind="clasification"), DataSpec(train=write_csv("a.csv", pets(100))))


def test_changed_files_are_refused(pets_record):
    check_unchanged(pets_record)
    path = Path(next(iter(pets_record.source_files)))
    path.write_text(path.read_text() + "one more,cat\n")
    with pytest.raises(DataError, match="has changed"):
        check_unchanged(pets_record)
    path.unlink()
    with pytest.raises(DataError, match="is gone"):
        check_unchanged(pets_record)


def test_sample_texts_have_the_lengths_of_the_data(tmp_path, write_csv):
    generator = np.random.default_rng(0)
    lengths = np.exp(generator.normal(3, 1, size=4000)).astype(int) + 1
    rows = [(f"{i} " + "w " * int(n), ("a", "b")[i % 2]) for i, n in enumerate(lengths)]
    spec = DataSpec(train=write_csv("a.csv", rows))
    record = prepare(TaskSpec(), spec, Storage(tmp_path / "run"))
    train = load_split(record, "train")
    assert len(record.sample_texts) == 512
    assert np.mean([len(t) for t in record.sample_texts]) == pytest.approx(
        np.mean([len(t) for t in train.texts]), rel=0.03
    )
    assert record.sample_texts != sorted(record.sample_texts, key=len)


def test_sample_of_few_texts(write_csv):
    from lft_ray.data.clean import clean
    from lft_ray.data.readers.read import read_table
    from lft_ray.tasks.classification import Classification
    from lft_ray.tasks.findings import Findings

    table = read_table(write_csv("a.csv", pets(5)), task=Classification)
    rows = clean(table, "train", task=Classification, findings=Findings())
    assert sorted(sample_texts(rows, seed=0)) == sorted(rows.values["text"])
    assert len(sample_texts(rows, seed=0, count=2)) == 2


@pytest.mark.real_data
def test_real_news(shared_dir, tmp_path):
    folder = shared_dir / "data" / "ag_news"
    spec = DataSpec(train=str(folder / "train.parquet"), test=str(folder / "test.parquet"), max_rows=4000)
    record = prepare(TaskSpec(), spec, Storage(tmp_path / "run"))
    assert record.labels == ["Business", "Sci/Tech", "Sports", "World"]
    assert {name: split.rows for name, split in record.splits.items()} == {
        "train": 3600, "validation": 400, "test": 7600,
    }  # fmt: skip
    assert record.problems == []


def test_splits_that_leave_no_train_rows_are_refused(tmp_path, write_csv):
    path = write_csv("rows.csv", pets(60))
    halves = SplitSpec(validation=0.5, test=0.5)
    with pytest.raises(DataError, match="cuts 100% of the rows off train"):
        prepare(TaskSpec(), DataSpec(train=str(path), split=halves), Storage(tmp_path / "run"))
    given = DataSpec(train=str(path), test=str(path), split=halves, allow_overlap=True)
    assert inspect(TaskSpec(), given).rows["train"] == 30
