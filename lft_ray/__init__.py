"""Find the cheapest small language model that keeps its F1, and serve it.

Light names only: importing this package never imports torch, ray or transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lft_ray.errors import LftError

if TYPE_CHECKING:
    from lft_ray.client import AsyncClient, Client
    from lft_ray.config import Experiment

__version__ = "0.2.0"
__all__ = ["AsyncClient", "Client", "Experiment", "LftError", "__version__"]

_LAZY = {"AsyncClient": "lft_ray.client", "Client": "lft_ray.client", "Experiment": "lft_ray.config"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
