"""Which path does what: a table of routes, and how a request finds its own. Knows no model and no protocol."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from lft_ray.serve.http.asgi import Request, Response
from lft_ray.serve.http.errors import HttpError

__all__ = ["Handler", "Route", "Table"]

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, with what ``/openapi.json`` says of it."""

    method: str
    path: str
    """With parts in braces, such as ``/v2/models/{model}``."""
    handler: Handler
    summary: str
    protocol: str = "status"
    """Stands in the metrics."""
    description: str = ""
    request: type[BaseModel] | None = None
    example: Any = None
    response: Any = None
    """Type of the JSON of a 200; None: it is not JSON."""
    statuses: tuple[int, ...] = (200,)
    is_public: bool = True
    """Whether it stands in ``/openapi.json``."""
    translate: Callable[[HttpError], HttpError] = field(default=lambda refusal: refusal)


class Table:
    """Finds routes: plain paths by one look-up, paths with parts by trying their patterns.

    Args:
        routes: no two of one method and path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._plain: dict[str, dict[str, Route]] = {}
        patterns: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            table = patterns if "{" in route.path else self._plain
            table.setdefault(route.path, {})[route.method] = route
        # The longest first: a part matches slashes too, so a shorter path would match what a longer one is meant for.
        self._patterns = [(_pattern(path), patterns[path]) for path in sorted(patterns, key=len, reverse=True)]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of a request, and the parts of its path. HEAD finds what GET does.

        Raises:
            Refusal: 404 or 405.
        """
        methods, parameters = self._plain.get(path), {}
        if methods is None:
            for pattern, found in self._patterns:
                if (match := pattern.fullmatch(path)) is not None:
                    methods, parameters = found, match.groupdict()
                    break
        if methods is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "there is no such path: see /docs")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            message = "this path does not take that method: see /docs"
            allowed = ", ".join(methods)
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, message, headers={"allow": allowed})
        return route, parameters


def _pattern(path: str) -> re.Pattern[str]:
    # The name of a model may hold slashes: hub ids do.
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(path)))
