"""Facts about this installation and machine, and the variables its processes get. Loads no heavy library.

The facts are for bug reports, the run folder and bundles.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

__all__ = ["LIBRARY_ENV", "WORKER_ENV", "environment", "environment_variables", "machine", "shape_caches"]

LIBRARY_ENV = {
    # Spinning OpenMP threads cost 11x when processes share cores.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment of every process of ours, also of the tests; libraries read it when they load."""


def shape_caches(capacity: int) -> dict[str, str]:
    """Variables that bound what oneDNN and PyTorch keep of the batch shapes they met.

    Args:
        capacity: shapes to keep code and scratch memory for; both keep 1024 where nothing is set.
    """
    return {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(capacity), "LRU_CACHE_CAPACITY": str(capacity)}


WORKER_ENV = {
    **LIBRARY_ENV,
    # A trial of AG News grew from 1.4 to 4.0 GB. With 32 a loop over 150 shapes stays at 0.66 GB instead of 1.73, in
    # the same processor time. More than a replica's 16: a shape's backward pass takes entries of its own.
    **shape_caches(32),
    # Tune runs each trial in a new thread, and glibc gives each its own heap, which it rarely gives back.
    "MALLOC_ARENA_MAX": "1",
    # Relative paths of the experiment (a folder with a base model) stay relative to where `lft` was called.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Environment of every process that trains, and of ``lft`` itself."""

_PACKAGES = (
    "lft-ray",
    "ray",
    "torch",
    "transformers",
    "onnxruntime",
    "tokenizers",
    "optuna",
    "pyarrow",
    "scikit-learn",
    "numpy",
    "pydantic",
)


@contextmanager
def environment_variables(**values: str) -> Iterator[None]:
    """Set variables of this process, and give it those that it had before back at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def machine() -> str:
    """Processor model and core count: profiles measured on another one are not reused."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model} x{os.cpu_count()}"


def environment() -> dict[str, str]:
    """Versions and machine, as plain strings."""
    facts = {"python": platform.python_version(), "platform": platform.platform(), "machine": machine()}
    for name in _PACKAGES:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return facts
