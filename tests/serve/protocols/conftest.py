"""What tests with clients of other projects have in common."""

import gc

import pytest


@pytest.fixture
def _no_leftover_clients():
    yield
    # Triton's client closes itself again when it is collected, which gevent forbids in any other thread than this one.
    gc.collect()
