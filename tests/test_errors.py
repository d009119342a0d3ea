import pickle

from lft_ray.errors import ConfigError, LftError, nearest


def test_message_fix_and_code_survive_pickling():
    error = ConfigError("wrong", fix="right")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.fix, copy.exit_code) == (ConfigError, "wrong\n  fix: right", "right", 2)


def test_every_error_has_an_exit_code_that_the_shell_can_show():
    kinds = [LftError, *LftError.__subclasses__()]
    assert all(0 < kind.exit_code < 126 for kind in kinds)


def test_nearest_names_the_closest_and_stays_silent_when_nothing_is_close():
    assert nearest("minilmm", ["minilm", "tfidf"]) == " Did you mean 'minilm'?"
    assert nearest("zzzz", ["minilm", "tfidf"]) == ""
