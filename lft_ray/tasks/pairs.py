"""Two texts with one label: does the second follow from the first, answer it, repeat it. Head and metrics of labels."""

from lft_ray.tasks.classification import LABEL_NAMES, Classification
from lft_ray.tasks.columns import LABEL, Column

__all__ = ["Pairs"]


FIRST_NAMES = (
    "text_a", "text1", "sentence1", "sentence_a", "premise", "question1", "question", "query", "first", "left",
)  # fmt: skip
SECOND_NAMES = (
    "text_b", "text2", "sentence2", "sentence_b", "hypothesis", "question2", "text_pair", "answer", "passage",
    "document", "sentence", "second", "right",
)  # fmt: skip
"""Column names tried where the experiment file names none, in order of preference."""


class Pairs(Classification):
    """Pairs of texts with exactly one label each; a model reads both as one sequence.

    Args:
        labels: label names, in the order of the head's outputs.
    """

    kind = "pairs"
    columns: tuple[Column, ...] = (
        Column("text_a", FIRST_NAMES, "text", "input"),
        Column("text_b", SECOND_NAMES, "text", "input"),
        Column(LABEL, LABEL_NAMES, "names", "truth"),
    )
