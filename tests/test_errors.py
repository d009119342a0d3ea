import pickle
import re

from lft_ray import errors
from lft_ray.errors import BundleError, ConfigError, LftError, nearest


def test_message_fix_and_code_survive_pickling():
    error = ConfigError("wrong", fix="right")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.fix, copy.exit_code) == (ConfigError, "wrong\n  fix: right", "right", 2)


def with_subclasses(kind):
    return [kind, *(found for direct in kind.__subclasses__() for found in with_subclasses(direct))]


def test_every_error_has_an_exit_code_that_the_shell_can_show():
    kinds = with_subclasses(LftError)
    assert {ConfigError, BundleError} <= set(kinds)
    assert all(0 < kind.exit_code < 126 for kind in kinds)


def test_every_error_is_drawn_with_its_exit_code():
    drawn = dict(re.findall(r"(\w+Error) +exit (\d+)", errors.__doc__))
    named = set(re.findall(r"(\w+Error)\b", errors.__doc__))
    kinds = [kind for kind in with_subclasses(LftError) if kind.__module__ == errors.__name__]
    assert {kind.__name__ for kind in kinds} == named
    assert {kind.__name__: str(kind.exit_code) for kind in kinds if kind.__name__ in drawn} == drawn


def test_nearest_names_the_closest_and_stays_silent_when_nothing_is_close():
    assert nearest("minilmm", ["minilm", "tfidf"]) == " Did you mean 'minilm'?"
    assert nearest("zzzz", ["minilm", "tfidf"]) == ""
