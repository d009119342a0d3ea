"""Tiny bases of architectures that only transformers runs."""

from pathlib import Path

import pytest

from tests.tiny_models import FOREIGN, write_tiny_foreign


@pytest.fixture(scope="module", params=FOREIGN)
def folder(request, tmp_path_factory) -> Path:
    return write_tiny_foreign(tmp_path_factory.mktemp(request.param), request.param)
