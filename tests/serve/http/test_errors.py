import json

import pytest

from lft_ray.serve.http.auth import ApiKeys, hash_keys
from lft_ray.serve.http.errors import OPEN_PATHS, HttpError, busy, check_key, error_body, error_type, request_id
from lft_ray.wire import ErrorBody


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "bad_request"),
        (405, "method_not_allowed"),
        (413, "payload_too_large"),
        (429, "too_many_requests"),
        (503, "service_unavailable"),
    ],
)
def test_error_types_are_stable_names(status, name):
    assert error_type(status) == name


def test_error_body_prefers_the_name_of_the_protocol():
    plain = ErrorBody.model_validate_json(error_body(HttpError(422, 'a "reason"'), "id-1"))
    assert (plain.error, plain.request_id) == ('a "reason"', "id-1")
    assert json.loads(error_body(HttpError(422, "reason", kind="validation"), "id-1"))["error_type"] == "validation"


def test_busy_says_when_to_retry():
    error = busy("the queue is full", retry_after_s=3)
    assert (error.status, error.headers) == (503, {"retry-after": "3"})


def test_check_key_guards_all_but_the_open_paths():
    keys = ApiKeys(hash_keys("secret"))
    for path in OPEN_PATHS:
        assert check_key(keys, "GET", path, lambda: "") is False
    assert check_key(keys, "GET", "/info", lambda: "Bearer secret")
    assert check_key(keys, "GET", "/", lambda: "") is False
    assert check_key(keys, "OPTIONS", "/info", lambda: "") is False
    assert check_key(ApiKeys(), "GET", "/info", lambda: "")
    with pytest.raises(HttpError) as raised:
        check_key(keys, "GET", "/info", lambda: "Bearer wrong")
    with pytest.raises(HttpError):
        check_key(keys, "POST", "/", lambda: "")
    assert (raised.value.status, raised.value.headers) == (401, {"www-authenticate": "Bearer"})
    assert "wrong" not in raised.value.message


@pytest.mark.parametrize("given", ["a", "A.b_c:d-9", "x" * 128])
def test_a_safe_request_id_is_used(given):
    assert request_id(given) == given


@pytest.mark.parametrize("given", ["", "a b", "a\nb", "é", "x" * 129, "<script>"])
def test_an_unsafe_request_id_is_replaced_by_a_new_one(given):
    new = request_id(given)
    assert new != given
    assert request_id(new) == new
    assert new != request_id(given)
