from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.run.checksums import Stored, file_sha256, sha256s
from lft_ray.run.storage import Storage
from lft_ray.train.artifacts import attempt_name, node_folder, put_checkpoint, put_predictions, variant


def test_only_later_attempts_have_a_numbered_name():
    assert [attempt_name("checkpoint", attempt) for attempt in (1, 2, 3)] == [
        "checkpoint",
        "checkpoint-2",
        "checkpoint-3",
    ]


@pytest.mark.parametrize("targets", [np.array([2, 0], np.int64), np.array([[1, 0, 1], [0, 1, 0]], np.float32)])
def test_predictions_are_written_one_row_per_text(tmp_path, targets):
    logits = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -4.0]], np.float32)
    # A transposed array is not contiguous, as logits may be.
    uri, digest = put_predictions(
        Storage(tmp_path), "p/fp32-8.parquet", np.array([7, 3]), targets, np.asfortranarray(logits)
    )
    table = pq.read_table(uri)
    assert digest == file_sha256(Path(uri))
    assert table["row_id"].to_pylist() == [7, 3]
    assert table["target"].to_pylist() == targets.tolist()
    assert table["logits"].to_pylist() == logits.tolist()
    assert table.schema.field("logits").type == pa.list_(pa.float32())


def test_a_checkpoint_of_a_second_attempt_leaves_the_first(tmp_path):
    stored = [
        put_checkpoint(Storage(tmp_path), attempt, lambda folder, n=attempt: (folder / "weights").write_text(str(n)))
        for attempt in (1, 2)
    ]
    assert [(Path(found.uri) / "weights").read_text() for found in stored] == ["1", "2"]
    assert [found.sha256s for found in stored] == [sha256s(Path(found.uri)) for found in stored]


def test_node_folder_of_a_bucket_is_outside_the_bucket(tmp_path):
    assert node_folder(Storage(tmp_path), "tokens") == tmp_path / "tokens"
    assert node_folder(Storage("s3://bucket/run"), "tokens").is_absolute()


def test_the_f1_of_a_variant_is_the_metric_of_the_task():
    found = variant("int8", 64, {"macro_f1": 0.5, "micro_f1": 0.75}, metric="micro_f1", predictions=Stored("p", "d"))
    assert (found.f1, found.precision, found.max_length) == (0.75, "int8", 64)
    assert (found.predictions_uri, found.predictions_sha256) == ("p", "d")
