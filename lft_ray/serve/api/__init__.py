"""The HTTP application: routes, OpenAPI description, app."""
