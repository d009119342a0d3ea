"""Two texts read as one sequence: where a tokenizer's special tokens stand, and what is cut when it is too long.

In: a tokenizer, and token ids of two texts. Out: ids and segment numbers of the pair. Truncation takes from the longer
text, as ``longest_first`` of the tokenizers library does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lft_ray.errors import BundleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

__all__ = ["PairTemplate", "Specials", "kept_lengths"]


@dataclass(frozen=True, slots=True)
class Specials:
    """Special tokens at one place of a pair.

    Attributes:
        ids: token ids.
        types: segment number of each.
    """

    ids: tuple[int, ...] = ()
    types: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """How a tokenizer joins two texts: BERT writes ``[CLS] first [SEP] second [SEP]``.

    Attributes:
        before: special tokens before the first text.
        between: those between the texts.
        after: those after the second text.
        types: segment numbers of the first and of the second text.
    """

    before: Specials
    between: Specials
    after: Specials
    types: tuple[int, int]

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "PairTemplate":
        """Read the template off a tokenizer without truncation and padding.

        Raises:
            BundleError: the tokenizer gives no tokens for a letter.
        """
        probe = tokenizer.encode("a", "a")
        places = probe.sequence_ids
        if 0 not in places or 1 not in places:
            raise BundleError("the tokenizer does not keep two texts apart", fix="use another base model for pairs")
        first, second = places.index(0), places.index(1)
        end_first, end_second = len(places) - places[::-1].index(0), len(places) - places[::-1].index(1)

        def specials(start: int, end: int) -> Specials:
            return Specials(tuple(probe.ids[start:end]), tuple(probe.type_ids[start:end]))

        return cls(
            specials(0, first),
            specials(end_first, second),
            specials(end_second, len(places)),
            (probe.type_ids[first], probe.type_ids[second]),
        )

    def renumbered(self, numbers: "NDArray[np.uint32]") -> "PairTemplate":
        """Return the template with each token id i replaced by ``numbers[i]``."""
        before, between, after = (Specials(tuple(int(numbers[i]) for i in p.ids), p.types) for p in self._parts)
        return PairTemplate(before, between, after, self.types)

    @property
    def _parts(self) -> tuple[Specials, Specials, Specials]:
        return self.before, self.between, self.after

    def to_json(self) -> str:
        """Return the template as JSON."""
        return json.dumps([*([list(part.ids), list(part.types)] for part in self._parts), list(self.types)])

    @classmethod
    def from_json(cls, text: str) -> "PairTemplate":
        """Return the template that `to_json` wrote."""
        *parts, types = json.loads(text)
        before, between, after = (Specials(tuple(ids), tuple(kinds)) for ids, kinds in parts)
        return cls(before, between, after, (types[0], types[1]))

    def __len__(self) -> int:
        """Number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def joined(self, first: Sequence[int], second: Sequence[int], max_length: int) -> tuple[list[int], list[int]]:
        """Token ids and segment numbers of a pair, at most ``max_length`` of each.

        Args:
            first: token ids of the first text, without special tokens.
            second: token ids of the second text.
            max_length: maximum number of tokens, special ones included.
        """
        one, two = kept_lengths(len(first), len(second), max(0, max_length - len(self)))
        ids = [*self.before.ids, *first[:one], *self.between.ids, *second[:two], *self.after.ids]
        types = [
            *self.before.types,
            *[self.types[0]] * one,
            *self.between.types,
            *[self.types[1]] * two,
            *self.after.types,
        ]
        return ids, types


def kept_lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """Tokens that are kept of two texts of these lengths: the longer one is cut, both where both exceed the half."""
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (short, room - short) if first <= second else (room - short, short)
