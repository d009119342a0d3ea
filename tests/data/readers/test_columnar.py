"""Parquet and hub data sets."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.data.readers.preview import preview
from lft_ray.data.readers.read import read_table
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel
from lft_ray.tasks.rows import RawTable


def read(path: Path, table: pa.Table, task: type = Classification) -> RawTable:
    pq.write_table(table, path)
    return read_table(str(path), task=task)


def with_features(table: pa.Table, feature: object) -> pa.Table:
    info = {"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, "label": feature}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(info)})


def codes(table: RawTable) -> list[tuple[str, str]]:
    return [(problem.severity, problem.code) for problem in table.problems]


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array(["x", None]), [["x"], []]),
        (pa.array([0, 1]), [["0"], ["1"]]),
        (pa.array([True, False]), [["true"], ["false"]]),
        (pa.array([0.5, 1.5]), [["0.5"], ["1.5"]]),
        (pa.array(["x", "y"]).dictionary_encode(), [["x"], ["y"]]),
        (pa.array([None, None]), [[], []]),
    ],
)
def test_label_types(tmp_path, column, names):
    table = read(tmp_path / "a.parquet", pa.table({"text": ["a", "b"], "label": column}))
    assert (table.values["label"], table.problems) == (names, [])
    assert table.origin(1) == (str(tmp_path / "a.parquet"), 2)


def test_class_numbers_become_class_names(tmp_path):
    feature = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    table = pa.table({"text": ["a", "b", "c", "d"], "label": [1, 0, -1, None]})
    assert read(tmp_path / "a.parquet", with_features(table, feature)).values["label"] == [["pos"], ["neg"], [], []]


@pytest.mark.parametrize("wrap", [lambda f: {"feature": f, "_type": "Sequence"}, lambda f: [f]])
def test_lists_of_class_numbers(tmp_path, wrap):
    feature = wrap({"names": ["neg", "pos"], "_type": "ClassLabel"})
    table = pa.table({"text": ["a", "b"], "label": [[1, 0], []]})
    assert read(tmp_path / "a.parquet", with_features(table, feature), Multilabel).values["label"] == [
        ["pos", "neg"],
        [],
    ]


def test_lists_of_names(tmp_path):
    table = pa.table({"text": ["a", "b", "c"], "labels": [["x", "y"], [], None]})
    assert read(tmp_path / "a.parquet", table, Multilabel).values["label"] == [["x", "y"], [], []]


def test_types_that_are_no_text_or_label(tmp_path):
    lists = pa.table({"text": [["a"], ["b"]], "label": ["x", "y"]})
    assert codes(read(tmp_path / "a.parquet", lists)) == [("error", "text_type")]
    structs = pa.table({"text": ["a", "b"], "label": [{"x": 1}, {"x": 2}]})
    assert codes(read(tmp_path / "b.parquet", structs)) == [("error", "label_type")]
    numbers = read(tmp_path / "c.parquet", pa.table({"text": [1, 2], "label": ["x", "y"]}))
    assert (numbers.values["text"], codes(numbers)) == (["1", "2"], [("warning", "numeric_text")])


def test_cut_off_file(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    assert codes(read_table(str(path), task=Classification)) == [("error", "damaged_file")]
    path.write_text("text,label\na,b\n")
    assert codes(read_table(str(path), task=Classification)) == [("error", "damaged_file")]


def test_wrong_extension_is_read_with_a_warning(tmp_path):
    table = read(tmp_path / "a.csv", pa.table({"text": ["a"], "label": ["x"]}))
    assert (table.values["text"], codes(table)) == (["a"], [("warning", "wrong_extension")])


def test_empty_table(tmp_path):
    table = pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})
    assert codes(read(tmp_path / "a.parquet", table)) == [("error", "no_rows")]


def test_real_data(shared_dir):
    table = read_table(str(shared_dir / "data" / "goemotions" / "dev.parquet"), task=Multilabel)
    assert (len(table.values["text"]), table.names["label"], table.problems) == (5426, "labels", [])


def test_hub_name_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    table = read_table("hub:nobody-at-all/no-such-data", task=Classification)
    assert codes(table) == [("error", "hub")]
    assert table.problems[0].fix


def test_hub_name_that_is_none():
    assert codes(read_table("hub:a b c", task=Classification)) == [("error", "hub")]


def test_hub_data_set_through_its_library(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    # The library takes a folder for a hub data set of the same name: the same code path without a network.
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    source = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    (tmp_path / "owner" / "pets" / "data").mkdir(parents=True)
    source.to_parquet(tmp_path / "owner" / "pets" / "data" / "train-00000.parquet")
    table = read_table("hub:owner/pets", task=Classification)
    assert (table.values["text"], table.values["label"], table.problems) == (["a", "b"], [["pos"], ["neg"]], [])
    assert list(table.files) == ["hub:owner/pets#train"]
    missing = read_table("hub:owner/pets", task=Classification, hub_split="test")
    assert codes(missing) == [("error", "hub")]


NAN = float("nan")


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_nan_is_a_missing_label_and_whole_floats_are_whole_numbers(tmp_path, kind):
    labels = pa.array([0.0, 1.0, NAN, None], pa.float64()).cast(kind)
    table = read(tmp_path / "a.parquet", pa.table({"text": list("abcd"), "label": labels}))
    assert table.values["label"] == [["0"], ["1"], [], []]
    assert codes(table) == [("warning", "nan_label"), ("warning", "float_label_column")]
    assert [problem.row for problem in table.problems] == [3, None]


def test_nan_does_not_hide_fractions(tmp_path):
    table = read(tmp_path / "a.parquet", pa.table({"text": list("abc"), "label": [0.5, NAN, 1.0]}))
    assert table.values["label"] == [["0.5"], [], ["1"]] or table.values["label"] == [["0.5"], [], ["1.0"]]
    assert codes(table) == [("warning", "nan_label")]


def test_infinite_labels_are_an_error_with_their_rows(tmp_path):
    table = read(tmp_path / "a.parquet", pa.table({"text": list("abc"), "label": [0.0, float("inf"), float("-inf")]}))
    assert [(problem.code, problem.row) for problem in table.problems] == [("infinite_label", 2), ("infinite_label", 3)]


def test_nan_is_a_missing_text(tmp_path):
    table = read(tmp_path / "a.parquet", pa.table({"text": [1.5, NAN], "label": ["x", "y"]}))
    assert table.values["text"] == ["1.5", ""]


@pytest.mark.parametrize(
    "labels", [pa.array([[0, 1], [1, 0]], pa.list_(pa.int8(), 2)), pa.array([[0.0, 1.0], [1.0, 1.0]])]
)
@pytest.mark.parametrize("task", [Classification, Multilabel])
def test_vectors_are_refused(tmp_path, labels, task):
    table = read(tmp_path / "a.parquet", pa.table({"text": ["a", "b"], "label": labels}), task)
    assert codes(table) == [("error", "label_vector")]
    assert not table.truth_is_read


NAMES = [["x"], None, ["y", "z"]]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        pa.large_list(pa.dictionary(pa.int8(), pa.string())),
        pa.list_view(pa.string()),
        pa.large_list_view(pa.string()),
        pa.list_(pa.string_view()),
    ],
    ids=str,
)
def test_every_kind_of_list_of_names_is_read_with_all_rows(tmp_path, kind):
    table = read(
        tmp_path / "a.parquet", pa.table({"text": ["a", "b", "c"], "label": pa.array(NAMES, kind)}), Multilabel
    )
    assert (table.values["label"], table.problems) == ([["x"], [], ["y", "z"]], [])


def test_bytes_are_read_as_utf8_with_a_warning(tmp_path):
    table = read(tmp_path / "a.parquet", pa.table({"text": ["ä".encode(), b"b"], "label": [b"x", None]}))
    assert (table.values["text"], table.values["label"]) == (["ä", "b"], [["x"], []])
    assert codes(table) == [("warning", "binary_column")] * 2


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    for column in ("text", "label"):
        data = {"text": ["a", "b"], "label": ["x", "y"], column: [b"\xff\xfe", b"b"]}
        assert codes(read(tmp_path / "a.parquet", pa.table(data))) == [("error", "binary_column")]


@pytest.mark.parametrize(
    "metadata",
    ["not json", "[1]", '{"info": 1}', '{"info": {"features": [1]}}', '{"info": {"features": {"label": {}}}}'],
)
def test_metadata_that_others_wrote_is_no_metadata(tmp_path, metadata):
    table = pa.table({"text": ["a", "b"], "label": [0, 1]}).replace_schema_metadata({"huggingface": metadata})
    assert read(tmp_path / "a.parquet", table).values["label"] == [["0"], ["1"]]
    assert preview(tmp_path / "a.parquet").columns["label"] == [0, 1]
    nameless = with_features(pa.table({"text": ["a", "b"], "label": [0, 1]}), {"_type": "ClassLabel"})
    assert read(tmp_path / "b.parquet", nameless).values["label"] == [["0"], ["1"]]


@pytest.mark.parametrize(("labels", "task"), [([0, 1, 2], Classification), ([[0], [], [1, 2]], Multilabel)])
def test_class_numbers_without_a_name_are_an_error_with_their_rows(tmp_path, labels, task):
    feature = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    feature = feature if task is Classification else [feature]
    (problem,) = read(
        tmp_path / "a.parquet", with_features(pa.table({"text": ["a", "b", "c"], "label": labels}), feature), task
    ).problems
    assert (problem.code, problem.row, problem.severity) == ("class_number", 3, "error")
    assert "the class number is 2, but the file names 2 classes" in problem.message


def test_padded_column_names_are_seen(tmp_path):
    pq.write_table(pa.table({"text ": ["a"], " label": ["x"]}), tmp_path / "a.parquet")
    assert preview(tmp_path / "a.parquet").columns == {"text": ["a"], "label": ["x"]}
