import pytest

from lft_ray.serve.api.openapi import document
from lft_ray.serve.http.router import Route
from lft_ray.wire import Info, LabelScore, PredictRequest


async def handler(_):
    raise AssertionError


ROUTES = [
    Route("POST", "/", handler, "predict", request=PredictRequest, example={"inputs": "a"}, response=list[LabelScore]),
    Route("GET", "/v2/models/{model}/versions/{version}", handler, "metadata", response=Info, statuses=(200, 404)),
    Route("GET", "/metrics", handler, "metrics", description="in text", media_type="text/plain"),
    Route("GET", "/ui", handler, "page", is_public=False),
]


@pytest.fixture
def api():
    return document(ROUTES, title="Title", with_keys=False)


def test_only_public_routes_are_listed(api):
    assert set(api["paths"]) == {"/", "/v2/models/{model}/versions/{version}", "/metrics"}
    assert (api["openapi"], api["info"]["title"]) == ("3.1.0", "Title")


def test_models_are_references_and_their_parts_are_defined(api):
    operation = api["paths"]["/"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert content == {"schema": {"$ref": "#/components/schemas/PredictRequest"}, "example": {"inputs": "a"}}
    body = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert body["items"] == {"$ref": "#/components/schemas/LabelScore"}
    assert {"PredictRequest", "Parameters", "LabelScore", "Info", "Canary"} <= set(api["components"]["schemas"])


def test_path_parameters_and_error_bodies_are_described(api):
    operation = api["paths"]["/v2/models/{model}/versions/{version}"]["get"]
    assert [(one["name"], one.get("example")) for one in operation["parameters"]] == [
        ("model", "classifier"),
        ("version", None),
    ]
    error = operation["responses"]["404"]["content"]["application/json"]["schema"]
    assert error == {"$ref": "#/components/schemas/ErrorBody"}


def test_a_response_that_is_not_json_has_its_own_media_type(api):
    operation = api["paths"]["/metrics"]["get"]
    assert operation["responses"]["200"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    assert operation["description"] == "in text"


def test_keys_add_a_security_scheme_and_401_everywhere():
    api = document(ROUTES, title="Title", with_keys=True)
    assert api["security"] == [{"key": []}]
    assert api["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert all("401" in one["responses"] for methods in api["paths"].values() for one in methods.values())
    assert "security" not in document(ROUTES, title="Title", with_keys=False)


def test_operation_ids_are_identifiers_of_their_own():
    from lft_ray.serve.api.app import create_app
    from lft_ray.serve.rollout.service import Service

    routes = create_app(Service(lambda _: None))._router.routes
    api = document(routes, title="Title", with_keys=False)
    ids = [one["operationId"] for methods in api["paths"].values() for one in methods.values()]
    assert len(set(ids)) == len(ids)
    assert all(name.isidentifier() for name in ids), ids
    assert {"classify_hf", "classify_tei", "classify_vllm", "infer", "get_v2_models_model_ready"} <= set(ids)
