"""``/openapi.json`` from the table of routes. In: routes. Out: an OpenAPI 3.1 document as plain values."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter

import lft_ray
from lft_ray.serve.http.router import Route
from lft_ray.serve.protocols.base import MODEL_NAMES
from lft_ray.wire import ErrorBody

__all__ = ["document"]

_SCHEMAS = "#/components/schemas/"
_PARTS = {"model": {"example": MODEL_NAMES[0], "description": f"{MODEL_NAMES[0]}, or the model's own name"}}
_MEANINGS = {
    200: "the answer",
    400: "not JSON in UTF-8",
    401: "no valid key",
    404: "no such model or version",
    408: "the body came too slowly",
    413: "too long a body, batch or text",
    415: "a content-type or encoding that is not taken",
    422: "not a valid request",
    424: "the model failed",
    429: "too busy: try again",
    503: "too busy or not ready: try again",
}


def document(routes: Iterable[Route], *, title: str, with_keys: bool) -> dict[str, Any]:
    """Describe all public routes."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for route in routes:
        if route.is_public:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, with_keys=with_keys)
    components: dict[str, Any] = {"schemas": schemas}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": lft_ray.__version__},
        "paths": paths,
        "components": components,
    }
    if with_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
    return found


def _operation(route: Route, schemas: dict[str, Any], *, with_keys: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": route.summary, "operationId": f"{route.method.lower()} {route.path}"}
    if route.description:
        found["description"] = route.description
    parts = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    if parts:
        found["parameters"] = [
            {"name": part, "in": "path", "required": True, "schema": {"type": "string"}, **_PARTS.get(part, {})}
            for part in parts
        ]
    if route.request is not None:
        content = {"application/json": {"schema": _reference(route.request, schemas), "example": route.example}}
        found["requestBody"] = {"required": True, "content": content}
    statuses = {*route.statuses, *({401} if with_keys else ())}
    found["responses"] = {str(status): _response(status, route, schemas) for status in sorted(statuses)}
    return found


def _response(status: int, route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": _MEANINGS.get(status, HTTPStatus(status).phrase.lower())}
    model = route.response if status == HTTPStatus.OK else ErrorBody
    if model is not None:
        found["content"] = {"application/json": {"schema": _reference(model, schemas)}}
    return found


def _reference(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema(ref_template=_SCHEMAS + "{model}")
    schemas.update(schema.pop("$defs", {}))
    if not isinstance(kind, type) or not issubclass(kind, BaseModel):
        return schema
    schemas[kind.__name__] = schema
    return {"$ref": _SCHEMAS + kind.__name__}
