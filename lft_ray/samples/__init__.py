"""The bundled example: an experiment file and its 1,680 news items. Out: their paths. Never reads them.

Both files live in ``experiments/`` of the repository. A wheel contains copies in this folder (``force-include`` in
``pyproject.toml``); a checkout or an editable install uses the originals.
"""

from pathlib import Path

from lft_ray.errors import InputError

__all__ = ["CORPUS", "EXPERIMENT", "samples_folder"]

EXPERIMENT = "quickstart.yaml"
CORPUS = "data/news.csv"
_INSTALLED = Path(__file__).resolve().parent
_CHECKOUT = _INSTALLED.parent.parent / "experiments"


def samples_folder() -> Path:
    """Return the folder that contains `EXPERIMENT` and `CORPUS`.

    Raises:
        InputError: this installation lacks them.
    """
    for folder in (_INSTALLED, _CHECKOUT):
        if all((folder / name).is_file() for name in (EXPERIMENT, CORPUS)):
            return folder
    raise InputError(
        f"the sample files {EXPERIMENT} and {CORPUS} are missing: searched {_INSTALLED} and {_CHECKOUT}",
        fix="reinstall the lft_ray wheel",
    )
