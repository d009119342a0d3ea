"""Commands of an endpoint, as far as possible without a cluster."""

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment
from lft_ray.run.folder import RunFolder


@pytest.fixture
def invoke():
    return lambda *args: CliRunner().invoke(app, list(args))


@pytest.fixture
def run(tmp_path):
    (tmp_path / "news.csv").write_text("text,label\n")
    experiment = {"name": "news", "data": {"train": str(tmp_path / "news.csv")}, "models": [{"base": "tfidf"}]}
    found = RunFolder.begin(
        Experiment.parse(experiment | {"storage": str(tmp_path / "runs")}), resume=False, replace=False
    )
    return found.uri


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["rollback"], "no live endpoint"),
        (["deploy", "--cascade", "minilm:1"], "--cascade expects two names"),
        (["deploy", "--cascade", "a,b", "--trial", "t1"], "cannot be combined"),
        (["deploy", "--cascade", "a,b"], "no profiles yet"),
        (["deploy", "--canary", "0.9"], "serve.rollout.canary_share"),
        (["bench"], "no live endpoint"),
    ],
)
def test_what_cannot_be_is_said_with_exit_code_2(invoke, run, options, message):
    result = invoke(options[0], run, *options[1:])
    assert result.exit_code == 2, result.output
    assert message in result.output
