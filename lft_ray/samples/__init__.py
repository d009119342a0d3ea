"""The example that ships with the package: an experiment and its 1,680 news items. Out: their paths. Never reads them.

One source for both: ``experiments/`` of the repository. A wheel carries the same two files in this folder
(``force-include`` in ``pyproject.toml``); a checkout, also an editable install, has them where they are written.
"""

from pathlib import Path

from lft_ray.errors import InputError

__all__ = ["CORPUS", "EXPERIMENT", "samples_folder"]

EXPERIMENT = "quickstart.yaml"
CORPUS = "data/news.csv"
_INSTALLED = Path(__file__).resolve().parent
_CHECKOUT = _INSTALLED.parent.parent / "experiments"


def samples_folder() -> Path:
    """The folder that holds `EXPERIMENT` and `CORPUS`.

    Raises:
        InputError: this installation lacks them.
    """
    for folder in (_INSTALLED, _CHECKOUT):
        if all((folder / name).is_file() for name in (EXPERIMENT, CORPUS)):
            return folder
    raise InputError(
        f"the sample files {EXPERIMENT} and {CORPUS} are missing: looked in {_INSTALLED} and {_CHECKOUT}",
        fix="install the lft_ray wheel again",
    )
