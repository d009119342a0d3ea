"""An answer of the model with what the protocols tell beside the labels."""

from collections.abc import Sequence

from lft_ray.wire import LabelScore

__all__ = ["Scored"]


class Scored(list[list[LabelScore]]):
    """Label scores of each text, best first, as `lft_ray.wire.Answer`.

    Attributes:
        tokens: how many tokens of each text the model read (TF-IDF: words).
        cut: whether the end of each text was cut off.
    """

    def __init__(self, answer: list[list[LabelScore]], tokens: Sequence[int] = (), cut: Sequence[bool] = ()) -> None:
        super().__init__(answer)
        self.tokens = tokens
        self.cut = cut
