"""How a base's own tokenizer reads the texts. In: texts and a base. Out: `TokenFit`: lengths and unknown tokens.

Without it, Chinese in an English base looks like short texts of few words. Never downloads anything.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lft_ray.config import ModelSpec
from lft_ray.data.letters import latin_share, letters_of
from lft_ray.errors import LftError
from lft_ray.models.convert import TOKENIZER
from lft_ray.models.ladder import LADDER
from lft_ray.models.resolve import find_base
from lft_ray.records import Problem, Record
from lft_ray.tasks.labels.labelled import BETWEEN_INPUTS
from lft_ray.texts import normal_text, shown

__all__ = [
    "FIT_CODES", "MAX_TRUNCATED", "MAX_UNKNOWN", "TokenFit", "fit_problems", "script_problems", "token_fit",
    "token_fits",
]  # fmt: skip

FIT_CODES = ("unknown_tokens", "spelled_out", "words_cut", "marks_dropped", "other_script", "truncated")
"""Codes of the warnings of `fit_problems`."""

MAX_UNKNOWN = 0.05
"""Share of unknown tokens above which a base does not read the texts: English prose in an English base has 0.1%,
emoji-heavy chat 1 to 2%, Chinese over 60%."""
MAX_TRUNCATED = 0.1
"""Share of texts that lose their end above which a warning is given: max_length is meant to hold 95% of them."""
MAX_SPELLED = 0.25
"""Share of letters that are spelled out above which a base knows the alphabet and not the words."""
MAX_DROPPED = 0.08
"""Marks per letter whose loss is a warning: German has 0.03, French 0.08, Czech 0.14, Hindi 0.25, Vietnamese 0.4."""
LEAST_LETTERS, MOST_PIECES = 2.8, 1.5
"""A base knows few words where a Latin word has more pieces than this and a piece fewer letters. English in an English
base: 1.0 to 1.2 pieces of 3.3 (chat) to 4.8 letters; German, French, Finnish, Turkish in it: 1.6 to 3 of 2.1 to 2.6."""
LEAST_LATIN = 0.7
"""Share of Latin letters below which texts are not English, whatever else is in them."""
_INSTEAD = "models: [{{base: {base}}}] knows some 100 languages"
_BEST = "best is a base trained on this language, by its hub id or folder; tfidf reads any language"
_READ_CHARACTERS = 20_000
"""Characters of a text that are tokenised."""


class TokenFit(Record):
    """How one base reads the train texts, by a sample of at most 512 of them."""

    base: str
    tokens: dict[str, float]
    """Tokens per text, special ones included: p50, p95, p99, mean and max."""
    max_length: int
    truncated_share: float
    """Share of the texts with more than ``max_length`` tokens, which lose their end unless they are read in windows."""
    in_windows: bool = False
    """Whether longer texts are read in several windows."""
    unknown_share: float
    """Share of the tokens that the base does not know."""
    unknown_example: str
    """A piece of text that it does not know; empty if there is none."""
    instead: str = ""
    """A base of the ladder that knows the texts; empty where this one does, or none is known."""
    spelled_share: float = 0.0
    """Share of the letters that reach the base one by one or in bytes, though their words have more."""
    dropped_share: float = 0.0
    """Marks (tones, accents, vowel signs) per letter that its tokenizer removes."""
    pieces_per_word: float = 0.0
    """Tokens per word of Latin letters; 0 where few letters are Latin."""
    letters_per_piece: float = 0.0
    """Letters per token of such words, or 0."""

    @property
    def reads(self) -> bool:
        """Whether the base knows the words of these texts."""
        known = self.unknown_share <= MAX_UNKNOWN and self.spelled_share <= MAX_SPELLED
        return known and self.dropped_share <= MAX_DROPPED and not self.cuts_words

    @property
    def cuts_words(self) -> bool:
        """Whether words in Latin letters are cut into short pieces."""
        return self.pieces_per_word > MOST_PIECES and self.letters_per_piece < LEAST_LETTERS

    @property
    def sentence(self) -> str:
        """For people, in one sentence."""
        lengths = f"p50 {self.tokens['p50']:.0f}, p95 {self.tokens['p95']:.0f}, max {self.tokens['max']:.0f}"
        unknown = f", unknown {self.unknown_share:.1%}" if self.unknown_share >= 0.0005 else ""
        spelled = f", {self.spelled_share:.0%} of the letters spelled out" if self.spelled_share > MAX_SPELLED else ""
        dropped = f", {self.dropped_share:.0%} lose a mark" if self.dropped_share > MAX_DROPPED else ""
        pieces = f", {self.pieces_per_word:.1f} pieces a word" if self.cuts_words else ""
        what = "are read in several windows of" if self.in_windows else "are cut at"
        told = f"{self.truncated_share:.1%} of the texts {what} {self.max_length}"
        return f"{lengths}; {told}{unknown}{spelled}{dropped}{pieces}"


def token_fits(
    texts: Sequence[str], models: Sequence[ModelSpec], max_length: int, *, in_windows: bool = False
) -> list[TokenFit]:
    """How each base reads the texts, for those that are on this machine and have a tokenizer.

    Args:
        texts: a sample.
        models: bases.
        max_length: tokens that are read at once.
        in_windows: whether longer texts are read in several windows, and not cut.
    """
    fits = []
    for spec in {spec.base: spec for spec in models}.values():
        fit = token_fit(texts, spec, max_length)
        if fit is not None:
            fits.append(fit.replace(in_windows=in_windows))
    return fits


def token_fit(texts: Sequence[str], spec: ModelSpec, max_length: int) -> TokenFit | None:
    """How a base reads the texts; None for a linear model, a base that is not on this machine, or no texts."""
    folder = _folder(spec)
    if folder is None or not texts:
        return None
    # Of two texts each is read by itself, never the mark that stands between them in a sample.
    texts = [text.replace(BETWEEN_INPUTS, " ") for text in texts]
    fit = _fit(spec.base, folder, texts, max_length)
    if fit is None or fit.reads:
        return fit
    return fit.replace(instead=_better(texts, spec.base))


def fit_problems(fits: Sequence[TokenFit]) -> list[Problem]:
    """Warnings: a base that does not know the texts, texts that lose their end."""
    problems = []
    for fit in fits:
        other = _INSTEAD.format(base=fit.instead) if fit.instead else "name another base"
        fix = f"{other}; {_BEST}"
        problems += [Problem(severity="warning", code=code, message=message, fix=fix) for code, message in _unread(fit)]
        if fit.truncated_share > MAX_TRUNCATED and not fit.in_windows:
            message = (
                f"{fit.truncated_share:.0%} of the texts have more than max_length {fit.max_length} tokens in base "
                f"{fit.base} and lose their end (p95 is {fit.tokens['p95']:.0f})"
            )
            fix = f"--set training.max_length={min(512, round(fit.tokens['p95']))}, unless the beginning decides"
            problems.append(Problem(severity="warning", code="truncated", message=message, fix=fix))
    return problems


def script_problems(texts: Sequence[str], models: Sequence[ModelSpec], fits: Sequence[TokenFit]) -> list[Problem]:
    """Warnings of English bases for texts in another script, where a base is not on this machine to be asked.

    Args:
        texts: a sample.
        models: bases.
        fits: of the bases that are on this machine.
    """
    asked = {fit.base for fit in fits}
    latin = latin_share(texts)
    english = [spec.base for spec in models if spec.base not in asked and _is_english(spec.base)]
    if latin >= LEAST_LATIN:
        return []
    return [
        Problem(
            severity="warning",
            code="other_script",
            message=f"base {base} has learned English, and {1 - latin:.0%} of the letters of these texts are not Latin",
            fix=f"{_INSTEAD.format(base=next(iter(_multilingual(base)), 'a multilingual one'))}; {_BEST}",
        )
        for base in dict.fromkeys(english)
    ]


def _is_english(base: str) -> bool:
    entry = LADDER.get(base)
    return entry is not None and entry.has_network and not entry.is_multilingual


def _multilingual(base: str) -> Iterator[str]:
    """The multilingual bases of the ladder, without this one."""
    return (name for name, entry in LADDER.items() if entry.is_multilingual and name != base)


def _unread(fit: TokenFit) -> list[tuple[str, str]]:
    """Code and sentence of each way in which a base does not know the texts."""
    told = []
    if fit.unknown_share > MAX_UNKNOWN:
        message = (
            f"base {fit.base} does not know {fit.unknown_share:.0%} of the tokens of these texts, such as "
            f"{shown(fit.unknown_example)}: a model of it cannot read them"
        )
        told.append(("unknown_tokens", message))
    if fit.spelled_share > MAX_SPELLED:
        message = (
            f"base {fit.base} has no words of this language: {fit.spelled_share:.0%} of the letters reach it one by "
            "one or in bytes, so what it has learned of words does not help, and texts are longer"
        )
        told.append(("spelled_out", message))
    if fit.cuts_words:
        message = (
            f"base {fit.base} has few words of this language: it cuts a word into {fit.pieces_per_word:.1f} pieces of "
            f"{fit.letters_per_piece:.1f} letters, where English in an English base has 1.1 of 4.4"
        )
        told.append(("words_cut", message))
    if fit.dropped_share > MAX_DROPPED:
        message = (
            f"the tokenizer of base {fit.base} drops tones, accents or vowel signs, {fit.dropped_share:.0%} of the "
            "letters have one: different words become one"
        )
        told.append(("marks_dropped", message))
    return told


def _folder(spec: ModelSpec) -> Path | None:
    entry = LADDER.get(spec.base)
    if entry is not None and not entry.has_network:
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
    # SentencePiece gives the blank before a text the place of its first letter.
    unknown_id, blank_id = _unknown_id(tokenizer), tokenizer.token_to_id("\u2581")
    normal = [normal_text(text[:_READ_CHARACTERS]) for text in texts]
    lengths, unknown, total, example = [], 0, 0, ""
    known: list[list[tuple[int, int]]] = []
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
        known.append([span for token, span in own if token not in (unknown_id, blank_id)])
        if strange and not example:
            example = text[strange[0][0] : strange[0][1]]
    letters = letters_of(normal, known, tokenizer.normalizer and tokenizer.normalizer.normalize_str)
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
        spelled_share=letters.spelled_share,
        dropped_share=letters.dropped_share,
        pieces_per_word=letters.pieces_per_word,
        letters_per_piece=letters.letters_per_piece,
    )


def _unknown_id(tokenizer: object) -> int | None:
    model = getattr(tokenizer, "model", None)
    name = getattr(model, "unk_token", None)
    if name is not None:
        found: int | None = tokenizer.token_to_id(name)  # type: ignore[attr-defined]
        return found
    position = getattr(model, "unk_id", None)
    return position if isinstance(position, int) else None


def _better(texts: Sequence[str], base: str) -> str:
    """A multilingual base of the ladder; one that is on this machine must read the texts."""
    for name in _multilingual(base):
        folder = _folder(ModelSpec(base=name))
        fit = _fit(name, folder, texts[:100], 128) if folder is not None else None
        if fit is None or fit.reads:
            return name
    return ""
