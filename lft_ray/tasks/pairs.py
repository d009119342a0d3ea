"""Two texts with one label: does the second follow from the first, answer it, repeat it. Head and metrics of labels."""

from lft_ray.tasks.classification import LABEL_NAMES, Classification
from lft_ray.tasks.columns import LABEL, Column
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.pair_checks import check_pairs
from lft_ray.tasks.rows import CleanRows

__all__ = ["Pairs"]

FIRST_ROLE, SECOND_ROLE = "text_a", "text_b"
FIRST_NAMES = (
    "text_a", "text1", "text_1", "sentence1", "sentence_1", "sentence_a", "premise", "question1", "question_1",
    "question", "query", "claim", "source", "anchor", "first", "left",
)  # fmt: skip
SECOND_NAMES = (
    "text_b", "text2", "text_2", "sentence2", "sentence_2", "sentence_b", "hypothesis", "question2", "question_2",
    "text_pair", "answer", "reply", "response", "passage", "document", "context", "evidence", "target", "candidate",
    "sentence", "second", "right",
)  # fmt: skip
TRUTH_NAMES = (*LABEL_NAMES, "gold_label", "relation", "judgement", "is_duplicate", "entailment")
"""Column names tried where the experiment file names none, in order of preference."""


class Pairs(Classification):
    """Pairs of texts with exactly one label each; a model reads both as one sequence.

    Args:
        labels: label names, in the order of the head's outputs.
    """

    kind = "pairs"
    columns: tuple[Column, ...] = (
        Column(FIRST_ROLE, FIRST_NAMES, "text", "input"),
        Column(SECOND_ROLE, SECOND_NAMES, "text", "input"),
        Column(LABEL, TRUTH_NAMES, "names", "truth"),
    )

    @classmethod
    def check(cls, train: CleanRows, *, splits: int, findings: Findings) -> None:
        """Check the labels, pairs of equal texts, and pairs that occur the other way round with another label."""
        super().check(train, splits=splits, findings=findings)
        check_pairs(train, (FIRST_ROLE, SECOND_ROLE), findings)

    @classmethod
    def check_other(cls, train: CleanRows, other: CleanRows, findings: Findings) -> None:
        """Compare the labels of a given split with those of train, and check its pairs as those of train."""
        super().check_other(train, other, findings)
        check_pairs(other, (FIRST_ROLE, SECOND_ROLE), findings)
