import json

import pytest

from lft_ray.strict_json import (
    NestedTooDeeplyError,
    NotFinite,
    NotFiniteError,
    RepeatedKeyError,
    RepeatedKeys,
    parse,
    parse_marked,
)


def test_plain_values_are_read_alike():
    text = '{"a": [1, 2.5, null, true], "b": {"c": "d"}}'
    assert parse(text) == parse_marked(text) == json.loads(text)


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "b": 3, "a": 4}', '[{"a": 1, "a": 1}]', '{"c": {"a": 1, "a": 2}}'])
def test_a_repeated_key_is_an_error_that_names_the_first(text):
    with pytest.raises(RepeatedKeyError, match="'a'") as caught:
        parse(text)
    assert caught.value.key == "a"


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[-Infinity]"])
def test_what_is_not_finite_is_an_error(text):
    with pytest.raises(NotFiniteError, match="is not a JSON number"):
        parse(text)


@pytest.mark.parametrize("text", ["1e400", '{"a": [-1e999]}'])
def test_a_number_that_overflows_is_not_finite_either(text):
    with pytest.raises(NotFiniteError, match="is too large a number"):
        parse(text)
    assert "inf" not in str(parse_marked(text))
    assert parse("1e308") == 1e308


def test_marks_stand_where_parse_raises():
    first, second = parse_marked('[{"a": 1, "a": 2, "b": NaN}, {"c": 3}]')
    assert isinstance(first, RepeatedKeys)
    assert first.key == "a"
    assert isinstance(first["b"], NotFinite)
    assert second == {"c": 3}


@pytest.mark.parametrize("read", [parse, parse_marked])
def test_broken_json_is_one_kind_of_error(read):
    for text in ("{", "", "[1, 2", "'a'", "9" * 5000):
        with pytest.raises(json.JSONDecodeError):
            read(text)
    with pytest.raises(NestedTooDeeplyError):
        read("[" * 200_000)


def test_a_key_repeated_among_many_is_found_in_one_pass():
    # Counting each key over all of them would take minutes: a request may hold this many.
    text = "{" + ", ".join(f'"{number}": 0' for number in range(200_000)) + ', "199999": 1}'
    with pytest.raises(RepeatedKeyError, match="199999"):
        parse(text)
