"""How a base's own tokenizer reads the texts. In: texts and a base. Out: `TokenFit`: lengths and unknown tokens.

Without it, Chinese in an English base looks like short texts of few words. Never downloads anything.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lft_ray.config import ModelSpec
from lft_ray.errors import LftError
from lft_ray.models.convert import TOKENIZER
from lft_ray.models.ladder import LADDER
from lft_ray.models.resolve import find_base
from lft_ray.records import Problem, Record
from lft_ray.texts import normal_text, shown

__all__ = ["MAX_TRUNCATED", "MAX_UNKNOWN", "TokenFit", "fit_problems", "token_fit", "token_fits"]

MAX_UNKNOWN = 0.05
"""Share of unknown tokens above which a base does not read the texts: English prose in an English base has 0.1%,
emoji-heavy chat 1 to 2%, Chinese over 60%."""
MAX_TRUNCATED = 0.1
"""Share of texts that lose their end above which a warning is given: max_length is meant to hold 95% of them."""
_BYTE_LEVEL = {"gpt2"}
"""Families whose tokenizers read any text byte by byte: nothing is unknown."""
_READ_CHARACTERS = 20_000
"""Characters of a text that are tokenised."""


class TokenFit(Record):
    """How one base reads the train texts, by a sample of at most 512 of them."""

    base: str
    tokens: dict[str, float]
    """Tokens per text, special ones included: p50, p95, p99, mean and max."""
    max_length: int
    truncated_share: float
    """Share of the texts with more than ``max_length`` tokens, which lose their end."""
    unknown_share: float
    """Share of the tokens that the base does not know."""
    unknown_example: str
    """A piece of text that it does not know; empty if there is none."""
    instead: str = ""
    """A base of the ladder that knows the texts; empty where this one does, or none is known."""

    @property
    def sentence(self) -> str:
        """For people, in one sentence."""
        lengths = f"p50 {self.tokens['p50']:.0f}, p95 {self.tokens['p95']:.0f}, max {self.tokens['max']:.0f}"
        unknown = f", unknown {self.unknown_share:.1%}" if self.unknown_share >= 0.0005 else ""
        return f"{lengths}; {self.truncated_share:.1%} of the texts are cut at {self.max_length}{unknown}"


def token_fits(texts: Sequence[str], models: Sequence[ModelSpec], max_length: int) -> list[TokenFit]:
    """How each base reads the texts, for those that are on this machine and have a tokenizer."""
    fits = []
    for spec in {spec.base: spec for spec in models}.values():
        fit = token_fit(texts, spec, max_length)
        if fit is not None:
            fits.append(fit)
    return fits


def token_fit(texts: Sequence[str], spec: ModelSpec, max_length: int) -> TokenFit | None:
    """How a base reads the texts; None for a linear model, a base that is not on this machine, or no texts."""
    folder = _folder(spec)
    if folder is None or not texts:
        return None
    fit = _fit(spec.base, folder, texts, max_length)
    if fit is None or fit.unknown_share <= MAX_UNKNOWN:
        return fit
    return fit.replace(instead=_better(texts))


def fit_problems(fits: Sequence[TokenFit]) -> list[Problem]:
    """Warnings: a base that does not know the texts, texts that lose their end."""
    problems = []
    for fit in fits:
        if fit.unknown_share > MAX_UNKNOWN:
            message = (
                f"base {fit.base} does not know {fit.unknown_share:.0%} of the tokens of these texts, such as "
                f"{shown(fit.unknown_example)}: a model of it cannot read them"
            )
            other = f"models: [{{base: {fit.instead}}}] knows every character" if fit.instead else "name another base"
            fix = f"{other}; best is a base trained on this language, by its hub id or folder; tfidf reads any language"
            problems.append(Problem(severity="warning", code="unknown_tokens", message=message, fix=fix))
        if fit.truncated_share > MAX_TRUNCATED:
            message = (
                f"{fit.truncated_share:.0%} of the texts have more than max_length {fit.max_length} tokens in base "
                f"{fit.base} and lose their end (p95 is {fit.tokens['p95']:.0f})"
            )
            fix = f"--set training.max_length={min(512, round(fit.tokens['p95']))}, unless the beginning decides"
            problems.append(Problem(severity="warning", code="truncated", message=message, fix=fix))
    return problems


def _folder(spec: ModelSpec) -> Path | None:
    entry = LADDER.get(spec.base)
    if entry is not None and entry.architecture is None:
        return None
    try:
        return find_base(spec, download=False).folder
    except (LftError, OSError):
        return None  # not on this machine, or unusable: the search says so before anything is spent


def _fit(base: str, folder: Path, texts: Sequence[str], max_length: int) -> TokenFit | None:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception:  # the library raises plain Exception for a damaged file  # noqa: BLE001
        return None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unknown_id = _unknown_id(tokenizer)
    normal = [normal_text(text[:_READ_CHARACTERS]) for text in texts]
    lengths, unknown, total, example = [], 0, 0, ""
    for text, encoding in zip(normal, tokenizer.encode_batch(normal), strict=True):
        lengths.append(len(encoding.ids))
        own = [
            (token, span)
            for token, span, special in zip(encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True)
            # An unknown token may be marked as special; the others of those stand for no characters.
            if not special or (token == unknown_id and span[1] > span[0])
        ]
        total += len(own)
        strange = [span for token, span in own if token == unknown_id]
        unknown += len(strange)
        if strange and not example:
            example = text[strange[0][0] : strange[0][1]]
    middle, high, higher = np.quantile(lengths, [0.5, 0.95, 0.99])
    return TokenFit(
        base=base,
        tokens={
            "p50": float(middle),
            "p95": float(high),
            "p99": float(higher),
            "mean": float(np.mean(lengths)),
            "max": float(max(lengths)),
        },
        max_length=max_length,
        truncated_share=float(np.mean(np.array(lengths) > max_length)),
        unknown_share=unknown / max(1, total),
        unknown_example=example[:40],
    )


def _unknown_id(tokenizer: object) -> int | None:
    model = getattr(tokenizer, "model", None)
    name = getattr(model, "unk_token", None)
    if name is not None:
        found: int | None = tokenizer.token_to_id(name)  # type: ignore[attr-defined]
        return found
    position = getattr(model, "unk_id", None)
    return position if isinstance(position, int) else None


def _better(texts: Sequence[str]) -> str:
    """A base of the ladder that knows the texts: one that is on this machine, else a small one that reads bytes."""
    sample = texts[:100]
    for name, entry in LADDER.items():
        if entry.family in _BYTE_LEVEL:
            return name
        folder = _folder(ModelSpec(base=name))
        fit = _fit(name, folder, sample, 128) if folder is not None else None
        if fit is not None and fit.unknown_share <= MAX_UNKNOWN:
            return name
    return ""
