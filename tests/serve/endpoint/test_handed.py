"""A bundle that was handed on without its run has an endpoint of its own."""

import shutil
from pathlib import Path

import pytest

from lft_ray.errors import ConfigError, InputError
from lft_ray.export.bundle import open_bundle
from lft_ray.serve.endpoint.deploy import down
from lft_ray.serve.endpoint.handed import deploy_bundle, home_of, is_bundle
from lft_ray.serve.endpoint.look import look, require_live


def test_a_handed_bundle_is_deployed_promoted_and_stopped_by_its_path(fakes, bundles, tmp_path):
    handed = shutil.copytree(bundles["first"].uri, tmp_path / "handed")
    assert is_bundle(str(handed))
    live = deploy_bundle(str(handed), overrides=["serve.port=0"])
    assert (live.state, live.version) == ("ready", bundles["first"].version)
    home = home_of(str(handed))
    assert require_live(home.storage) == live
    assert look(home.storage).state == "ready"
    assert deploy_bundle(str(handed)).message.startswith("it is served already")
    with pytest.raises(InputError, match=r"serve\.port"):
        deploy_bundle(str(handed), overrides=["serve.port=1"])
    assert open_bundle(handed).bundle.version == live.version, "its seal must hold while it is served"
    assert down(home.uri).process == live.process


def test_settings_without_an_experiment_are_checked_by_name(bundles):
    with pytest.raises(ConfigError, match=r"serve\.prot"):
        deploy_bundle(bundles["first"].uri, overrides=["serve.prot=0"])
    with pytest.raises(InputError, match=r"search\.trials"):
        deploy_bundle(bundles["first"].uri, overrides=["search.trials=0"])


def test_a_bundle_inside_a_run_belongs_to_the_run(bundles, tmp_path):
    (tmp_path / "experiment.yaml").write_text("name: x")
    inside = Path(shutil.copytree(bundles["first"].uri, tmp_path / "bundle"))
    assert home_of(str(inside)).uri == home_of(str(tmp_path)).uri == str(tmp_path)


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run at"):
        home_of(str(tmp_path))
