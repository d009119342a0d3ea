import pickle
import re

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from lft_ray import errors
from lft_ray.errors import BundleError, ConfigError, LftError, field_problems, first_problem, nearest


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


class Inner(BaseModel):
    names: list[str]


class Outer(BaseModel):
    inner: Inner
    count: int

    @field_validator("count")
    @classmethod
    def even(cls, value):
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value


def error_of(value):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(value)
    return caught.value


def test_the_first_problem_is_one_line_with_its_place():
    assert first_problem(error_of({"inner": {"names": ["a", 1]}, "count": 2})) == (
        "inner.names.1: Input should be a valid string"
    )


def test_a_value_that_is_wrong_as_a_whole_has_no_place():
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json("{")
    assert first_problem(caught.value).startswith("Invalid JSON: ")


def test_all_problems_are_listed_and_those_of_validators_speak_for_themselves():
    problems = field_problems(error_of({"inner": {}, "count": 3}))
    assert [(p.location, p.kind) for p in problems] == [(("inner", "names"), "missing"), (("count",), "value_error")]
    assert problems[1].message == "3 is odd"
    assert problems[1].given == 3
