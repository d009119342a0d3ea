"""HTTP on plain ASGI: requests, responses, errors, API keys, metrics, pages."""
