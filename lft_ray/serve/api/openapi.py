"""Generate ``/openapi.json``. In: the routes. Out: an OpenAPI 3.1 document as plain JSON values."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

import lft_ray
from lft_ray.serve.http.router import Route
from lft_ray.serve.protocols.forms import TEXTS
from lft_ray.wire import ErrorBody

__all__ = ["document"]

_SCHEMAS = "#/components/schemas/"
_DESCRIPTIONS = {
    200: "success",
    400: "not JSON in UTF-8",
    401: "no valid API key",
    404: "no such model or version",
    408: "the body took too long to arrive",
    413: "the body, the batch or a text is too long",
    415: "unsupported content-type or encoding",
    422: "not a valid request",
    424: "the model failed",
    429: "overloaded: try again",
    503: "overloaded or not ready: try again",
}


def document(routes: Iterable[Route], *, title: str, with_keys: bool, model: str = TEXTS.model) -> dict[str, Any]:
    """Build the document.

    Args:
        routes: all routes; those with ``is_public`` False are left out.
        title: title of the API.
        with_keys: whether the endpoint requires an API key.
        model: name of every such model, as an example.
    """
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for route in routes:
        if route.is_public:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(
                route, schemas, with_keys=with_keys, model=model
            )
    components: dict[str, Any] = {"schemas": schemas}
    openapi: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": lft_ray.__version__},
        "paths": paths,
        "components": components,
    }
    if with_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        openapi["security"] = [{"key": []}]
    return openapi


def _operation(route: Route, schemas: dict[str, Any], *, with_keys: bool, model: str) -> dict[str, Any]:
    about = {"model": {"example": model, "description": f"{model}, or the model's own name"}}
    operation: dict[str, Any] = {"summary": route.summary, "operationId": _operation_id(route)}
    if route.description:
        operation["description"] = route.description
    parameters = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    if parameters:
        operation["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                **about.get(name, {}),
            }
            for name in parameters
        ]
    if route.request is not None:
        content = {"application/json": {"schema": _reference(route.request, schemas), "example": route.example}}
        operation["requestBody"] = {"required": True, "content": content}
    statuses = {*route.statuses, *({401} if with_keys else ())}
    operation["responses"] = {str(status): _response(status, route, schemas) for status in sorted(statuses)}
    return operation


def _response(status: int, route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _DESCRIPTIONS.get(status, HTTPStatus(status).phrase.lower())}
    model = route.response if status == HTTPStatus.OK else ErrorBody
    if model is not None:
        response["content"] = {"application/json": {"schema": _reference(model, schemas, mode="serialization")}}
    elif route.media_type != "application/json":
        response["content"] = {route.media_type: {"schema": {"type": "string"}}}
    return response


def _operation_id(route: Route) -> str:
    """A name that is an identifier in every language: ``get_v2_models_model_ready``."""
    return route.operation_id or "_".join([route.method.lower(), *re.findall(r"[A-Za-z0-9]+", route.path)])


def _reference(
    kind: Any, schemas: dict[str, Any], *, mode: Literal["validation", "serialization"] = "validation"
) -> dict[str, Any]:
    """Schema of a type; a pydantic model goes into ``schemas`` and is returned as a reference."""
    schema = TypeAdapter(kind).json_schema(mode=mode, ref_template=_SCHEMAS + "{model}")
    schemas.update(schema.pop("$defs", {}))
    if not isinstance(kind, type) or not issubclass(kind, BaseModel):
        return schema
    schemas[kind.__name__] = schema
    return {"$ref": _SCHEMAS + kind.__name__}
