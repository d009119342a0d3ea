"""Entry point of the ``lft`` script. Imports the command line only after the handlers of signals are installed."""

from collections.abc import Callable
from typing import NoReturn

from lft_ray.cli.process import run

__all__ = ["main"]


def main() -> NoReturn:
    """Run the ``lft`` command."""
    run(_load)


def _load() -> Callable[[], object]:
    from lft_ray.cli.app import app

    return app
