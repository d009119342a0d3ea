"""HTTP without a framework: requests, responses, errors, keys, metrics, pages."""
