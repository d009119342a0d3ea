"""The HTTP application: routes, OpenAPI document, ASGI app."""
