"""How a trial may train: the names of the methods and their settings, for the experiment tree. Nothing here trains.

full: every weight is trained on the labels. distil: so, and on the answers of an earlier trial (Hinton et al. 2015,
arXiv:1503.02531).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lft_ray.spec import Spec

__all__ = ["DISTIL", "FULL", "DistilSpec", "Methods"]

FULL: Literal["full"] = "full"
DISTIL: Literal["distil"] = "distil"
"""The method of a configuration that needs a teacher."""


class DistilSpec(Spec):
    """How a distilled trial weighs what its teacher answers."""

    weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """Share of the loss that compares with the teacher; the rest is the loss on the labels."""
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 2.0
    """Both answers are softened by it before they are compared."""


def _with_full(value: list[str]) -> list[str]:
    if DISTIL in value and FULL not in value:
        raise ValueError("distil needs a teacher, which is trained in full: write [full, distil]")
    return value


Methods = Annotated[list[Literal["full", "distil"]], Field(min_length=1), AfterValidator(_with_full)]
"""The methods that a search may try."""
