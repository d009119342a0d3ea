"""Fixtures of the profile stage: bundles to deploy beside what is profiled."""

from tests.serve.conftest import bundles

__all__ = ["bundles"]
