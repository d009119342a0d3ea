import os

import pytest

from lft_ray.cluster.environment import environment_variables


def test_variables_are_set_and_given_back(monkeypatch):
    monkeypatch.setenv("LFT_TEST_HELD", "before")
    monkeypatch.delenv("LFT_TEST_NEW", raising=False)
    with environment_variables(LFT_TEST_HELD="inside", LFT_TEST_NEW="1"):
        assert (os.environ["LFT_TEST_HELD"], os.environ["LFT_TEST_NEW"]) == ("inside", "1")
    assert os.environ["LFT_TEST_HELD"] == "before"
    assert "LFT_TEST_NEW" not in os.environ


def test_variables_are_given_back_after_an_error(monkeypatch):
    monkeypatch.delenv("LFT_TEST_NEW", raising=False)

    def fail():
        with environment_variables(LFT_TEST_NEW="1"):
            os.environ.pop("LFT_TEST_NEW")
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert "LFT_TEST_NEW" not in os.environ
