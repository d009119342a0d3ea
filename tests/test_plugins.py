"""Names of plug-ins: built-in ones and ``package.module:Name``."""

import pytest

from lft_ray.errors import ConfigError
from lft_ray.plugins import resolve

TABLE = {"counter": "collections:Counter"}


@pytest.mark.parametrize("kind", ["counter", "collections:Counter"])
def test_both_forms_of_a_name_give_the_object(kind):
    from collections import Counter

    assert resolve(kind, TABLE, where="task.kind") is Counter


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown value 'countr' at task\.kind: .* Did you mean 'counter'\?"):
        resolve("countr", TABLE, where="task.kind")


@pytest.mark.parametrize("path", ["no_such_package:Name", "collections:NoSuchName"])
def test_a_path_that_cannot_be_imported_is_refused(path):
    with pytest.raises(ConfigError, match="cannot import") as refused:
        resolve(path, TABLE, where="search.sampler")
    assert "on every node" in refused.value.fix


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (".:Name", "TypeError: the 'package' argument"),
        (":Name", "ValueError: Empty module name"),
        ("broken_plugin:Name", "ZeroDivisionError: division by zero"),
    ],
)
def test_whatever_an_import_raises_is_told(path, told, tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"cannot import '{path}' at search.sampler: {told}"):
        resolve(path, TABLE, where="search.sampler")


def test_what_cannot_be_called_is_no_plug_in():
    with pytest.raises(ConfigError, match=r"'os:sep' at selection\.policy is of type str: expected a class or a func"):
        resolve("os:sep", TABLE, where="selection.policy")
