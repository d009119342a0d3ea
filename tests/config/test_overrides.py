"""Values of --set: text as it is, everything else typed, surprises told."""

import pytest

from lft_ray.config import Experiment
from lft_ray.config.loader import decoded, inline, load_yaml
from lft_ray.config.overrides import kinds_at, value_of
from lft_ray.errors import ConfigError

TREE = {"name": "x", "data": {"train": "d.csv"}, "models": [{"base": "tfidf"}]}


def given(item):
    path, _, text = item.partition("=")
    return value_of(path, text, kinds_at(path.split("."), Experiment))


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("task.text=note #2", "note #2"),
        ("task.label=#tag", "#tag"),
        ("task.label=no", "no"),
        ("task.label=2024-01-15", "2024-01-15"),
        ("task.text=a: b", "a: b"),
        ("task.columns.text_a=no", "no"),
        ("task.columns.text_a=note #2", "note #2"),
        ("task.columns={text_a: body}", {"text_a": "body"}),
        ("task.text={text}", "{text}"),
        ("name=2024", "2024"),
        ("name=1e3", "1e3"),
        ("storage=~/runs", "~/runs"),
        ("data.train=[final] rows.csv", "[final] rows.csv"),
        ("data.train=[a.csv, b.csv]", ["a.csv", "b.csv"]),
        ('serve.host="::1"', "::1"),
        ("serve.host=::1", "::1"),
        ("task.text='it''s'", "it's"),
        ("task.text=null", None),
        ("task.text=", None),
        ('task.text="null"', "null"),
        ("search.trials=8", 8),
        ("search.trials=1_000", 1000),
        ("search.minutes=2.5", 2.5),
        ("search.minutes=null", None),
        ("training.learning_rate=1e-5", 1e-5),
        ("training.learning_rate=[1e-5, 3e-5]", [1e-5, 3e-5]),
        ("training.learning_rate={low: 1e-5, high: 1e-3}", {"low": 1e-5, "high": 1e-3}),
        ("training.workers=auto", "auto"),
        ("training.workers=2", 2),
        ("cost.spot=true", True),
        ('models=[{base: "a #b"}]', [{"base": "a #b"}]),
    ],
)
def test_values(item, value, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = given(item)
    assert (found, type(found)) == (value, type(value))


def test_an_existing_file_with_brackets_is_no_list(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[a.csv]").touch()
    assert given("data.train=[a.csv]") == "[a.csv]"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("search.trials=8 # more", "comment"),
        ("models=[tfidf] # one", "comment"),
        ("search.trials=yes", "boolean"),
        ("search.trials=true", "boolean"),
        ("cost.spot=no", "true or false"),
        ("cost.spot=True", "boolean"),
        ("search.trials=010", "octal"),
        ("search.minutes=12:30", "base 60"),
        ("models=[{base: tfidf]", "not valid YAML"),
    ],
)
def test_surprises_are_told_with_the_quoting(item, reason):
    with pytest.raises(ConfigError) as error:
        given(item)
    assert reason in error.value.message
    assert "quote it: --set '" in error.value.fix


def test_the_file_shows_the_quoting_too():
    with pytest.raises(ConfigError, match='such as "no"'):
        Experiment.parse({**TREE, "task": {"label": False}})


def test_overrides_of_a_parsed_experiment():
    changed = Experiment.parse(TREE).with_overrides(["task.text=note #2", "search.trials=3"])
    assert (changed.task.text, changed.search.trials) == ("note #2", 3)


@pytest.mark.parametrize(
    "value", ["1e3", "no", "2024", "a: b", "#x", "a, b", "{x}", "~", "", "工单", "it's", "null", "0x1", "1:2"]
)
def test_what_is_written_is_read_again(value):
    assert load_yaml(f"key: {inline(value)}") == {"key": value}
    assert load_yaml(f"key: {{inner: {inline(value)}, b: 1}}") == {"key": {"inner": value, "b": 1}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks(encoding):
    assert decoded("name: größe".encode(encoding)) == "name: größe"


def test_a_list_longer_than_a_path_is_a_list():
    names = [f"part-{number:04d}.csv" for number in range(1000)]
    assert Experiment.parse(TREE).with_overrides([f"data.train=[{', '.join(names)}]"]).data.train == names
