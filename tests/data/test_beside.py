"""Splits among files, and a name for runs on them."""

import pytest

from lft_ray.data.beside import find_files
from lft_ray.errors import InputError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("given", ["sms", "sms/train.csv.gz", "sms/dev.csv.gz"])
def test_a_folder_or_one_of_its_files_gives_all_splits(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "sms/train.csv.gz", "sms/dev.csv.gz", "sms/test.csv.gz", "sms/README.md")
    files = find_files([given])
    assert (files.train, files.validation, files.test) == (
        ["sms/train.csv.gz"],
        ["sms/dev.csv.gz"],
        ["sms/test.csv.gz"],
    )
    assert files.name == "sms"


@pytest.mark.parametrize(
    ("names", "given", "name"),
    [
        (["tickets_train.csv", "tickets_valid.csv", "mail_test.csv"], "tickets_train.csv", "tickets"),
        (["2024-01-15.csv", "2024-01-16.csv"], "2024-01-15.csv", "2024-01-15"),
        (["Größe #2.csv"], "Größe #2.csv", "grosse-2"),
        (["data/train.csv"], "data/train.csv", "project"),
    ],
)
def test_names(tmp_path, monkeypatch, names, given, name):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    touch(project, *names)
    files = find_files([given])
    assert (files.name, files.train, files.test) == (name, [given], [])
    assert files.validation == [other for other in names if "valid" in other]


def test_shards_and_folders_of_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a/train-00000-of-00002.parquet", "a/train-00001-of-00002.parquet", "a/test-00000-of-00001.parquet")
    assert len(find_files(["a"]).train) == 2
    touch(tmp_path, "b/train/x.csv", "b/test/x.csv")
    files = find_files(["b"])
    assert (files.train, files.test) == (["b/train/x.csv"], ["b/test/x.csv"])


def test_a_folder_of_other_things_is_refused(tmp_path):
    touch(tmp_path, "a.csv", "b.csv")
    with pytest.raises(InputError, match="several data sets"):
        find_files([str(tmp_path)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no labelled text"):
        find_files([str(tmp_path / "empty")])
    with pytest.raises(InputError, match="does not exist"):
        find_files([str(tmp_path / "none.csv")])


def test_several_files_are_all_train(tmp_path):
    touch(tmp_path, "a.csv", "b.csv")
    named = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert find_files(named).train == named


def test_a_lone_test_file_is_the_data_and_it_is_said(tmp_path):
    touch(tmp_path, "test.csv")
    files = find_files([str(tmp_path / "test.csv")])
    assert files.train == [str(tmp_path / "test.csv")]
    assert "it is the train file" in files.told[0]


def test_shards_beside_the_one_that_was_named_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train-00000-of-00003", "train-00001-of-00003", "train-00002-of-00003", "test-00000-of-00001"):
        (tmp_path / f"{name}.parquet").touch()
    found = find_files(["train-00000-of-00003.parquet"])
    assert (found.train, found.test) == (["train-00000-of-00003.parquet"], ["test-00000-of-00001.parquet"])
    assert "not train-00001-of-00003.parquet and 1 more beside them" in found.told[-1]
    whole = find_files([f"train-0000{shard}-of-00003.parquet" for shard in range(3)])
    assert not any("shards" in line for line in whole.told)


def test_a_suffix_in_capitals_is_the_same_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("Train.csv", "VAL.CSV", "Test.Csv"):
        (tmp_path / name).touch()
    found = find_files(["Train.csv"])
    assert (found.validation, found.test) == (["VAL.CSV"], ["Test.Csv"])


def test_pipes_are_refused_in_words():
    with pytest.raises(InputError, match="/dev/null is a pipe or a device"):
        find_files(["/dev/null"])
