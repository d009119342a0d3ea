"""Find the cheapest small language model that keeps its F1, and serve it.

Light names only: importing this package imports nothing else. An interrupt before `lft_ray.cli.entry` has its handlers
is Python's own, with a traceback, so every millisecond up to there counts.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lft_ray.client import AsyncClient, Client
    from lft_ray.config import Experiment
    from lft_ray.errors import LftError

__version__ = "0.2.0"
__all__ = ["AsyncClient", "Client", "Experiment", "LftError", "__version__"]

_LAZY = {
    "AsyncClient": "lft_ray.client",
    "Client": "lft_ray.client",
    "Experiment": "lft_ray.config",
    "LftError": "lft_ray.errors",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        found: object = getattr(import_module(_LAZY[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
