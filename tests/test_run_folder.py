import pytest

from lft_ray.delivery import Bundle
from lft_ray.errors import ConfigError, InputError
from lft_ray.experiment_file import parse
from lft_ray.run_folder import RunFolder


def experiment(tmp_path, **changes):
    tree = {"name": "a", "data": {"train": "x.csv"}, "models": [{"base": "tfidf"}], "storage": str(tmp_path)}
    return parse({**tree, **changes})


def test_begin_refuses_an_existing_run_and_says_how_to_go_on(tmp_path):
    RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    with pytest.raises(InputError, match="exists") as caught:
        RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    assert "--resume" in caught.value.fix
    assert "--replace" in caught.value.fix


def test_resume_allows_more_trials_but_not_another_space(tmp_path):
    RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run = RunFolder.begin(experiment(tmp_path, search={"trials": 99}), resume=True, replace=False)
    assert run.experiment().search.trials == 99
    with pytest.raises(ConfigError, match=r"training.max_length: was 128, now 64"):
        RunFolder.begin(experiment(tmp_path, training={"max_length": 64}), resume=True, replace=False)


def test_replace_deletes_what_was_there(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run.put_json("stages.json", {"search": 3})
    assert not RunFolder.begin(experiment(tmp_path), resume=False, replace=True).storage.exists("stages.json")


def test_find_names_the_nearest_run(tmp_path):
    RunFolder.begin(experiment(tmp_path, name="news"), resume=False, replace=False)
    with pytest.raises(InputError, match="Did you mean 'news'"):
        RunFolder.find(tmp_path / "new")


def test_a_damaged_record_is_named(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run.storage.put("bundle.json", '{"uri": "x", "surprise": 1}')
    with pytest.raises(InputError, match=r"bundle\.json cannot be read"):
        run.get("bundle.json", Bundle)


def test_stage_seconds_add_up(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run.add_stage_seconds("search", 2.0)
    run.add_stage_seconds("search", 1.5)
    assert run.json("stages.json") == {"search": 3.5}
