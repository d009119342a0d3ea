import pytest

from lft_ray.records import Bundle, SplitRecord
from lft_ray.run.files import read_record, write_record
from lft_ray.run.storage import Storage
from lft_ray.run_paths import place_of, uri_of


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("data/train.arrow", "data/train.arrow"),
        ("/here/runs/a/data/train.arrow", "data/train.arrow"),
        ("/old/runs/a/data/train.arrow", "data/train.arrow"),
        ("s3://bucket/a/trials/t012/checkpoint-2", "trials/t012/checkpoint-2"),
        ("/old/trials/t1/x/trials/c000/predictions/int8-64.parquet", "trials/c000/predictions/int8-64.parquet"),
        ("/data/runs/a/bundle", "bundle"),
        ("exports/t003", "exports/t003"),
    ],
)
def test_a_path_is_read_inside_the_folder_that_has_its_record(written, place):
    assert place_of("/here/runs/a", written) == place
    assert uri_of("s3://elsewhere/b", written.removeprefix("/here/runs/a/")) == f"s3://elsewhere/b/{place}"


@pytest.mark.parametrize("written", ["../b/data/train.arrow", "/etc/passwd", "data/../../x", "/old/x/model.bin"])
def test_a_path_that_leaves_the_run_is_refused(written):
    with pytest.raises(ValueError, match=r"leaves the run folder|not a place in a run folder"):
        place_of("/here/runs/a", written)


def test_records_are_relative_on_disk_and_absolute_in_memory(tmp_path):
    there, here = Storage(tmp_path / "there"), Storage(tmp_path / "here")
    split = SplitRecord(name="train", uri=f"{there.uri}/data/train.arrow", rows=1, label_counts={})
    write_record(there, "x.json", split)
    assert b'"uri": "data/train.arrow"' in there.get("x.json")
    here.put("x.json", there.get("x.json"))
    assert read_record(here, "x.json", SplitRecord).uri == f"{here.uri}/data/train.arrow"
    assert read_record(there, "x.json", SplitRecord) == split


def test_outside_a_run_a_path_stays_as_it_is():
    facts = {"version": "v", "engine": "e", "precision": "fp32", "task_kind": "k", "model_size": "s"}
    bundle = Bundle(uri="/x/y", labels=[], max_length=1, bytes=1, **facts)
    assert Bundle.model_validate_json(bundle.model_dump_json()).uri == "/x/y"
