"""Routing: the table of routes, and the look-up of a request's route. Knows no model and no protocol."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from lft_ray.serve.http.asgi import Request, Response
from lft_ray.serve.http.errors import HttpError

__all__ = ["Handler", "Route", "Router"]

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, with its description for ``/openapi.json``."""

    method: str
    path: str
    """With path parameters in braces, such as ``/v2/models/{model}``."""
    handler: Handler
    summary: str
    protocol: str = "status"
    """Value of the label ``protocol`` in the metrics."""
    description: str = ""
    request: type[BaseModel] | None = None
    """Schema of the JSON body; None: no body."""
    example: Any = None
    """Example of the JSON body."""
    forms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What differs where the inputs of the model are not single texts: key of `lft_ray.serve.protocols.forms.Form` ->
    fields of the route. A form that is not listed is not taken."""
    response: Any = None
    """Type of the JSON body of a 200; None: the body is not JSON."""
    statuses: tuple[int, ...] = (200,)
    """Statuses that the route may return."""
    is_public: bool = True
    """Whether ``/openapi.json`` lists the route."""
    operation_id: str = ""
    """Name of the operation in ``/openapi.json``, from which generators name a function; empty: made of the path."""
    media_type: str = "application/json"
    """Media type of a 200."""
    translate: Callable[[HttpError], HttpError] = field(default=lambda error: error)
    """Maps an error to the status and ``error_type`` of the protocol."""

    def of_form(self, key: str) -> "Route":
        """The route as a model with inputs of another form has it; not public if it does not take them."""
        if self.request is None:
            return self
        return replace(self, **self.forms[key]) if key in self.forms else replace(self, is_public=False)


class Router:
    """Finds routes: plain paths by one dictionary look-up, paths with parameters by trying their patterns.

    Args:
        routes: the routes, at most one for each method and path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._plain: dict[str, dict[str, Route]] = {}
        patterns: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            table = patterns if "{" in route.path else self._plain
            table.setdefault(route.path, {})[route.method] = route
        # The longest first: a parameter matches slashes too, so a shorter path would capture requests for a longer one.
        self._patterns = [(_pattern(path), patterns[path]) for path in sorted(patterns, key=len, reverse=True)]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of a request, and its path parameters. HEAD finds the route of GET.

        Raises:
            HttpError: 404 or 405.
        """
        methods, parameters = self._plain.get(path), {}
        if methods is None:
            for pattern, by_method in self._patterns:
                if (match := pattern.fullmatch(path)) is not None:
                    methods, parameters = by_method, match.groupdict()
                    break
        if methods is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "no such path: see /docs")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            head = ["HEAD"] if "GET" in methods else []
            allowed = {"allow": ", ".join(sorted([*methods, *head, "OPTIONS"]))}
            if method == "OPTIONS":
                return Route("OPTIONS", path, _options(allowed), "The methods of the path"), parameters
            message = "method not allowed on this path: see /docs"
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, message, headers=allowed)
        return route, parameters


def _options(headers: dict[str, str]) -> Handler:
    # Without the headers of CORS: a browser then keeps pages of other origins from using the endpoint.
    async def handler(_: Request) -> Response:
        return Response(b"", status=HTTPStatus.NO_CONTENT, headers=headers)

    return handler


def _pattern(path: str) -> re.Pattern[str]:
    # The name of a model may contain slashes: hub ids do.
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(path)))
