import pytest

from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.router import Route, Router


async def handler(_):
    raise AssertionError


def route(method: str, path: str) -> Route:
    return Route(method, path, handler, "")


ROUTER = Router(
    [
        route("GET", "/info"),
        route("POST", "/info"),
        route("GET", "/v2/models/{model}"),
        route("GET", "/v2/models/{model}/ready"),
        route("POST", "/v2/models/{model}/versions/{version}/infer"),
        route("GET", "/a.b"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template", "parameters"),
    [
        ("GET", "/info", "/info", {}),
        ("HEAD", "/info", "/info", {}),
        ("GET", "/v2/models/minilm:1", "/v2/models/{model}", {"model": "minilm:1"}),
        ("GET", "/v2/models/org/name", "/v2/models/{model}", {"model": "org/name"}),
        ("GET", "/v2/models/org/name/ready", "/v2/models/{model}/ready", {"model": "org/name"}),
        (
            "POST",
            "/v2/models/m/versions/1/infer",
            "/v2/models/{model}/versions/{version}/infer",
            {"model": "m", "version": "1"},
        ),
    ],
)
def test_find_returns_the_route_and_its_path_parameters(method, path, template, parameters):
    found, given = ROUTER.find(method, path)
    assert (found.path, given) == (template, parameters)
    assert found.method == {"HEAD": "GET"}.get(method, method)


@pytest.mark.parametrize("path", ["/", "/info/", "/Info", "/v2/models/", "/axb"])
def test_an_unknown_path_is_404(path):
    with pytest.raises(HttpError) as raised:
        ROUTER.find("GET", path)
    assert raised.value.status == 404


def test_another_method_is_405_with_those_allowed():
    with pytest.raises(HttpError) as raised:
        ROUTER.find("DELETE", "/info")
    assert (raised.value.status, raised.value.headers) == (405, {"allow": "GET, HEAD, OPTIONS, POST"})
    with pytest.raises(HttpError) as raised:
        ROUTER.find("HEAD", "/v2/models/m/versions/1/infer")
    assert raised.value.headers == {"allow": "OPTIONS, POST"}
