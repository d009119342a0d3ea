"""Batch prediction: one prediction per row, resumed after an interruption, with errors that name the problem."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.engines.batching import run_sorted
from lft_ray.errors import DataError, InputError
from lft_ray.export import batch_predict as module
from lft_ray.export.batch_predict import predict_file
from lft_ray.export.bundle import ExportPlan, export_bundle, open_bundle
from lft_ray.export.card import CardFacts
from lft_ray.models.tfidf import TfidfModel
from lft_ray.run.storage import Storage
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel

LABELS = ["food", "sea", "sky"]
WORDS = {"food": "bread soup salt", "sea": "wave boat fish", "sky": "cloud star wind"}


def make_bundle(folder: Path, kind, repeats: int = 6) -> Path:
    task = kind(LABELS)
    texts = [f"{word} {n}" for n in range(repeats) for words in WORDS.values() for word in words.split()]
    names = [[label] for _ in range(repeats) for label, words in WORDS.items() for _ in words.split()]
    (folder / "trained").mkdir(parents=True)
    TfidfModel.fit(texts, task.encode({"label": names}), task, 0, max_length=64).save(folder / "trained")
    plan = ExportPlan(
        precision="fp32", task_kind=task.kind, labels=LABELS, samples=["bread", "wave"], card=CardFacts(name="x")
    )
    return Path(export_bundle(folder / "trained", plan, Storage(folder), "bundle").uri)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("single"), Classification)


@pytest.fixture
def rows(tmp_path) -> Path:
    """25 rows, the text in a column of its own name, with a comma, a line break and an empty text among them."""
    words = [word for words in WORDS.values() for word in words.split()]
    texts = [f'the "{words[n % 9]}", line\nbreak {n}' for n in range(24)] + [""]
    pq.write_table(pa.table({"id": range(25), "body": texts}), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)


def test_predict_file_gives_every_row_the_prediction_of_the_bundle(bundle, rows, tmp_path, small_parts):
    seen = []
    done = predict_file(bundle, str(rows), str(tmp_path / "out.parquet"), progress=lambda *a: seen.append(a[:2]))
    assert (done.rows, done.resumed_rows, done.engine) == (25, 0, "sklearn")
    assert done.rows_per_s > 0
    assert seen == [(7, 25), (14, 25), (21, 25), (25, 25)]
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["row", "text", "label", "score", "scores"]
    assert table["row"].to_pylist() == list(range(25))
    texts = table["text"].to_pylist()
    assert texts == pq.read_table(rows)["body"].to_pylist()
    opened = open_bundle(bundle)
    expected = opened.task().probabilities(run_sorted(opened.open_runner(), texts))
    np.testing.assert_allclose(np.array(table["scores"].to_pylist()[:24]), expected[:24], atol=1e-6)
    assert table["label"].to_pylist() == [*(LABELS[i] for i in expected[:24].argmax(axis=1)), None]
    np.testing.assert_allclose(table["score"].to_numpy()[:24], expected[:24].max(axis=1), atol=1e-6)
    # The last row has no text: it keeps its place, without a label.
    assert (done.blank_rows, table["score"][24].as_py(), table["scores"][24].as_py()) == (1, None, None)
    assert json.loads(table.schema.metadata[b"labels_json"]) == LABELS
    assert table.schema.metadata[b"labels"].decode().split("\n") == LABELS
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.parquet", "rows.parquet"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_other_formats_give_the_same(bundle, rows, tmp_path, suffix):
    import csv

    texts = pq.read_table(rows)["body"].to_pylist()
    path = tmp_path / f"rows{suffix}"
    if suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter="," if suffix == ".csv" else "\t")
            writer.writerows([("body", "label"), *((text, "") for text in texts)])
    else:
        objects = [{"body": text, "id": n} for n, text in enumerate(texts)]
        path.write_text(json.dumps(objects) if suffix == ".json" else "\n".join(map(json.dumps, objects)))
    first = predict_file(bundle, str(rows), str(tmp_path / "a.parquet"))
    predict_file(bundle, str(path), str(tmp_path / "b.parquet"), text="body")
    assert first.rows == 25
    assert pq.read_table(tmp_path / "a.parquet").equals(pq.read_table(tmp_path / "b.parquet"))


def test_an_interrupted_call_continues_after_the_last_part(bundle, rows, tmp_path, small_parts):
    output = str(tmp_path / "out.parquet")

    def stop(done, rows, rate):
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(bundle, str(rows), output, progress=stop)
    assert not Path(output).exists()
    parts = sorted(Path(f"{output}.parts").glob("part-*"))
    assert len(parts) == 2
    written = [part.stat().st_mtime_ns for part in parts]
    seen = []

    def check(done, rows, rate):
        seen.append(done)
        assert [part.stat().st_mtime_ns for part in parts] == written

    done = predict_file(bundle, str(rows), output, progress=check)
    assert (done.rows, done.resumed_rows, seen) == (25, 14, [21, 25])
    assert pq.read_table(output)["row"].to_pylist() == list(range(25))
    predict_file(bundle, str(rows), str(tmp_path / "whole.parquet"))
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "whole.parquet"))


def test_parts_of_another_job_are_refused(bundle, rows, tmp_path, small_parts):
    output = str(tmp_path / "out.parquet")

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(bundle, str(rows), output, progress=stop)
    other = make_bundle(tmp_path / "other", Classification, repeats=9)
    with pytest.raises(InputError, match="parts of another input, text column or bundle"):
        predict_file(other, str(rows), output)
    pq.write_table(pq.read_table(rows).slice(0, 20), rows)
    with pytest.raises(InputError, match="parts of another input"):
        predict_file(bundle, str(rows), output)


def test_several_labels_are_a_list(rows, tmp_path):
    bundle = make_bundle(tmp_path / "multi", Multilabel)
    predict_file(bundle, str(rows), str(tmp_path / "out.parquet"))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["row", "text", "labels", "score", "scores"]
    scores = np.array(table["scores"].to_pylist()[:24])
    assert table["labels"].to_pylist()[:24] == [[LABELS[i] for i in np.flatnonzero(row >= 0.5)] for row in scores]
    assert table["labels"][24].as_py() is None


@pytest.mark.parametrize(
    ("source", "output", "error", "message"),
    [
        ("none.csv", "out.parquet", DataError, "none.csv does not exist"),
        ("*.parquet", "out.parquet", DataError, "cannot be read"),
        ("rows.parquet", "out.csv", InputError, "the output must be a .parquet file"),
        ("rows.parquet", "no/out.parquet", InputError, "does not exist"),
        ("rows.parquet", "rows.parquet", InputError, "exists"),
    ],
)
def test_bad_arguments_are_refused_before_any_prediction(bundle, rows, tmp_path, source, output, error, message):
    with pytest.raises(error, match=message):
        predict_file(bundle, str(tmp_path / source), str(tmp_path / output))
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_file_without_the_column_is_refused(bundle, rows, tmp_path):
    with pytest.raises(DataError, match="no text column: expected a column 'title'"):
        predict_file(bundle, str(rows), str(tmp_path / "out.parquet"), text="title")
    with pytest.raises(InputError, match="there is no bundle"):
        predict_file(tmp_path / "none", str(rows), str(tmp_path / "out.parquet"))


def test_predict_command(bundle, rows, tmp_path):
    output = str(tmp_path / "out.parquet")
    done = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(rows), "--output", output, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == 25
    assert "25 of 25 rows" in done.stderr
    again = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(rows), "--output", output])
    assert again.exit_code == 2
    assert "exists" in again.stderr
    for words in (["--output", output], ["http://127.0.0.1:1", "--input", "x", "--output", "y.parquet"]):
        target = [] if words[0].startswith("http") else [str(bundle)]
        assert CliRunner().invoke(app, ["predict", *target, *words]).exit_code == 2


def test_numbers_and_blank_lines_among_the_texts_keep_their_rows(bundle, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "bread"}\n\n{"text": 42}\n{"text": null}\n{"text": "wave"}\n')
    done = predict_file(bundle, str(tmp_path / "a.jsonl"), str(tmp_path / "out.parquet"))
    table = pq.read_table(tmp_path / "out.parquet")
    assert (done.rows, done.blank_rows) == (5, 2)
    assert table["text"].to_pylist() == ["bread", "", "42", "", "wave"]
    assert [label is None for label in table["label"].to_pylist()] == [False, True, False, True, False]
    assert (table["label"][0].as_py(), table["label"][4].as_py()) == ("food", "sea")


def test_another_encoding_is_read_when_named(bundle, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text\nbread caf\xe9\n")
    with pytest.raises(DataError, match="--encoding cp1252"):
        predict_file(bundle, str(tmp_path / "a.csv"), str(tmp_path / "out.parquet"))
    predict_file(bundle, str(tmp_path / "a.csv"), str(tmp_path / "out.parquet"), encoding="cp1252")
    assert pq.read_table(tmp_path / "out.parquet")["text"].to_pylist() == ["bread caf\u00e9"]


def test_a_file_is_labelled_as_the_training_texts_were_read(bundle, tmp_path):
    # Training drops NUL characters: "bre\0ad" is "bread" there.
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "bre\0ad"}) + "\n" + json.dumps({"text": "bread"}) + "\n")
    predict_file(bundle, str(tmp_path / "a.jsonl"), str(tmp_path / "out.parquet"))
    scores = pq.read_table(tmp_path / "out.parquet")["scores"].to_pylist()
    assert scores[0] == scores[1]


def test_a_label_with_a_line_break_shifts_no_name(tmp_path):
    rows = module._Rows({"text": ["a", "b"]})
    table = module._prediction_table(BulkOf([[0.0, 1.0], [1.0, 0.0]]), Classification(["x\ny", "z"]), 0, rows)
    assert table.schema.metadata[b"labels"].decode().split("\n") == ["x y", "z"]
    assert json.loads(table.schema.metadata[b"labels_json"]) == ["x\ny", "z"]


class BulkOf:
    """A runner with fixed logits."""

    def __init__(self, logits):
        self.logits = np.array(logits, dtype=np.float32)

    def run(self, texts):
        return self.logits[: len(texts)]


def test_a_table_without_rows_is_refused_and_leaves_nothing(bundle, tmp_path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    for name, content in {"none.csv": "text\n", "none.json": "[]"}.items():
        (tmp_path / name).write_text(content)
    before = sorted(tmp_path.iterdir())
    for name in ("none.parquet", "none.csv", "none.json"):
        with pytest.raises(DataError, match="no rows") as refused:
            predict_file(bundle, str(tmp_path / name), str(tmp_path / "out.parquet"))
        assert "label" not in refused.value.fix
    assert sorted(tmp_path.iterdir()) == before


def test_how_the_input_was_read_is_told(bundle, tmp_path):
    (tmp_path / "in.tsv").write_text('Text\tid\n"quote a\t1\nb\t2\n')
    output = str(tmp_path / "out.parquet")
    words = ["predict", str(bundle), "--input", str(tmp_path / "in.tsv"), "--output", output, "--text", "text"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "warning: quotation marks are read as characters of the text" in result.stderr
    assert "warning: column 'Text' is read as the text" in result.stderr


def test_the_fix_names_the_option_of_this_command(bundle, tmp_path):
    pq.write_table(pa.table({"text": [True]}), tmp_path / "in.parquet")
    with pytest.raises(DataError) as refused:
        predict_file(bundle, str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
    assert refused.value.fix == "name another column with --text NAME"
