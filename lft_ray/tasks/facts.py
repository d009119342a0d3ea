"""What a task learns from its train rows. In: JSON or a list of labels. Out: `Facts`. Never reads rows."""

from lft_ray.records import Record

__all__ = ["Facts", "LabelFacts"]


class Facts(Record):
    """Base of what a task learns from its train rows; it must survive JSON."""

    def identity(self) -> list[str]:
        """Strings that tell these facts from others, for the fingerprint of a data set."""
        return [self.model_dump_json()]


class LabelFacts(Facts):
    """The labels of the train rows, in the order of the head's outputs."""

    labels: list[str]

    def identity(self) -> list[str]:
        """Return the labels."""
        return self.labels
