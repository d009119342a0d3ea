"""Arrow files of splits: round trips, damage, atomic writes, creation under a lock."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lft_ray.data.store import create_once, fingerprint, load_split, target_array, target_column, write_batches
from lft_ray.errors import DamagedFileError, DataError


def test_damaged_split(pets_record):
    path = Path(pets_record.splits["train"].uri)
    whole = path.read_bytes()
    old = pets_record.replace(splits={name: s.replace(sha256="") for name, s in pets_record.splits.items()})
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match=r"train\.arrow was changed after it was written"):
        load_split(pets_record, "train")
    with pytest.raises(DataError, match="cannot be read"):
        load_split(old, "train")
    path.write_bytes(Path(pets_record.splits["test"].uri).read_bytes())
    with pytest.raises(DataError, match="its record says 160"):
        load_split(old, "train")
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        load_split(pets_record, "train")


def test_a_split_in_a_bucket_is_copied_once(tmp_path, pets_record):
    # Without a bucket, only this much shows: a copy that is there under the fingerprint is used, not fetched again.
    local = Path(pets_record.splits["test"].uri)
    moved = pets_record.splits["test"].model_copy(update={"uri": "s3://no-such-bucket/run/data/test.arrow"})
    record = pets_record.model_copy(update={"splits": {"test": moved}})
    (tmp_path / f"{record.fingerprint[:12]}-test.arrow").write_bytes(local.read_bytes())
    assert load_split(record, "test", cache=tmp_path).texts == load_split(pets_record, "test").texts


@pytest.mark.parametrize("targets", [np.array([2, 0, 1]), np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)])
def test_target_columns_are_read_back_as_written(targets):
    found = target_array(target_column(targets))
    assert (found.dtype, found.shape) == (targets.dtype, targets.shape)
    assert np.array_equal(found, targets)


def test_create_once_makes_a_missing_file_and_reads_an_existing_one(tmp_path):
    path, calls = tmp_path / "cache" / "value.txt", []

    def make() -> None:
        calls.append(1)
        path.write_text("made")

    def read() -> str | None:
        return path.read_text() if path.exists() else None

    assert [create_once(path, read, make), create_once(path, read, make)] == ["made", "made"]
    assert len(calls) == 1


def test_create_once_returns_none_if_the_file_cannot_be_made(tmp_path):
    assert create_once(tmp_path / "x", lambda: None, lambda: None) is None


def test_write_batches_leaves_the_old_file_when_a_batch_fails(tmp_path):
    path = tmp_path / "rows.arrow"
    batch = pa.record_batch({"id": pa.array([1, 2])})
    write_batches(batch.schema, [batch], path)
    before = path.read_bytes()

    def failing():
        yield batch
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_batches(batch.schema, failing(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_fingerprint_separates_adjacent_strings():
    assert fingerprint(["ab", "c"], {}, {}) != fingerprint(["a", "bc"], {}, {})
    assert fingerprint(["a"], {}, {}) == fingerprint(["a"], {}, {})


def test_load_split_names_the_splits_that_exist(pets_record):
    with pytest.raises(DataError, match="no split 'dev': it has train, validation, test"):
        load_split(pets_record, "dev")
