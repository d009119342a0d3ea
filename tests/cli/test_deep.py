"""``lft check --deep``, ``--apply`` and ``--strict``."""

import csv
import json
import random

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.train.deep import features

WORDS = {
    "cat": ["purr", "whiskers", "paw", "kitten", "mouse", "litter"],
    "dog": ["bark", "leash", "bone", "puppy", "fetch", "kennel"],
}


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """An experiment of 160 rows, two of them labelled wrong (lines 12 and 43); no network is found."""
    monkeypatch.setattr(features, "_PREFERRED", "./no-such-base")
    monkeypatch.chdir(tmp_path)
    generator = random.Random(0)
    rows = []
    for number in range(160):
        label = ("cat", "dog")[number % 2]
        text = " ".join(generator.choices(WORDS[label], k=7)) + f" {number}"
        rows.append((text, ("dog", "cat")[number % 2] if number in (10, 41) else label))
    with (tmp_path / "pets.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    (tmp_path / "pets.yaml").write_text("name: pets\ndata: {train: pets.csv}\nmodels: [{base: tfidf}]\n")
    return lambda *args: CliRunner().invoke(app, ["check", "pets.yaml", *args])


def test_suspects_are_fixed_and_gone(pets, tmp_path):
    result = pets("--deep", "--output", "suspects.csv")
    assert result.exit_code == 0, result.output
    assert "2 labels likely wrong" in result.stdout
    assert "pets.csv:12 dog -> cat" in result.stdout
    assert "read by TF-IDF" in result.stdout
    with (tmp_path / "suspects.csv").open(newline="", encoding="utf-8-sig") as stream:
        lines = list(csv.DictReader(stream))
    assert {line["row"] for line in lines if line["certainty"] == "likely"} == {"12", "43"}
    for line in lines:
        line["fix"] = line["suggested"]
    with (tmp_path / "suspects.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    applied = pets("--apply", "suspects.csv", "--output", "fixed")
    assert applied.exit_code == 0, applied.output
    assert "next: lft check pets.yaml --set data.train=fixed/train.jsonl" in applied.stderr
    again = pets("--set", "data.train=fixed/train.jsonl", "--deep", "--json")
    assert again.exit_code == 0, again.output
    deep = json.loads(again.stdout)["deep"]
    assert [one for one in deep["suspects"] if one["certainty"] == "likely"] == []
    assert deep["features"] == "TF-IDF"


def test_strict_makes_suspects_count(pets):
    assert pets("--deep").exit_code == 0
    result = pets("--deep", "--strict")
    assert result.exit_code == 2
    assert "--strict is set" in result.stderr
    assert pets("--strict").exit_code == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--output", "x.csv"], "--output needs --deep or --apply"),
        (["--apply", "x.csv"], "--apply needs --output"),
        (["--apply", "x.csv", "--deep", "--output", "y"], "exclude each other"),
        (["--deep", "--output", "pets.csv"], "already exists"),
        (["--deep", "--output", "no/such/x.csv"], "is not a folder"),
        (["--apply", "absent.csv", "--output", "fixed"], "cannot be read"),
    ],
)
def test_what_would_do_nothing_or_lose_a_file_is_refused(pets, args, told):
    result = pets(*args)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_without_deep_the_json_is_as_before(pets):
    assert "deep" not in json.loads(pets("--json").stdout)


def test_paths_of_the_deep_check_are_resolved_like_all_others(pets, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["check", "pets.yaml", "--deep", "--output", "~/suspects.csv"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "home" / "suspects.csv").is_file()
    result = CliRunner().invoke(app, ["check", "pets.yaml", "--apply", "~/suspects.csv", "--output", "~/fixed"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "home" / "fixed" / "train.jsonl").is_file()
    assert not (tmp_path / "~").exists()
    for output in ("x" * 300 + ".csv", "a\0b"):
        result = CliRunner().invoke(app, ["check", "pets.yaml", "--deep", "--output", output])
        assert (result.exit_code, "is not a path" in result.stderr) == (2, True), result.output
